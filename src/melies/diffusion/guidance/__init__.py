"""Guidance: branches such as "conditional" and "null", combined into one bound denoiser.

The convention is u + scale·(c − u): scale 1 is off, 0 is the null alone. A sampler never knows.
"""

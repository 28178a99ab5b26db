"""Autoencoders: plain, variational and vector-quantised ones, and what makes each of them draw."""

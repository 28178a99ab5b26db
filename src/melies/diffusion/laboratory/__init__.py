"""Guidance where the truth is known: mixtures of Gaussians, whose score and tilted density are exact."""

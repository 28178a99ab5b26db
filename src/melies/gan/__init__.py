"""Generative adversarial networks: two pairs of networks, three objectives, one model."""

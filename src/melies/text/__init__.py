"""Text to token states: frozen and learned encoders, where their weights are found, caching."""

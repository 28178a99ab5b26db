"""Recipes of camera paths: DIRECTOR in its three designs."""

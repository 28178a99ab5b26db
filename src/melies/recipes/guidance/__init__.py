"""Guidance, measured: figures and numbers of guided drawings, each made by one command."""

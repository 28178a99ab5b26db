"""Data on disk: pictures, their captions, and how the sets that melies knows are made."""

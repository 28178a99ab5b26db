"""Camera paths: words and a moving character in, a path for film tools out."""

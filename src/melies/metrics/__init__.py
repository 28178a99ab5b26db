"""Measures of generated samples: pure functions of features, with intervals and floors."""

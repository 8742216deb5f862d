"""Sound to features: decoding, windows, filter bank. Knows nothing of models."""

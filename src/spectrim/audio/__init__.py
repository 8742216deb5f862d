"""Sound to features: decoding, windows, filter bank. Does not depend on models."""

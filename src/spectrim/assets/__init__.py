"""Data only: built-in checkpoints, label names."""

"""The transformer, its presets, and the doors by which checkpoints come in."""

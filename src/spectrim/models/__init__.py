"""The transformer, its presets, and the converters of checkpoints."""

"""What pruning does to a model: metrics, agreement, the sweep, and measured time."""

"""One door for each foreign format: its names and config become ours here, and nowhere else."""

"""The figures of an analysis, one kind a file; each gives a matplotlib figure."""

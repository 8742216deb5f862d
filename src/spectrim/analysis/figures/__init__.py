"""The figures of an analysis, one module per kind; each function returns a matplotlib figure."""

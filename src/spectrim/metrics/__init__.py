"""Classification metrics, intervals, jackknife, pooling: NumPy, SciPy and scikit-learn only."""

"""What every room may use: errors, safe files, the context of a result."""

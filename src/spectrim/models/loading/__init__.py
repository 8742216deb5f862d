"""Reading models: one converter per checkpoint format, and Spectrim's own format."""

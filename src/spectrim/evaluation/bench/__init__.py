"""The benchmark: speed of pruned models and backends, measured side by side."""

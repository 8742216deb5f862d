"""Ranking, selecting and accounting of tokens. Knows tensors only, no model."""

"""Ranking, selecting and accounting of tokens. Works on tensors; does not depend on models."""

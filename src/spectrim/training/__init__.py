"""Recipes, fine-tuning with a keep-rate schedule, and masked auto-encoder pre-training."""

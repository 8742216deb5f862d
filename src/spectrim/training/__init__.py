"""Recipes, fine-tuning with a schedule of the keep rate, and masked auto-encoder pre-training."""

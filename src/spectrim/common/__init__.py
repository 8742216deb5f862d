"""Helpers for all packages: errors, atomic files, locks, text, versions."""

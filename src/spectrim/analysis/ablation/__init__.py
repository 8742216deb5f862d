"""Accuracy lost when low- or high-intensity patches are dropped (Table IV of the paper)."""

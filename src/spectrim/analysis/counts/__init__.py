"""What the second pass counts: patches by kind, attention, pairs of ranks, histograms."""

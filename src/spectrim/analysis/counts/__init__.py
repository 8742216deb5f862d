"""What the second pass counts: retained patches, attention, pairs of ranks, histograms."""

"""Statistics of one batch of kept and dropped patches, added up over a data set."""

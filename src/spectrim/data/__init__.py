"""Lists of clips with labels, the public corpora, and batches of features."""

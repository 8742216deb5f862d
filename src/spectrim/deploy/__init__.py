"""Models at work: tagging of files and folders."""

"""Models at work: tagging of files and folders; export to ONNX, and running what was exported."""

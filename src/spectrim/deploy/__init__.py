"""Deployment: tagging of files and folders, export to ONNX, and running exported files."""

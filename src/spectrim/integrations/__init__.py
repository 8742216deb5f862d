"""Bridges to other libraries. A module imports its library when it is imported itself."""

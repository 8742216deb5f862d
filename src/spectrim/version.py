"""The version of the package; a separate module that every subpackage may import."""

__version__ = "0.1.0"

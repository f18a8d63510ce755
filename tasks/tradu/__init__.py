"""Tradu: a production line that translates large document sets."""

__version__ = "0.1.0"

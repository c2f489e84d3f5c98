"""dpiped: the central daemon of dpipe, as a library."""

__version__ = "1.0.0"

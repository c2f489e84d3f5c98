"""Servers that tests need: stubs in this process, and real ones where they are installed."""

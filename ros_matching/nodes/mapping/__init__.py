"""The dense mapping node."""

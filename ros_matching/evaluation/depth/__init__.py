"""Depth maps against sensor depth."""

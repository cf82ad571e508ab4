"""The back end: extends and adjusts a snapshot of the map, and returns the result as a ``MapUpdate``."""

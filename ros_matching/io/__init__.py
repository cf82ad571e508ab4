"""Frame sources, trajectory files and point-cloud files."""

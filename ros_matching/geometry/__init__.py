"""Two-view and multi-view geometry in NumPy, float64. Conventions: ``ros_matching.datatypes``."""

"""Dense maps against known depth."""

"""Measuring estimates against ground truth."""

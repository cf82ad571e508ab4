"""The live view of running nodes."""

"""The synthetic world: textured scenes ray-cast with exact depth and poses."""

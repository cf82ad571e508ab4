"""Training: one recipe for each network, one loop for all (``loop.train``)."""

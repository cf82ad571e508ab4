"""The networks: torch modules faithful to their papers, each with an inference neighbour that speaks the nouns."""

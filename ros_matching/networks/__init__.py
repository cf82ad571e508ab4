"""The networks: torch modules faithful to their papers, each with an inference neighbour that speaks the nouns."""

ENGINES = ("auto", "torch", "openvino")
"""What can run a network at inference; see ``engines``."""

PRECISIONS = ("float32", "float16", "bfloat16")
ENGINE_PRECISIONS = ("auto", *PRECISIONS)
"""The number formats of an engine; ``auto`` is the fastest that is exact enough."""

DEPTH_NETWORKS = ("pbs_mvsnet_lite", "pbs_mvsnet")
"""The networks that dense mapping can use, the default first."""

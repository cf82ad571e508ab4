"""The networks: torch modules that follow their papers, each with an inference class next to it."""

ENGINES = ("auto", "torch", "openvino")
"""The inference engines of networks; see ``engines``."""

PRECISIONS = ("float32", "float16", "bfloat16")
ENGINE_PRECISIONS = ("auto", *PRECISIONS)
"""The number formats of an engine; ``auto`` is the fastest that is exact enough."""

DEPTH_NETWORKS = ("pbs_mvsnet_lite", "pbs_mvsnet")
"""The networks that dense mapping can use, the default first."""

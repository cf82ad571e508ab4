"""A dense mapper with the weights that come with the package, or others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.mapping.config import MappingConfig
from ros_matching.mapping.dense_mapper import DenseMapper
from ros_matching.networks import DEPTH_NETWORKS

if TYPE_CHECKING:
    from ros_matching.networks.pbs_mvsnet.estimator import DepthConfig


def load_dense_mapper(
    device: str = "auto",
    config: MappingConfig | None = None,
    *,
    weights: Path | str | None = None,
    network: str = DEPTH_NETWORKS[0],
) -> DenseMapper:
    """A mapper on ``device``: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.

    ``weights`` is a file for ``network``, by default that of the package. Raises ``CheckpointError`` where weights are
    missing or damaged, and ``ConfigError`` for a device that cannot be had.
    """
    from ros_matching.networks.checkpoint import load_named, weights_file
    from ros_matching.networks.engines import torch_device
    from ros_matching.networks.pbs_mvsnet.estimator import DepthEstimator

    config = config or MappingConfig()
    where = torch_device(device)
    loaded = load_named(Path(weights) if weights else weights_file(network), network)
    return DenseMapper(DepthEstimator(loaded.to(where), depth_config(config)), config)


def depth_config(config: MappingConfig) -> DepthConfig:
    """What the mapper's settings say to the estimator of depth."""
    from ros_matching.networks.pbs_mvsnet.estimator import DepthConfig

    return DepthConfig(
        planes=config.planes,
        levels=config.levels,
        sparse_weight=config.sparse_weight,
        refinement=config.refinement,
    )

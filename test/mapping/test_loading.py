"""The mapper that users get: its settings reach what estimates depth."""

from __future__ import annotations

from ros_matching.mapping import MappingConfig
from ros_matching.mapping.loading import depth_config
from ros_matching.networks.pbs_mvsnet.estimator import DepthConfig


def test_settings_of_the_mapper_reach_the_estimator() -> None:
    config = MappingConfig(planes=32, levels=2, sparse_weight=1.5, refinement=3)
    assert depth_config(config) == DepthConfig(planes=32, levels=2, sparse_weight=1.5, refinement=3)


def test_both_refine_and_use_sparse_points_alike_by_default() -> None:
    mapper, estimator = depth_config(MappingConfig()), DepthConfig()
    assert (mapper.refinement, mapper.sparse_weight) == (estimator.refinement, estimator.sparse_weight)

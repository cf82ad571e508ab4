"""The mapper that users get: its settings reach the depth estimator."""

from __future__ import annotations

from ros_matching.mapping import MappingConfig, load_dense_mapper


def test_settings_of_the_mapper_reach_the_estimator() -> None:
    config = MappingConfig(planes=32, levels=2, sparse_weight=1.5, refinement=3)
    mapper = load_dense_mapper("cpu", config)
    assert mapper.estimator.config is config

"""Published checkpoints of NCNet: conversion and refusal."""

from __future__ import annotations

import pytest
import torch
from ncnet_reference import official_state

from ros_matching.errors import CheckpointError
from ros_matching.networks.ncnet.network import SETTINGS, NCNet, consensus_network
from ros_matching.networks.ncnet.official import from_official


@pytest.mark.parametrize(("release", "consensus"), [("pfpascal", 180_033), ("ivd", 2_609)])
def test_parameter_counts_equal_the_published_ones(release: str, consensus: int) -> None:
    with torch.device("meta"):
        network = NCNet(SETTINGS[f"ncnet_{release}"])
    assert sum(p.numel() for p in network.trunk.parameters()) == 27_535_424
    assert sum(p.numel() for p in network.matching.parameters()) == consensus
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == consensus


def test_the_compact_network_is_half_of_the_small_one() -> None:
    network = consensus_network("ncnet_lite")
    assert sum(p.numel() for p in network.parameters()) == 82 * 8 + 81 * 8 + 1


@pytest.mark.parametrize("release", ["pfpascal", "ivd"])
def test_an_early_checkpoint_loads(release: str) -> None:
    state = {
        key.replace("model", "vgg"): value
        for key, value in official_state(release).items()
        if not key.endswith("num_batches_tracked")
    }
    NCNet(SETTINGS[f"ncnet_{release}"]).load_state_dict(from_official(state))


def test_unknown_missing_and_misshapen_entries_are_refused() -> None:
    state = official_state("ivd")
    with pytest.raises(CheckpointError, match="unknown keys: optimizer"):
        from_official({**state, "optimizer": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"missing keys.*: trunk\.conv1\.weight"):
        from_official({key: value for key, value in state.items() if key != "FeatureExtraction.model.0.weight"})
    kernel = "NeighConsensus.conv.0.weight"
    with pytest.raises(CheckpointError, match=r"wrong shapes: NeighConsensus\.conv\.0\.weight"):
        from_official({**state, kernel: state[kernel].transpose(0, 1).transpose(1, 2)})
    with pytest.raises(CheckpointError, match="got 0"):
        from_official({})


def test_the_state_given_stays_as_it_was() -> None:
    state = official_state("ivd")
    keys = list(state)
    from_official(state)
    assert list(state) == keys

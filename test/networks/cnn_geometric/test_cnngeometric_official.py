"""Checkpoints in the authors' format: conversion and refusal."""

from __future__ import annotations

import pytest
import torch
from official_format import LENGTHS, state_shapes

from ros_matching.errors import CheckpointError
from ros_matching.networks.cnn_geometric.network import CNNGeometric
from ros_matching.networks.cnn_geometric.official import architecture, from_official


def checkpoint(trunk: str = "vgg16", model: str = "affine") -> dict[str, torch.Tensor]:
    """Zeros that take no memory."""
    return {key: torch.zeros(()).expand(shape) for key, shape in state_shapes(trunk, model).items()}


@pytest.mark.parametrize("model", LENGTHS)
@pytest.mark.parametrize("trunk", ["vgg16", "resnet101"])
def test_every_published_architecture_is_recognised(trunk: str, model: str) -> None:
    state = from_official(checkpoint(trunk, model))
    assert architecture(state) == (trunk, (model,))
    with torch.device("meta"):
        expected = CNNGeometric(trunk, [model]).state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in expected.items()}


def test_old_names_and_missing_counters_are_taken() -> None:
    old = {key.replace("FeatureExtraction.model", "FeatureExtraction.vgg"): v for key, v in checkpoint().items()}
    old = {key: value for key, value in old.items() if "num_batches_tracked" not in key}
    assert from_official(old).keys() == from_official(checkpoint()).keys()


def test_checkpoints_of_several_models_become_one_network() -> None:
    state = from_official(checkpoint(model="affine"), checkpoint(model="tps"))
    assert architecture(state) == ("vgg16", ("affine", "tps"))
    CNNGeometric("vgg16", ("affine", "tps")).load_state_dict(state, strict=True)


def test_checkpoints_with_different_trunks_are_refused() -> None:
    other = checkpoint(model="tps")
    other["FeatureExtraction.model.0.bias"] = torch.ones(64)
    with pytest.raises(CheckpointError, match=r"disagree on trunk\.conv1_1\.bias"):
        from_official(checkpoint(), other)


def test_one_model_twice_is_refused() -> None:
    with pytest.raises(CheckpointError, match="one per model"):
        from_official(checkpoint(), checkpoint())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"FeatureExtraction.model.24.weight": (512, 512, 3, 3)}, r"model\.24\.weight"),
        ({"FeatureExtraction.model.0.weight": (64, 1, 3, 3)}, "64x3x3x3"),
        ({"FeatureRegression.linear.bias": (7,)}, r"6, 8, 9, 18; here it has shape \(7,\)"),
        ({"FeatureRegression.conv.0.weight": None}, r"heads\.affine\.conv1\.weight"),
        ({"FeatureRegression.linear.bias": None}, "missing"),
        ({"FeatureExtraction.model.21.bias": None}, r"trunk\.conv4_3\.bias"),
    ],
)
def test_keys_that_do_not_fit_are_named(change: dict[str, tuple[int, ...] | None], message: str) -> None:
    state = checkpoint()
    for key, shape in change.items():
        state.pop(key, None)
        if shape is not None:
            state[key] = torch.zeros(()).expand(shape)
    with pytest.raises(CheckpointError, match=message):
        from_official(state)


def test_a_state_dict_without_a_head_is_none_of_ours() -> None:
    with pytest.raises(CheckpointError, match="no regression head"):
        architecture({"trunk.conv1_1.weight": torch.zeros(1)})

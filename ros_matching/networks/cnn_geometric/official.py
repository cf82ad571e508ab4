"""The authors' published checkpoints, in our names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ros_matching.errors import CheckpointError
from ros_matching.networks.cnn_geometric.network import CNNGeometric
from ros_matching.networks.cnn_geometric.transforms import PARAMETERS
from ros_matching.networks.published import convert, shapes_of

_TRUNK = "FeatureExtraction.model"
_OLD_TRUNK = "FeatureExtraction.vgg"
_LINEAR_BIAS = "FeatureRegression.linear.bias"
_VGG16 = ["conv1_1", None, "conv1_2", None, None, "conv2_1", None, "conv2_2", None, None]  # None: nothing to learn
_VGG16 += ["conv3_1", None, "conv3_2", None, "conv3_3", None, None, "conv4_1", None, "conv4_2", None, "conv4_3"]
_RESNET101 = ["conv1", "bn1", None, None, "layer1", "layer2", "layer3"]
_HEAD = {"conv.0": "conv1", "conv.1": "norm1", "conv.3": "conv2", "conv.4": "norm2", "linear": "linear"}


def from_official(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of one or several published checkpoints, each the state dict in its file.

    Several, one per model, become one network with a head each; their frozen trunks have to be the same. Raises
    ``CheckpointError`` for a missing, unknown or misshaped entry, and for checkpoints that do not go together.
    """
    merged: dict[str, Tensor] = {}
    for state in states:
        for key, value in _converted(state).items():
            if key in merged and not (key.startswith("trunk.") and torch.equal(merged[key], value)):
                raise CheckpointError(
                    f"the CNNGeometric checkpoints disagree on {key}; give one per model, all with the same trunk"
                )
            merged[key] = value
    return merged


def architecture(state: Mapping[str, Tensor]) -> tuple[str, tuple[str, ...]]:
    """The trunk and the models of a state dict of ours, as ``CNNGeometric`` takes them."""
    trunk = "descriptor_map"
    if any(key.startswith("trunk.") for key in state):
        trunk = "resnet101" if "trunk.bn1.weight" in state else "vgg16"
    models = tuple(model for model in PARAMETERS if f"heads.{model}.linear.bias" in state)
    if not models:
        raise CheckpointError(f"no regression head of CNNGeometric among the {len(state)} entries of the state dict")
    return trunk, models


def head_of(state: Mapping[str, Tensor]) -> str:
    """Return the head of a state dict of ours, as the argument of ``CNNGeometric``."""
    return "compact" if any(".body." in key for key in state) else "paper"


def _converted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    keys = {key.removeprefix("module.") for key in state}
    trunk, layers = ("resnet101", _RESNET101) if f"{_TRUNK}.4.0.conv1.weight" in keys else ("vgg16", _VGG16)
    model = _model(state)
    renames = [(rf"^{_OLD_TRUNK}\.", f"{_TRUNK}.")]
    renames += [(rf"^{_TRUNK}\.{index}\.", f"trunk.{layer}.") for index, layer in enumerate(layers) if layer]
    renames += [(rf"^FeatureRegression\.{their}\.", f"heads.{model}.{our}.") for their, our in _HEAD.items()]
    with torch.device("meta"):
        expected = shapes_of(CNNGeometric(trunk, [model]))
    return convert(state, expected, network=f"CNNGeometric ({trunk}, {model})", renames=renames)


def _model(state: Mapping[str, Tensor]) -> str:
    """Return the model, by the length of the last layer's bias."""
    bias = state.get(_LINEAR_BIAS, state.get(f"module.{_LINEAR_BIAS}"))
    models = {(length,): model for model, length in PARAMETERS.items()}
    shape = tuple(getattr(bias, "shape", ()))
    if shape not in models:
        raise CheckpointError(
            f"{_LINEAR_BIAS} of a CNNGeometric checkpoint has length {', '.join(map(str, PARAMETERS.values()))}; "
            f"here it {'is missing' if bias is None else f'has shape {shape}'}"
        )
    return models[shape]

"""The authors' published checkpoints of NCNet, in our names and layout."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ros_matching.errors import CheckpointError
from ros_matching.networks.ncnet.network import SETTINGS, NCNet, Setting

_TRUNK = "FeatureExtraction.model."
_CONSENSUS = "NeighConsensus.conv."
_STAGES = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6"}


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``NCNet(setting_of(state))`` from that of ``ncnet_pfpascal.pth.tar`` or ``ncnet_ivd.pth.tar``.

    Early files call the trunk ``vgg`` and lack ``num_batches_tracked`` (not used in evaluation). Conv4d weights are
    stored as (k, out, in, k, k, k), the first axis along the rows of A. Raises ``CheckpointError`` for a missing or
    unknown key and for a wrong shape.
    """
    state = {key.replace("vgg", "model"): value for key, value in state.items()}
    with torch.device("meta"):
        expected = NCNet(setting_of(state)).state_dict()
    converted, missing = {}, []
    for key, ours in expected.items():
        theirs = _official_key(key)
        if theirs in state:
            converted[key] = _converted(theirs, state.pop(theirs), tuple(ours.shape))
        elif key.endswith("num_batches_tracked"):
            converted[key] = torch.zeros((), dtype=torch.int64)
        else:
            missing.append(theirs)
    if missing or state:
        raise CheckpointError(
            f"not a checkpoint of NCNet: {_listed('missing', missing)}; {_listed('unknown', sorted(state))}; "
            "expected the state_dict of ncnet_pfpascal.pth.tar or ncnet_ivd.pth.tar"
        )
    return converted


def setting_of(state: Mapping[str, Tensor]) -> Setting:
    """Which of the two releases the official state dict is of, by its consensus layers."""
    count = sum(key.startswith(_CONSENSUS) and key.endswith(".weight") for key in state)
    releases = {len(SETTINGS[name].channels): SETTINGS[name] for name in ("ncnet_pfpascal", "ncnet_ivd")}
    if count not in releases:
        raise CheckpointError(
            f"a checkpoint of NCNet has {' or '.join(map(str, releases))} keys {_CONSENSUS}*.weight, got {count}"
        )
    return releases[count]


def _official_key(key: str) -> str:
    layer = re.fullmatch(r"matching\.consensus\.layers\.(\d+)\.(weight|bias)", key)
    if layer:
        return f"{_CONSENSUS}{2 * int(layer[1])}.{layer[2]}"  # the odd numbers are ReLUs
    _, stage, rest = key.split(".", 2)
    return f"{_TRUNK}{_STAGES[stage]}.{rest}"


def _converted(key: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    permuted = len(shape) == 6
    stored = (shape[2], *shape[:2], *shape[3:]) if permuted else shape
    if tuple(value.shape) != stored:
        raise CheckpointError(f"{key} of a checkpoint of NCNet must have shape {stored}, got {tuple(value.shape)}")
    return value.permute(1, 2, 0, 3, 4, 5).contiguous() if permuted else value


def _listed(what: str, keys: list[str]) -> str:
    shown = ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")
    return f"{len(keys)} {what} keys" + (f" ({shown})" if keys else "")

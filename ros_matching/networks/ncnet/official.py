"""The authors' published checkpoints of NCNet, in our names and layout."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ros_matching.errors import CheckpointError
from ros_matching.networks.ncnet.network import SETTINGS, NCNet, Setting
from ros_matching.networks.published import convert, shapes_of

_TRUNK = r"^FeatureExtraction\.(model|vgg)\."  # vgg in early files, whatever the trunk
_RENAMES = (
    (_TRUNK + r"0\.", "trunk.conv1."),
    (_TRUNK + r"1\.", "trunk.bn1."),
    (_TRUNK + r"4\.", "trunk.layer1."),
    (_TRUNK + r"5\.", "trunk.layer2."),
    (_TRUNK + r"6\.", "trunk.layer3."),
    *((rf"^NeighConsensus\.conv\.{2 * layer}\.", f"matching.consensus.layers.{layer}.") for layer in range(3)),
)


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``NCNet(setting_of(state))`` from that of ``ncnet_pfpascal.pth.tar`` or ``ncnet_ivd.pth.tar``.

    Conv4d weights are stored as (k, out, in, k, k, k), the first axis along the rows of A. Raises ``CheckpointError``
    for a missing or unknown key and for a wrong shape.
    """
    with torch.device("meta"):
        expected = shapes_of(NCNet(setting_of(state)))
    layouts = {r"matching\.consensus\.layers\.\d\.weight": lambda stored: stored.permute(1, 2, 0, 3, 4, 5)}
    return convert(state, expected, network="NCNet", renames=_RENAMES, layouts=layouts)


def setting_of(state: Mapping[str, Tensor]) -> Setting:
    """Return the release of an official state dict, by the number of its consensus layers."""
    count = sum("NeighConsensus.conv." in key and key.endswith(".weight") for key in state)
    releases = {len(SETTINGS[name].channels): SETTINGS[name] for name in ("ncnet_pfpascal", "ncnet_ivd")}
    if count not in releases:
        raise CheckpointError(
            f"a checkpoint of NCNet has {' or '.join(map(str, releases))} weights NeighConsensus.conv.*, got {count}"
        )
    return releases[count]

"""The authors' published checkpoints (``backbone.pth`` and ``localheader.pth``) in our names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ros_matching.networks.posfeat.network import PoSFeat
from ros_matching.networks.published import convert, shapes_of

_BLOCK = r"^(layer[123]\.\d+)"
_RENAMES = (
    (r"^firstconv\.", "description.stem.conv."),
    (r"^firstbn\.", "description.stem.bn."),
    (_BLOCK + r"\.(conv|bn)1\.", r"description.\1.reduce.\2."),
    (_BLOCK + r"\.(conv|bn)2\.", r"description.\1.spatial.\2."),
    (_BLOCK + r"\.(conv|bn)3\.", r"description.\1.expand.\2."),
    (_BLOCK + r"\.downsample\.0\.", r"description.\1.shortcut.conv."),
    (_BLOCK + r"\.downsample\.1\.", r"description.\1.shortcut.bn."),
    (r"^upconv([23])\.conv\.", r"description.up\1."),
    (r"^iconv([23])\.", r"description.fuse\1."),
    (r"^conv_coarse\.", "description.to_coarse."),
    (r"^conv_fine\.", "description.to_local."),
    (r"^conv1\.", "detection.map_conv."),
    (r"^convimg\.", "detection.image_conv."),
    (r"^conv2\.", "detection.joint_conv."),
    (r"^conv3\.", "detection.score_conv."),
    (r"^relu\.", "detection.prelu."),
)


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``PoSFeat`` from the published one: the entries of both files in one mapping.

    The two files have no key in common. Raises ``CheckpointError`` for unknown or missing keys and wrong shapes.
    """
    with torch.device("meta"):
        expected = shapes_of(PoSFeat())
    return convert(state, expected, network="PoSFeat", renames=_RENAMES)

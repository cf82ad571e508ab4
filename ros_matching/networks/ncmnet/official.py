"""Conversion of the authors' published NCMNet checkpoint to our state dict."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ros_matching.networks.ncmnet.network import NCMNet
from ros_matching.networks.published import convert, shapes_of

# Applied in turn. The authors number the rounds of a module: mlp1 and mlp2, but sce1 and sce11.
_RENAMES = (
    # the head, which they keep in the second module
    (r"^ds_1\.embed_2\.", "embed_kept."),
    (r"^ds_1\.linear_2\.", "head."),
    # a pruning module
    (r"^ds_0\.", "coarse."),
    (r"^ds_1\.", "fine."),
    (r"^(coarse|fine)\.conv\.", r"\1.stem."),
    (r"\.gs\.conv\.", ".consensus.transform."),
    (r"\.embed_1\.0\.", ".embed_consensus."),
    (r"\.linear_([01])\.", r".weigh\1."),
    (r"\.embed_00\.", ".embed."),
    # a round
    (r"\.embed_0([12])\.", r".round\1.fuse."),
    (r"\.mlp([12])\.", r".round\1.preliminary."),
    (r"\.gcn([12])\.conv\.", r".round\1.graph.transform."),
    (r"\.(sce|cci)([123])\.", r".round1.\1\2."),
    (r"\.(sce|cci)([123])\2\.", r".round2.\1\2."),
    (r"\.down([12])\.conv\.1\.", r".round\1.order_aware.pool_norm.norm."),
    (r"\.down([12])\.conv\.3\.", r".round\1.order_aware.pool."),
    (r"\.up([12])\.conv\.1\.", r".round\1.order_aware.unpool_norm.norm."),
    (r"\.up([12])\.conv\.3\.", r".round\1.order_aware.unpool."),
    (r"\.l([12])\.(\d)\.", r".round\1.order_aware.filters.\2."),
    # the embedding of neighbours and the attention of each space
    (r"\.(sce|cci)1\.", r".\1_spatial."),
    (r"\.(sce|cci)2\.", r".\1_feature."),
    (r"\.(sce|cci)3\.", r".\1_graph."),
    (r"\.sce_(\w+)\.conv\.0\.", r".embed_\1.edges."),
    (r"\.sce_(\w+)\.conv\.1\.", r".embed_\1.edges_norm."),
    (r"\.sce_(\w+)\.conv\.3\.", r".embed_\1.groups."),
    (r"\.sce_(\w+)\.conv\.4\.", r".embed_\1.groups_norm."),
    (r"\.cci_(\w+)\.conv\.", r".cross_\1.output."),
    (r"\.cci_(\w+)\.attq\.", r".cross_\1.query."),
    (r"\.cci_(\w+)\.attk\.", r".cross_\1.key."),
    (r"\.cci_(\w+)\.attv\.", r".cross_\1.value."),
    (r"\.cci_(\w+)\.gamma$", r".cross_\1.gamma"),
    # a filter between clusters
    (r"\.conv1\.1\.", ".norm1.norm."),
    (r"\.conv1\.3\.", ".linear1."),
    (r"\.conv2\.0\.", ".cluster_norm."),
    (r"\.conv2\.2\.", ".cluster_linear."),
    (r"\.conv3\.2\.", ".norm2.norm."),
    (r"\.conv3\.4\.", ".linear2."),
    # a residual block
    (r"\bleft\.0\.", "linear1."),
    (r"\bleft\.2\.", "norm1.norm."),
    (r"\bleft\.4\.", "linear2."),
    (r"\bleft\.6\.", "norm2.norm."),
    (r"\bright\.0\.", "shortcut."),
)

# Their residual blocks all own a linear shortcut; those that do not change the width never use it.
_DEAD = (r"ds_[01]\.(embed_00\.[012]|embed_0[12]\.[12]|embed_1\.0|embed_2)\.right\.0\.(weight|bias)",)


def _linear(convolution: Tensor) -> Tensor:
    """The weight of a 1x1 convolution as that of a linear layer; the other parameters have one axis and stay."""
    return convolution.squeeze((2, 3)) if convolution.ndim == 4 else convolution


def _edges(convolution: Tensor) -> Tensor:
    """Over the neighbours alone: without the axis of height one."""
    return convolution.squeeze(2)


def _groups(convolution: Tensor) -> Tensor:
    """As wide as the row of groups it runs over, which makes it a linear layer of all of them, group by group."""
    return convolution.squeeze(2).permute(0, 2, 1).flatten(1)


_LAYOUTS = {r".*\.edges\.weight": _edges, r".*\.groups\.weight": _groups, r".*\.weight": _linear}


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of the published NCMNet from the authors' (``state_dict`` of ``model_best.pth``).

    Raises ``CheckpointError`` for a key or shape that is not of the published network, and for a missing key.
    """
    with torch.device("meta"):
        expected = shapes_of(NCMNet())
    return convert(state, expected, network="NCMNet", renames=_RENAMES, dead=_DEAD, layouts=_LAYOUTS)

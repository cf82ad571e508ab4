"""The keys and shapes of the published NCMNet checkpoint, and a network filled with the reference weights."""

from __future__ import annotations

import torch
from golden import fill_state_dict

from ros_matching.networks.ncmnet.network import NCMNet
from ros_matching.networks.ncmnet.official import from_official

WIDTH, ATTENTION, CLUSTERS = 128, 32, 250
Shapes = dict[str, tuple[int, ...]]


def conv(name: str, inputs: int, outputs: int, width: int = 1) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, 1, width), f"{name}.bias": (outputs,)}


def norm(name: str, channels: int) -> Shapes:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (channels,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def conv_norm(name: str, inputs: int, outputs: int) -> Shapes:
    return conv(f"{name}.0", inputs, outputs) | norm(f"{name}.1", outputs)


def residual(name: str, inputs: int) -> Shapes:
    left = conv(f"{name}.left.0", inputs, WIDTH) | norm(f"{name}.left.2", WIDTH)
    left |= conv(f"{name}.left.4", WIDTH, WIDTH) | norm(f"{name}.left.6", WIDTH)
    return conv(f"{name}.right.0", inputs, WIDTH) | left  # "right" exists in every block, used or not


def consistency_round(name: str, i: int, groups: int) -> Shapes:
    shapes = conv(f"{name}.mlp{i}", WIDTH, 1) | conv_norm(f"{name}.gcn{i}.conv", WIDTH, WIDTH)
    for space in "123":
        sce, cci = f"{name}.sce{space * i}.conv", f"{name}.cci{space * i}"
        shapes |= conv(f"{sce}.0", 2 * WIDTH, WIDTH, 3) | norm(f"{sce}.1", WIDTH)
        shapes |= conv(f"{sce}.3", WIDTH, WIDTH, groups) | norm(f"{sce}.4", WIDTH) | {f"{cci}.gamma": (1,)}
        for part, outputs in (("attq", ATTENTION), ("attk", ATTENTION), ("attv", WIDTH), ("conv", WIDTH)):
            shapes |= conv_norm(f"{cci}.{part}", WIDTH, outputs)
    for part in ("down", "up"):
        shapes |= norm(f"{name}.{part}{i}.conv.1", WIDTH) | conv(f"{name}.{part}{i}.conv.3", WIDTH, CLUSTERS)
    for number in range(2):
        block = f"{name}.l{i}.{number}"
        shapes |= norm(f"{block}.conv1.1", WIDTH) | conv(f"{block}.conv1.3", WIDTH, WIDTH)
        shapes |= norm(f"{block}.conv2.0", CLUSTERS) | conv(f"{block}.conv2.2", CLUSTERS, CLUSTERS)
        shapes |= norm(f"{block}.conv3.2", WIDTH) | conv(f"{block}.conv3.4", WIDTH, WIDTH)
    for number in range(3):
        shapes |= residual(f"{name}.embed_0{i}.{number}", WIDTH if number else 4 * WIDTH)
    return shapes


def pruning_module(name: str, inputs: int, groups: int) -> Shapes:
    shapes = conv_norm(f"{name}.conv", inputs, WIDTH) | conv_norm(f"{name}.gs.conv", WIDTH, WIDTH)
    for number in range(3):
        shapes |= residual(f"{name}.embed_00.{number}", WIDTH)
    shapes |= consistency_round(name, 1, groups) | consistency_round(name, 2, groups)
    shapes |= residual(f"{name}.embed_1.0", WIDTH)
    return shapes | conv(f"{name}.linear_0", WIDTH, 1) | conv(f"{name}.linear_1", WIDTH, 1)


OFFICIAL_SHAPES = pruning_module("ds_0", 4, 3) | pruning_module("ds_1", 6, 2)
OFFICIAL_SHAPES |= residual("ds_1.embed_2", WIDTH) | conv("ds_1.linear_2", WIDTH, 2)


def reference_network(dtype: torch.dtype = torch.float32) -> NCMNet:
    network = NCMNet()
    network.load_state_dict(from_official(fill_state_dict(OFFICIAL_SHAPES)))
    return network.eval().to(dtype)

"""The networks and inputs of NCNet's reference outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from golden import fill_state_dict, normal
from torch import Tensor

from ros_matching.networks.ncnet.network import ConsensusNetwork, consensus_network
from ros_matching.networks.ncnet.official import from_official

TOLERANCE = 1e-5
CASES = {  # batch, sides of A, sides of B, pooling
    "sq": (2, (7, 7), (7, 7), 1),
    "rect": (1, (6, 8), (7, 5), 1),
    "reloc2": (1, (12, 16), (14, 10), 2),
    "reloc3": (1, (12, 15), (9, 12), 3),
}
RELEASES = ("pfpascal", "ivd")
LAYERS = {"pfpascal": ((16, 1, 5), (16, 16, 5), (1, 16, 5)), "ivd": ((16, 1, 3), (1, 16, 3))}


def trunk_shapes() -> dict[str, tuple[int, ...]]:
    """Key and shape of every tensor of the official trunk: ResNet-101 to layer3 as a Sequential."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution_and_norm(conv: str, norm: str, out: int, into: int, k: int) -> None:
        shapes[f"{conv}.weight"] = (out, into, k, k)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{name}"] = (out,)
        shapes[f"{norm}.num_batches_tracked"] = ()

    root = "FeatureExtraction.model"
    convolution_and_norm(f"{root}.0", f"{root}.1", 64, 3, 7)
    into = 64
    for stage, width, blocks in ((4, 64, 3), (5, 128, 4), (6, 256, 23)):
        for block in range(blocks):
            name = f"{root}.{stage}.{block}"
            convolution_and_norm(f"{name}.conv1", f"{name}.bn1", width, into, 1)
            convolution_and_norm(f"{name}.conv2", f"{name}.bn2", width, width, 3)
            convolution_and_norm(f"{name}.conv3", f"{name}.bn3", 4 * width, width, 1)
            if block == 0:
                convolution_and_norm(f"{name}.downsample.0", f"{name}.downsample.1", 4 * width, into, 1)
            into = 4 * width
    return shapes


def consensus_shapes(release: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (out, into, k) in enumerate(LAYERS[release]):
        shapes[f"NeighConsensus.conv.{2 * layer}.weight"] = (k, out, into, k, k, k)
        shapes[f"NeighConsensus.conv.{2 * layer}.bias"] = (out,)
    return shapes


def official_state(release: str, trunk: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A checkpoint as the authors publish it, filled by the rule; the trunk with zeros unless given."""
    if trunk is None:
        trunk = {key: torch.zeros(shape) for key, shape in trunk_shapes().items()}
    return {**trunk, **fill_state_dict(consensus_shapes(release))}


def reference_network(release: str, pool: int = 1) -> ConsensusNetwork:
    """The consensus part with the reference weights, which come through ``from_official``."""
    network = consensus_network(f"ncnet_{release}", pool=pool)
    prefix = "matching."
    state = from_official(official_state(release))
    network.load_state_dict({key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)})
    return network.eval()


def reference_features(case: str, *, planted: bool = True) -> tuple[Tensor, Tensor]:
    """Feature maps A and B, 64 channels, not normalised; ``planted``: a corner of B looks like the other one of A."""
    batch, sides_a, sides_b, _ = CASES[case]
    a = np.abs(normal(f"ncnet/fa_{case}", (batch, 64, *sides_a)))
    b = np.abs(normal(f"ncnet/fb_{case}", (batch, 64, *sides_b)))
    if planted:
        h, w = (min(side_a, side_b) // 2 for side_a, side_b in zip(sides_a, sides_b, strict=True))
        b[..., :h, :w] = a[..., sides_a[0] - h :, sides_a[1] - w :] + 0.5 * b[..., :h, :w]
    return torch.from_numpy(a), torch.from_numpy(b)

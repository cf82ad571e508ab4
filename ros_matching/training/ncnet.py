"""Recipe of NCNet on the descriptor maps of PoSFeat-lite, which stay as they are.

The paper's weak loss needs no ground truth: pairs of one scene should match better than other pairs. If ground truth
is at hand, by a homography or by depth and pose, the strong loss is the cross entropy of the right cell among all that
a cell's consensus is shared between. Training goes through the very code that matches: the same coarse maps and the
strongest pairs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ros_matching.config import parameter
from ros_matching.evaluation.data_split import training_frames, training_photos, validation_frames, validation_photos
from ros_matching.networks.checkpoint import load_named, weights_file
from ros_matching.networks.ncnet.matcher import ConsensusConfig, ConsensusMatcher, coarse_map, unit_map
from ros_matching.networks.ncnet.network import consensus_network, correlate, normalize
from ros_matching.training.ncnet_losses import found_fraction, match_score, strong_loss
from ros_matching.training.ncnet_samples import CellPair, photo_cells, varied_cells, view_cells
from ros_matching.training.posfeat_description import normalised
from ros_matching.training.recipe import Batch, Recipe, RecipeConfig
from ros_matching.training.recorded_views import RealViews, RealViewsConfig

_VALIDATION_PAIRS = 40
_INITIAL_NOISE = 0.1


@dataclass(frozen=True)
class ConsensusTrainingConfig(RecipeConfig):
    """Settings of the training of the consensus network."""

    batch_size: int = parameter(4, "pairs in a step, of each process", minimum=1)
    learning_rate: float = parameter(2e-3, "at its peak; it falls along a cosine to a hundredth", minimum=0)
    width: int = parameter(448, "of the training images, a multiple of 16", minimum=64)
    height: int = parameter(336, "of the training images, a multiple of 16", minimum=64)
    strongest: int = parameter(10, "pairs kept for every cell of either image", minimum=1)
    weak_weight: float = parameter(0.0, "weight of the weak loss", minimum=0)
    strong_weight: float = parameter(1.0, "weight of the strong loss, which needs ground truth", minimum=0)
    views: float = parameter(
        0.5, "fraction of pairs that are views of hololens_000, by depth; the rest are photos", minimum=0, maximum=1
    )
    pairs: int = parameter(400, "different pairs, whose maps are kept in memory", minimum=1)
    description: str = parameter("", "weights of posfeat_lite; empty: those installed")


class LiteConsensus(Recipe):
    """``ncnet_lite``."""

    name = "ncnet_lite"
    network_name = "ncnet_lite"
    description = "NCNet-lite: neighbourhood consensus on the descriptor maps of PoSFeat-lite"
    config_class = ConsensusTrainingConfig
    selection = "found"

    def make_network(self) -> nn.Module:
        """Initialise by a vote: the sum over the neighbours of equal displacement in both images.

        With PyTorch's initial weights the last ReLU leaves most pairs at zero, without a gradient: the best cell is the
        true one for 15 % of the cells, by the vote for 73 %, by the correlation alone for 59 %.
        """
        network = consensus_network(self.network_name)
        with torch.no_grad():
            for layer in network.consensus.layers:
                layer.weight.mul_(_INITIAL_NOISE)
                layer.bias.zero_()
                steps = range(layer.kernel)
                for row, column in product(steps, steps):
                    layer.weight[0, 0, row, column, row, column] += 1 / layer.kernel
        return network

    @cached_property
    def _description(self) -> nn.Module:
        given = self.config.description
        network = load_named(Path(given) if given else weights_file("posfeat_lite"), "posfeat_lite")
        return network.description.to(memory_format=torch.channels_last).requires_grad_(False)

    @cached_property
    def _matching(self) -> ConsensusConfig:
        return ConsensusConfig(strongest=self.config.strongest, map_sampling="aligned")

    @property
    def _cell_px(self) -> int:
        return self._matching.map_stride * self._matching.coarse_factor

    @cached_property
    def _photos(self) -> list[Path]:
        return training_photos(self.data.photos)

    @cached_property
    def _views(self) -> RealViews:
        return self._sequence(training_frames)

    def _sequence(self, frames: Callable[[str, int], range]) -> RealViews:
        config = RealViewsConfig(width=self.config.width, height=self.config.height, zoom=1.3, seed=self.config.seed)
        return RealViews(self.data.sequence("hololens_000"), config, frames)

    def sample(self, index: int) -> dict[str, Tensor]:
        """The coarse ``maps`` (2, D, h, w) of a pair, and where their cells appear in each other, (2, N, 2) in cells.

        Rotated and mirrored at random: a different sample for the consensus network, whose input are similarities.
        """
        maps, targets = self._pair(index % self.config.pairs)
        return varied_cells(maps.float(), targets, self.generator(index))

    @cached_property
    def _pair(self) -> Callable[[int], tuple[Tensor, Tensor]]:
        return lru_cache(maxsize=self.config.pairs)(self._described_pair)

    def _described_pair(self, number: int) -> tuple[Tensor, Tensor]:
        rng = self.generator(number)
        if rng.random() < self.config.views:
            return self._described(view_cells(self._views.sample(number), self._cell_px))
        size = (self.config.width, self.config.height)
        return self._described(photo_cells(self._photos, size, self._cell_px, rng))

    @torch.no_grad()
    def _described(self, pair: CellPair) -> tuple[Tensor, Tensor]:
        """The coarse maps of a pair of images, in half precision as many of them are kept; and their targets."""
        local = self._description(normalised(pair.images)).local
        coarse = [coarse_map(unit_map(one), self._matching.coarse_factor)[0] for one in local]
        return normalize(torch.stack(coarse)).half(), pair.targets

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Weak and strong loss by their weights; of the weak one, pairs that do not match are neighbours' halves."""
        maps, targets, config = batch["maps"], batch["targets"], self.config
        scores = [self._scores(network, *pair) for pair in maps]
        found = [found_fraction(s, t, maps.shape[-1]) for s, t in zip(scores, targets, strict=True)]
        numbers = {"found": torch.stack(found).mean()}
        loss = scores[0].new_zeros(())
        if config.strong_weight:
            parts = [strong_loss(s, t, maps.shape[-1]) for s, t in zip(scores, targets, strict=True)]
            strong = torch.stack(parts).mean()
            loss, numbers["strong"] = loss + config.strong_weight * strong, strong.detach()
        if config.weak_weight:
            others = [self._scores(network, a, b) for a, b in zip(maps[:, 0].roll(-1, 0), maps[:, 1], strict=True)]
            weak = _mean_score(others) - _mean_score(scores)
            loss, numbers["weak"] = loss + config.weak_weight * weak, weak.detach()
        return loss, numbers

    def _scores(self, network: nn.Module, map0: Tensor, map1: Tensor) -> Tensor:
        """Return the scores (cells of 0, cells of 1) of matching two maps (D, h, w)."""
        return ConsensusMatcher(network, self._matching).consensus(correlate(map0[None], map1[None]))

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """``found``: fraction of the cells, of held-out photos and views, whose best cell is the true one.

        ``before`` is the same of the correlation alone, ``photos`` and ``views`` are the two parts.
        """
        device = next(network.parameters()).device
        after: dict[str, list[float]] = {"photos": [], "views": []}
        before = []
        for kind, maps, targets in self._validation:
            maps, targets = maps.to(device).float(), targets.to(device)
            plain = correlate(maps[:1], maps[1:]).flatten(4).flatten(0, 3)
            after[kind].append(float(found_fraction(self._scores(network, *maps), targets, maps.shape[-1])))
            before.append(float(found_fraction(plain, targets, maps.shape[-1])))
        means = {kind: float(np.mean(values)) for kind, values in after.items()}
        return {"found": float(np.mean(list(means.values()))), "before": float(np.mean(before)), **means}

    @cached_property
    def _validation(self) -> list[tuple[str, Tensor, Tensor]]:
        size, photos = (self.config.width, self.config.height), validation_photos(self.data.photos)
        views, samples = self._sequence(validation_frames), []
        for number in range(_VALIDATION_PAIRS // 2):
            photo = photo_cells(photos, size, self._cell_px, np.random.default_rng((7, number)))
            samples.append(("photos", *self._described(photo)))
            samples.append(("views", *self._described(view_cells(views.sample(number), self._cell_px))))
        return samples

    def trained_on(self) -> str:
        """The data and their terms."""
        return (
            "photos of BSDS500 (research) and samples of ImageNet (non-commercial research) under random homographies; "
            "the first four fifths of hololens_000 (sample data of deep-video-mvs, MIT) by sensor depth"
        )


def _mean_score(tables: Sequence[Tensor]) -> Tensor:
    """The mean score of the best matches of pairs (cells of 0, cells of 1), as the weak loss takes it."""
    return torch.stack([match_score(table[None, None, :, None, :, None]) for table in tables]).mean().float()

"""Recipe of NCNet on the descriptor maps of PoSFeat-lite, which stay as they are.

The paper's weak loss needs no truth: pairs that show the same should match better than pairs that do not. Where truth
is at hand, by a homography or by depth and pose, the strong loss is the cross entropy of the right cell among all that
a cell's consensus is shared between. Training goes through the very code that matches: the same coarse maps and the
strongest pairs alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ros_matching.config import parameter
from ros_matching.evaluation.split import training_photos, validation_photos
from ros_matching.networks.installed import load_named, weights_file
from ros_matching.networks.ncnet.loss import match_score
from ros_matching.networks.ncnet.matcher import ConsensusConfig, ConsensusMatcher, coarse_map, unit_map
from ros_matching.networks.ncnet.network import consensus_network, correlate, normalize
from ros_matching.training.ncnet_samples import photo_cells, view_cells
from ros_matching.training.posfeat_description import normalised
from ros_matching.training.real import RealViews, RealViewsConfig
from ros_matching.training.recipe import Batch, Recipe, RecipeConfig

_VALIDATION_PAIRS = 40
_RIGHT_CELLS = 0.75  # a cell is found that lies no further from the true place, in cells, along either axis
_EPS = 1e-6


@dataclass(frozen=True)
class ConsensusTrainingConfig(RecipeConfig):
    """Settings of the training of the consensus network."""

    learning_rate: float = parameter(2e-3, "at its peak; it falls along a cosine to a hundredth", minimum=0)
    width: int = parameter(448, "of the training images, a multiple of 16", minimum=64)
    height: int = parameter(336, "of the training images, a multiple of 16", minimum=64)
    strongest: int = parameter(10, "pairs kept for every cell of either image", minimum=1)
    weak_weight: float = parameter(0.0, "weight of the weak loss", minimum=0)
    strong_weight: float = parameter(1.0, "weight of the strong loss, which needs truth", minimum=0)
    views: float = parameter(0.5, "share of pairs that are views of hololens_000, by depth; the rest are photos", minimum=0, maximum=1)
    description: str = parameter("", "weights of posfeat_lite; empty: those installed")


class LiteConsensus(Recipe):
    """``ncnet_lite``."""

    name = "ncnet_lite"
    network_name = "ncnet_lite"
    description = "NCNet-lite: neighbourhood consensus on the descriptor maps of PoSFeat-lite"
    config_class = ConsensusTrainingConfig
    selection = "found"

    def make_network(self) -> nn.Module:
        """As initialised."""
        return consensus_network(self.network_name)

    @cached_property
    def _description(self) -> nn.Module:
        given = self.config.description
        network = load_named(Path(given) if given else weights_file("posfeat_lite"), "posfeat_lite")
        return network.description.requires_grad_(False)

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
        config = RealViewsConfig(width=self.config.width, height=self.config.height, zoom=1.3, seed=self.config.seed)
        return RealViews(self.data.sequence("hololens_000"), config)

    def sample(self, index: int) -> dict[str, Tensor]:
        """A pair of images (2, 3, H, W) uint8 and where their cells appear in each other, (2, N, 2) pixels."""
        rng = self.generator(index)
        if rng.random() < self.config.views:
            return view_cells(self._views.sample(index), self._cell_px)
        return photo_cells(self._photos, (self.config.width, self.config.height), self._cell_px, rng)

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Weak and strong loss by their weights; pairs of the weak loss that show different things are neighbours."""
        maps = self._maps(batch["images"])
        config, columns = self.config, maps.shape[-1]
        scores = [self._scores(network, *pair) for pair in maps]
        found = torch.stack([_found(s, t, columns, self._cell_px) for s, t in zip(scores, batch["targets"], strict=True)])
        numbers = {"found": found.mean()}
        loss = scores[0].new_zeros(())
        if config.strong_weight:
            parts = [_strong(s, t, columns, self._cell_px) for s, t in zip(scores, batch["targets"], strict=True)]
            strong = torch.stack(parts).mean()
            loss, numbers["strong"] = loss + config.strong_weight * strong, strong.detach()
        if config.weak_weight:
            others = [self._scores(network, a, b) for a, b in zip(maps[:, 0].roll(-1, 0), maps[:, 1], strict=True)]
            weak = _score(others) - _score(scores)
            loss, numbers["weak"] = loss + config.weak_weight * weak, weak.detach()
        return loss, numbers

    @torch.no_grad()
    def _maps(self, images: Tensor) -> Tensor:
        """The coarse descriptor maps (B, 2, D, h, w) of pairs of images (B, 2, 3, H, W), normalised."""
        description = self._description.to(images.device)
        local = description(normalised(images.flatten(0, 1))).local.float()
        coarse = [coarse_map(unit_map(one), self._matching.coarse_factor)[0] for one in local]
        return normalize(torch.stack(coarse)).unflatten(0, (-1, 2))

    def _scores(self, network: nn.Module, map0: Tensor, map1: Tensor) -> Tensor:
        """What matching makes of two maps (D, h, w): scores (cells of 0, cells of 1)."""
        return ConsensusMatcher(network, self._matching).consensus(correlate(map0[None], map1[None]))

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """``found``: share of the cells, of held-out photos and views, whose best cell is the true one.

        ``before`` is the same of the correlation alone, ``photos`` and ``views`` are the two parts.
        """
        device = next(network.parameters()).device
        after: dict[str, list[float]] = {"photos": [], "views": []}
        before = []
        for kind, sample in self._validation:
            maps = self._maps(sample["images"][None].to(device))[0]
            targets, columns = sample["targets"].to(device), maps.shape[-1]
            plain = correlate(maps[:1], maps[1:]).flatten(4).flatten(0, 3)
            after[kind].append(float(_found(self._scores(network, *maps), targets, columns, self._cell_px)))
            before.append(float(_found(plain, targets, columns, self._cell_px)))
        means = {kind: float(np.mean(values)) for kind, values in after.items()}
        return {"found": float(np.mean(list(means.values()))), "before": float(np.mean(before)), **means}

    @cached_property
    def _validation(self) -> list[tuple[str, dict[str, Tensor]]]:
        config, photos = self.config, validation_photos(self.data.photos)
        samples = []
        for number in range(_VALIDATION_PAIRS // 2):
            rng = np.random.default_rng((7, number))
            samples.append(("photos", photo_cells(photos, (config.width, config.height), self._cell_px, rng)))
            samples.append(("views", view_cells(self._held_out_views.sample(number), self._cell_px)))
        return samples

    def trained_on(self) -> str:
        """The data and their terms."""
        return (
            "photos of BSDS500 (research) and samples of ImageNet (non-commercial research) under random homographies; "
            "the first four fifths of hololens_000 (sample data of deep-video-mvs, MIT) by sensor depth"
        )

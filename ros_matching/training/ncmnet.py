"""Recipes of NCMNet: which matches fit the motion between two images.

The paper's hybrid loss (eq. 8 to 10): balanced cross entropy of five sets of logits, with the adaptive temperature, and
the epipolar geometry of the result. To it comes the supervision of the preliminary weights, which the published code
leaves untrained. Matches come from real and rendered images by several matchers, and in part are synthetic
(``ncmnet_matches.synthetic_matches``), so that the network does not adapt to one matcher.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ros_matching.config import parameter
from ros_matching.networks.ncmnet.network import (
    NCMNet,
    Pruning,
    log_weights_of,
    ncmnet_lite,
    symmetric_epipolar,
    take_rows,
    weighted_eight_point,
)
from ros_matching.training.ncmnet_losses import INLIER_RESIDUAL, SupervisionConfig, geometry_loss, pruning_loss
from ros_matching.training.ncmnet_matches import (
    PutativeMatches,
    compact,
    synthetic_matches,
    varied,
    virtual_matches,
    with_moving_body,
)
from ros_matching.training.ncmnet_pairs import (
    PUTATIVE_MATCHERS,
    TRAINING_GAPS,
    MatchSet,
    is_useful,
    match_set,
    putative_matcher,
)
from ros_matching.training.recipe import Batch, Recipe, RecipeConfig

_VALIDATION_PAIRS = 120  # at least, where there are as many
_CONFIDENT = 0.2  # as the pruner has it


@dataclass(frozen=True)
class PruningConfig(RecipeConfig):
    """Settings of the training of NCMNet."""

    batch_size: int = parameter(8, "samples in a step, of each process", minimum=1)
    matches: int = parameter(512, "most matches of each pair; from step to step another number", minimum=64)
    min_matches: int = parameter(160, "fewest matches of each pair", minimum=64)
    synthetic: float = parameter(0.25, "fraction of samples that are synthetic, without images", minimum=0, maximum=1)
    moving: float = parameter(0.4, "fraction of the others with an added moving body", minimum=0, maximum=1)
    pairs: str = parameter("ncmnet_pairs.npz", "file of the matches of image pairs, made if it is not there")
    matchers: str = parameter(
        ",".join(PUTATIVE_MATCHERS), "matchers of these images, comma separated", former_name="front_ends"
    )
    description: str = parameter("", "weights of posfeat_lite for that; empty: those installed")
    max_keypoints: int = parameter(2048, "keypoints of an image for that", minimum=100)
    worlds: int = parameter(120, "rendered worlds for that, six views each", minimum=0)
    geometry_weight: float = parameter(0.5, "weight of the epipolar geometry", minimum=0)
    geometry_after: int = parameter(300, "steps without it at first", minimum=0)
    preliminary_weight: float = parameter(0.3, "weight of the preliminary weights; 0 as published", minimum=0)
    graph_weight: float = parameter(0.0, "weight of the global-graph spaces; 0 as published", minimum=0)


class LitePruning(Recipe):
    """``ncmnet_lite``."""

    name = "ncmnet_lite"
    network_name = "ncmnet_lite"
    description = "NCMNet-lite: prunes putative matches of two calibrated images"
    config_class = PruningConfig
    selection = "average_precision"

    def make_network(self) -> nn.Module:
        """As initialised."""
        return ncmnet_lite()

    @cached_property
    def _pairs(self) -> MatchSet:
        config = self.config
        names = [name.strip() for name in config.matchers.split(",")]
        weights = Path(config.description) if config.description else None
        kept = ("front_ends", "description", "max_keypoints", "worlds", "seed")
        return match_set(
            Path(config.pairs),
            self.data,
            {name: putative_matcher(name, config.max_keypoints, weights) for name in names},
            config.worlds,
            config.seed,
            {key: getattr(config, key) for key in kept},
        )

    def sample(self, index: int) -> dict[str, Tensor]:
        """Of one pair, ``matches`` (N, 4), their ``residuals`` (N,), exact ones (400, 4), and its number."""
        rng = self.generator(index)
        count = self._count(index // self.config.batch_size)
        if rng.random() < self.config.synthetic:
            pair = synthetic_matches(count, rng)
        else:
            pair = varied(self._real_pair(self._pairs.training, rng), count, rng)
        return _tensors(pair) | {"number": torch.tensor(index)}

    def _real_pair(self, pairs: list[PutativeMatches], rng: np.random.Generator) -> PutativeMatches:
        """One of the pairs, at random; in some of them with a moving body."""
        pair, other = (pairs[int(rng.integers(len(pairs)))] for _ in range(2))
        if rng.random() >= self.config.moving:
            return pair
        return _with_body(pair, other, rng)

    def _validation_pairs(self) -> list[PutativeMatches]:
        """Pairs of frames and worlds that are not trained on; every second one with a moving body."""
        every = self._pairs.validation
        some = every[:: max(len(every) // _VALIDATION_PAIRS, 1)]
        rng = np.random.default_rng(0)
        moving = [_with_body(pair, every[0], rng) for pair in some]
        return [after if row % 2 else before for row, (before, after) in enumerate(zip(some, moving, strict=True))]

    def _count(self, batch: int) -> int:
        """The number of matches of all pairs of a batch: how near neighbours are should not matter."""
        least, most = sorted((self.config.min_matches, self.config.matches))
        return round(least * (most / least) ** np.random.default_rng((self.config.seed, 1, batch)).random())

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The hybrid loss; the geometry has a part in it after the first steps, when there is something to refine."""
        config = self.config
        pruning, essential = _estimate(network, batch["matches"])
        parts = SupervisionConfig(
            geometry_weight=0.0, preliminary_weight=config.preliminary_weight, graph_weight=config.graph_weight
        )
        classification = pruning_loss(pruning, batch["residuals"], essential, batch["virtual"], parts)
        geometry = geometry_loss(essential, batch["virtual"])
        begun = batch["number"].amin() >= config.geometry_after * config.batch_size
        loss = classification + config.geometry_weight * begun * geometry
        return loss, {"classification": classification.detach(), "geometry": geometry.detach()}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Means over pairs of frames and worlds that are not trained on, nor reported.

        ``average_precision`` of the confidence in each match, the weights of poses; ``recall`` and ``precision``
        of the confident ones; ``f_score`` of the matches that fit the essential matrix, and ``geometry``, its accuracy.
        """
        device = next(network.parameters()).device
        rows = []
        for pair in self._validation_pairs():
            tensors = {key: value[None].to(device) for key, value in _tensors(pair).items()}
            pruning, essential = _estimate(network, tensors["matches"])
            confidence = torch.sigmoid(pruning.logits[1].double())[0].cpu().numpy()
            fits = (symmetric_epipolar(essential, tensors["matches"])[0] < INLIER_RESIDUAL).cpu().numpy()
            right = pair.residuals < INLIER_RESIDUAL
            precision, recall, _ = precision_recall(confidence > _CONFIDENT, right)
            _, _, f_score = precision_recall(fits, right)
            geometry = float(geometry_loss(essential, tensors["virtual"]))
            rows.append([average_precision(confidence, right), recall, precision, f_score, geometry])
        names = ("average_precision", "recall", "precision", "f_score", "geometry")
        return dict(zip(names, map(float, np.mean(rows, axis=0)), strict=True))

    def trained_on(self) -> str:
        """Return the sequences, the matchers and the synthetic data."""
        names = " and ".join(TRAINING_GAPS)
        return (
            f"matches by {self.config.matchers} in {names} (the first two thirds; hololens_000 is sample data of "
            "deep-video-mvs, MIT; fox a sample of instant-ngp) and in rendered worlds with photos of BSDS500 "
            "(research) and ImageNet (non-commercial) as textures; synthetic matches"
        )


class FullPruning(LitePruning):
    """``ncmnet``, the published size."""

    name = "ncmnet"
    network_name = "ncmnet"
    description = "NCMNet: prunes putative matches of two calibrated images"

    def make_network(self) -> nn.Module:
        """As initialised."""
        return NCMNet()


def _with_body(pair: PutativeMatches, other: PutativeMatches, rng: np.random.Generator) -> PutativeMatches:
    """The pair with a moving body of the matches of ``other``; unchanged if too few right matches would remain."""
    region = compact(np.concatenate([pair.matches[:, :2], other.matches[:, :2]]), rng)
    moving = with_moving_body(pair, other, region)
    return moving if is_useful(moving) else pair


def _estimate(network: nn.Module, matches: Tensor) -> tuple[Pruning, Tensor]:
    pruning = network(matches)
    essential = weighted_eight_point(take_rows(matches, pruning.kept2), log_weights_of(pruning.final))
    return pruning, essential


def _tensors(pair: PutativeMatches) -> dict[str, Tensor]:
    arrays = {"matches": pair.matches, "residuals": pair.residuals, "virtual": virtual_matches(pair.essential)}
    return {key: torch.from_numpy(array).float() for key, array in arrays.items()}


def precision_recall(kept: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and their harmonic mean of the kept ones of M matches; 0 if none is kept."""
    both = np.count_nonzero(kept & right)
    precision, recall = both / max(np.count_nonzero(kept), 1), both / max(np.count_nonzero(right), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)


def average_precision(confidence: np.ndarray, right: np.ndarray) -> float:
    """The mean, over the right of M matches, of the precision among all that are as confident; 0 without any."""
    right = right[np.argsort(-confidence, kind="stable")]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return float(precision[right].mean()) if right.any() else 0.0

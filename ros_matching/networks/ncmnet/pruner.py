"""Prunes putative matches of two calibrated images with NCMNet."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Camera, Matches
from ros_matching.errors import MatchingError
from ros_matching.geometry.epipolar import nearest_essential
from ros_matching.networks.ncmnet.folding import folded
from ros_matching.networks.ncmnet.network import (
    NCMNet,
    log_weights_of,
    symmetric_epipolar,
    take_rows,
    weighted_eight_point,
)
from ros_matching.networks.selection import with_strongest


@dataclass(frozen=True)
class NCMNetPrunerConfig(Config):
    """Settings of the pruner."""

    max_residual: float = parameter(
        1e-4,
        "largest sum of the squared epipolar distances in both images, in normalised camera coordinates; "
        "the network is trained with 1e-4, which is 0.01 of the focal length",
        minimum=1e-8,
        maximum=1,
    )
    min_confidence: float = parameter(
        0.2,
        "a match of more confidence is kept even where it does not fit; 1 keeps only fitting matches, as published",
        minimum=0,
        maximum=1,
    )
    min_kept: int = parameter(
        150,
        "smallest number of kept matches, the most confident first; 0 keeps only fitting or confident ones",
        minimum=0,
    )


@dataclass(frozen=True)
class PrunedMatches:
    """The matches that NCMNet keeps: those that fit the motion it found, and those it is confident of.

    ``matches`` (M of them), whose scores are the network's confidence in each; ``rows`` (M,) of the putative matches
    they are; ``essential`` (3, 3) with singular values 1, 1, 0 and ``y1^T E y0 = 0`` for viewing rays.
    """

    matches: Matches
    rows: np.ndarray
    essential: np.ndarray


class NCMNetPruner:
    """Estimates the essential matrix from the best quarter of the matches; keeps matches that fit it or are confident.

    Keeping fitting matches only would remove wrong matches, but also good ones, because the matrix is only as accurate
    as its quarter of the matches. If few matches remain, the most confident of the others are kept: robust estimators
    tolerate wrong matches better than too few matches on one plane.

    Runs on the device of the network, on a copy for inference.
    """

    def __init__(self, network: NCMNet, config: NCMNetPrunerConfig | None = None) -> None:
        self.config = config or NCMNetPrunerConfig()
        self._network = folded(network)

    @property
    def min_matches(self) -> int:
        """The fewest putative matches that can be pruned."""
        return self._network.config.min_matches

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> PrunedMatches | None:
        """The best of the ``matches`` of two undistorted images; ``None`` for fewer than ``min_matches``."""
        if len(matches) < self.min_matches:
            return None
        rays = [camera0.unproject(matches.points0)[:, :2], camera1.unproject(matches.points1)[:, :2]]
        normalised = np.concatenate(rays, axis=1)
        if not np.isfinite(normalised).all():
            bad = np.flatnonzero(~np.isfinite(normalised).all(axis=1))
            raise MatchingError(
                f"matches must be finite, but {len(bad)} of {len(matches)} are not (first: {bad[0]}); leave them out"
            )
        essential, residuals, scores = self._infer(normalised)
        fits = residuals < self.config.max_residual
        fits |= scores > self.config.min_confidence
        rows = np.flatnonzero(with_strongest(fits, scores, self.config.min_kept))
        kept = replace(matches.select(rows), scores=scores[rows])
        return PrunedMatches(kept, rows, nearest_essential(essential))

    @torch.inference_mode()
    def _infer(self, normalised: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Essential matrix (3, 3), and of all matches the residuals and scores (N,)."""
        weight = next(self._network.parameters())
        matches = torch.from_numpy(normalised)[None].to(weight.device)
        pruning = self._network(matches.to(weight.dtype))
        essential = weighted_eight_point(take_rows(matches, pruning.kept2), log_weights_of(pruning.final))
        residuals = symmetric_epipolar(essential, matches)
        scores = torch.sigmoid(pruning.logits[1].double())  # of the first module, the last with all matches as input
        host = torch.cat([essential.flatten(1), residuals, scores], dim=1)[0].cpu().numpy()  # one copy, one wait
        return host[:9].reshape(3, 3), *np.split(host[9:], 2)

"""Pruning of putative matches: does it keep the right ones, and does it lead to the right pose?

A match is right where its squared distances from its true epipolar lines, in normalised coordinates, sum up to less
than 1e-4 in both images together: what NCMNet and its kin are trained and measured with.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ros_matching.datatypes import Camera, Matches
from ros_matching.evaluation.pairs import MatchedPair
from ros_matching.evaluation.pairs_poses import PoseError, PoseEstimator, magsac_pose, own_pose, pose_error
from ros_matching.geometry.epipolar import essential_from_pose, symmetric_epipolar_distance_px
from ros_matching.geometry.essential import recover_pose

_RIGHT = 1e-2  # the root of 1e-4


class Pruned(Protocol):
    """What a pruner gives: the ``rows`` (K,) of the matches it keeps, and their ``essential`` matrix (3, 3)."""

    rows: np.ndarray
    essential: np.ndarray


class Pruner(Protocol):
    """What is asked of a pruner here; ``NCMNetPruner`` has it."""

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> Pruned | None:
        """The matches of two undistorted images that fit one motion; ``None`` where that cannot be told."""


class RansacPruner:
    """A robust estimator of poses as a pruner, to compare learned ones with: it keeps its inliers."""

    def __init__(self, estimate: PoseEstimator) -> None:
        self._estimate = estimate

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> _RansacPruned | None:
        """The inliers of the pose; ``None`` where there is none."""
        pose = self._estimate(matches, camera0, camera1)
        return None if pose is None else _RansacPruned(np.flatnonzero(pose[1]), essential_from_pose(pose[0]), pose[0])


class KeepAll:
    """Prunes nothing: what the putative matches are worth."""

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> None:
        """Nothing is known."""


@dataclass(frozen=True)
class _RansacPruned:
    rows: np.ndarray
    essential: np.ndarray
    camera1_from_camera0: np.ndarray


BASELINES: Mapping[str, Pruner] = {
    "none": KeepAll(),
    "own RANSAC": RansacPruner(own_pose),
    "MAGSAC": RansacPruner(magsac_pose),
}


@dataclass(frozen=True)
class PruningResult:
    """One pruner on one pair's putative matches.

    ``precision`` and ``recall`` of the right ones among those kept; recall is NaN where none was right. ``direct`` is
    the error of the pose that the pruner's essential matrix is of, and ``after`` those of the estimators on the matches
    that it kept (on all of them where it does not know).
    """

    pruner: str
    sequence: str
    matches: int
    right: int
    kept: int
    precision: float
    recall: float
    direct: PoseError
    after: Mapping[str, PoseError]
    ms: float


AFTER: Mapping[str, PoseEstimator] = {"own": own_pose, "magsac": magsac_pose}


def evaluate_pruning(pruners: Mapping[str, Pruner], pairs: Iterable[MatchedPair]) -> Iterator[PruningResult]:
    """Run every pruner on the matches of every pair; pairs whose true direction is not known are left out."""
    for pair in pairs:
        if pair.rotation_only or pair.distance == 0:
            continue
        right = true_matches(pair)
        for name, pruner in pruners.items():
            yield _run(name, pruner, pair, right)


def true_matches(pair: MatchedPair) -> np.ndarray:
    """Which of the matches are right, (M,) bool."""
    rays0, rays1 = pair.camera0.unproject(pair.matches.points0), pair.camera1.unproject(pair.matches.points1)
    essential = essential_from_pose(pair.camera1_from_camera0)
    return symmetric_epipolar_distance_px(essential, rays0[:, :2], rays1[:, :2]) < _RIGHT


def _run(name: str, pruner: Pruner, pair: MatchedPair, right: np.ndarray) -> PruningResult:
    began = time.perf_counter()
    pruned = pruner.prune(pair.matches, pair.camera0, pair.camera1)
    ms = 1e3 * (time.perf_counter() - began)
    rows = np.arange(len(pair.matches)) if pruned is None else pruned.rows
    kept, true_kept = pair.matches.select(rows), np.count_nonzero(right[rows])
    truth = pair.camera1_from_camera0
    poses = {key: estimate(kept, pair.camera0, pair.camera1) for key, estimate in AFTER.items()}
    return PruningResult(
        pruner=name,
        sequence=pair.sequence,
        matches=len(pair.matches),
        right=int(np.count_nonzero(right)),
        kept=len(kept),
        precision=true_kept / len(kept) if len(kept) else 0.0,
        recall=true_kept / np.count_nonzero(right) if right.any() else np.nan,
        direct=pose_error(None if pruned is None else _pose(pruned, pair), truth),
        after={key: pose_error(None if pose is None else pose[0], truth) for key, pose in poses.items()},
        ms=ms,
    )


def _pose(pruned: Pruned, pair: MatchedPair) -> np.ndarray | None:
    """The pose (4, 4) that the essential matrix is of, by the kept matches; that of RANSAC is known already."""
    if isinstance(pruned, _RansacPruned):
        return pruned.camera1_from_camera0
    inliers = np.zeros(len(pair.matches), dtype=bool)
    inliers[pruned.rows] = True
    matches = pair.matches
    view = recover_pose(pruned.essential, matches.points0, matches.points1, pair.camera0, pair.camera1, inliers)
    return None if view is None else view.camera1_from_camera0

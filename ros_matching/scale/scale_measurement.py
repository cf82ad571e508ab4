"""What an anchor of the scale says, and the robust mean that most of them say it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK, MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Features, Frame
from ros_matching.geometry.robust import tukey_weight
from ros_matching.geometry.se3 import transform

# Ratios of single landmarks count as agreeing within this tolerance, and that many of them have to.
_AGREEMENT = 0.1
_MIN_SHARE = 0.5
_TUKEY = 4.685  # 95 % efficiency for Gaussian errors
_SIGMA_FROM_MAD = 1.4826
_STEPS = 5


@dataclass(frozen=True)
class LocalizedView:
    """An image with its pose in the map and the landmarks that its keypoints see, ``landmark_ids`` (K,)."""

    frame: Frame
    features: Features
    camera_from_world: np.ndarray
    landmark_ids: np.ndarray

    @classmethod
    def of(cls, keyframe: MapKeyframe) -> LocalizedView:
        """The view of a keyframe."""
        return cls(keyframe.frame, keyframe.features, keyframe.camera_from_world, keyframe.landmark_ids)

    def landmarks(self, local_map: LocalMap) -> tuple[np.ndarray, np.ndarray]:
        """Keypoint rows (N,) and points (N, 3) in the camera of the landmarks seen in front of it."""
        rows = np.flatnonzero(self.landmark_ids != NO_LANDMARK)
        points = transform(self.camera_from_world, local_map.positions_of(self.landmark_ids[rows]))
        in_front = points[:, 2] > 0
        return rows[in_front], points[in_front]


@dataclass(frozen=True)
class ScaleMeasurement:
    """``log_factor``: natural logarithm of the metres in a unit of the map, with its ``sigma`` (a relative error)."""

    log_factor: float
    sigma: float


@dataclass(frozen=True)
class NoMeasurement:
    """Why an anchor says nothing. ``pending``: the next image may bring it; otherwise the next keyframe."""

    reason: str
    pending: bool = False


class ScaleSource(Protocol):
    """Something that knows a length in metres. ``shared_sigma`` is the relative error that its measurements share."""

    name: str
    shared_sigma: float

    def measure(self, local_map: LocalMap, view: LocalizedView) -> ScaleMeasurement | NoMeasurement:
        """Compare the map with the length that is known."""

    def reset(self) -> None:
        """A new map begins: forget what was measured in the old one."""


def robust_log_factor(
    depths: np.ndarray, metres: np.ndarray, sigmas: np.ndarray, shared_sigma: float, what: str
) -> ScaleMeasurement | NoMeasurement:
    """The scale from depths (N,) in the map's unit and in metres, with the relative errors ``sigmas`` (N,) of these.

    Tukey's M-estimate of the mean logarithm of the ratios. ``shared_sigma`` is the error that no number of landmarks
    averages out. Without agreement of at least half of the landmarks within 10 % there is no measurement.
    """
    logs, weights = np.log(metres / depths), 1.0 / sigmas**2
    center = _weighted_median(logs, weights)
    share = float(np.mean(np.abs(logs - center) < _AGREEMENT))
    if share < _MIN_SHARE:
        return NoMeasurement(f"{what} fits only {share:.0%} of {len(logs)} landmarks within {_AGREEMENT:.0%}")
    # Landmarks have errors of their own, so the spread that is seen counts where it is larger than expected.
    spread = max(_SIGMA_FROM_MAD * float(np.median(np.abs(logs - center) / sigmas)), 1.0)
    for _ in range(_STEPS):
        robust = weights * tukey_weight((logs - center) / (spread * sigmas), _TUKEY)
        center = float(np.sum(robust * logs) / np.sum(robust))
    return ScaleMeasurement(center, float(np.hypot(spread / np.sqrt(np.sum(robust)), shared_sigma)))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def first_agreeing(measurements: Sequence[ScaleMeasurement]) -> ScaleMeasurement | None:
    """The mean of those that agree with the newest, if there are at least two; newest last."""
    newest = measurements[-1]
    agreeing = [
        other
        for other in measurements
        if abs(other.log_factor - newest.log_factor) < 2.5 * np.hypot(other.sigma, newest.sigma)
    ]
    if len(agreeing) < 2:
        return None
    weights = np.array([1 / m.sigma**2 for m in agreeing])
    values = np.array([m.log_factor for m in agreeing])
    return ScaleMeasurement(float(weights @ values / weights.sum()), float(1 / np.sqrt(weights.sum())))

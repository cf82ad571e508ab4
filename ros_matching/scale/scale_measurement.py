"""Measurements of the map scale, and their robust mean over landmarks."""

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

# Relative tolerance within which ratios of landmarks agree, and the smallest fraction that must agree
_AGREEMENT = 0.1
_MIN_FRACTION = 0.5
_TUKEY = 4.685  # 95 % efficiency for Gaussian errors
_STD_FROM_MAD = 1.4826
_STEPS = 5


@dataclass(frozen=True)
class LocalizedView:
    """An image with its pose in the map and the landmarks that its keypoints observe, ``landmark_ids`` (K,)."""

    frame: Frame
    features: Features
    camera_from_world: np.ndarray
    landmark_ids: np.ndarray

    @classmethod
    def of(cls, keyframe: MapKeyframe) -> LocalizedView:
        """Return the view of a keyframe."""
        return cls(keyframe.frame, keyframe.features, keyframe.camera_from_world, keyframe.landmark_ids)

    def landmarks(self, local_map: LocalMap) -> tuple[np.ndarray, np.ndarray]:
        """Return keypoint rows (N,) and points (N, 3) in the camera of the observed landmarks with positive depth."""
        rows = np.flatnonzero(self.landmark_ids != NO_LANDMARK)
        points = transform(self.camera_from_world, local_map.positions_of(self.landmark_ids[rows]))
        in_front = points[:, 2] > 0
        return rows[in_front], points[in_front]


@dataclass(frozen=True)
class ScaleMeasurement:
    """``log_factor`` is the natural logarithm of the metres in one map unit, ``log_std`` its standard deviation."""

    log_factor: float
    log_std: float


@dataclass(frozen=True)
class NoMeasurement:
    """The reason why there is no measurement; if ``pending``, the next image may have one, else the next keyframe."""

    reason: str
    pending: bool = False


class ScaleSource(Protocol):
    """A source of lengths in metres; ``shared_std`` is the relative error that all its measurements share."""

    name: str
    shared_std: float

    def measure(self, local_map: LocalMap, view: LocalizedView) -> ScaleMeasurement | NoMeasurement:
        """Measure the scale of the map at a view of it."""

    def reset(self) -> None:
        """Start with a new map."""


def robust_log_factor(
    depths: np.ndarray, metres: np.ndarray, stds: np.ndarray, shared_std: float, source: str
) -> ScaleMeasurement | NoMeasurement:
    """Estimate the scale from depths (N,) in map units and in metres, with relative standard deviations ``stds`` (N,).

    Tukey's M-estimate of the mean logarithm of the ratios. ``shared_std`` is the error that does not average out over
    landmarks. There is no measurement if fewer than half of the landmarks agree within 10 %.
    """
    logs, weights = np.log(metres / depths), 1.0 / stds**2
    center = _weighted_median(logs, weights)
    fraction = float(np.mean(np.abs(logs - center) < _AGREEMENT))
    if fraction < _MIN_FRACTION:
        return NoMeasurement(f"{source} fits only {fraction:.0%} of {len(logs)} landmarks within {_AGREEMENT:.0%}")
    # Landmarks have additional errors: the observed spread counts if it is larger than the expected one
    spread = max(_STD_FROM_MAD * float(np.median(np.abs(logs - center) / stds)), 1.0)
    for _ in range(_STEPS):
        robust = weights * tukey_weight((logs - center) / (spread * stds), _TUKEY)
        center = float(np.sum(robust * logs) / np.sum(robust))
    return ScaleMeasurement(center, float(np.hypot(spread / np.sqrt(np.sum(robust)), shared_std)))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def first_agreeing(measurements: Sequence[ScaleMeasurement]) -> ScaleMeasurement | None:
    """Return the mean of the measurements, newest last, that agree with the newest; ``None`` if it is alone."""
    newest = measurements[-1]
    agreeing = [
        other
        for other in measurements
        if abs(other.log_factor - newest.log_factor) < 2.5 * np.hypot(other.log_std, newest.log_std)
    ]
    if len(agreeing) < 2:
        return None
    weights = np.array([1 / m.log_std**2 for m in agreeing])
    values = np.array([m.log_factor for m in agreeing])
    return ScaleMeasurement(float(weights @ values / weights.sum()), float(1 / np.sqrt(weights.sum())))

"""Estimation of the map scale: a Kalman filter with outlier rejection.

Model: let s be the length in metres of one map unit. The state is the error of log s, with variance P. A scale source
measures z = log s with variance R; drift adds ``drift_sigma``^2 to P at every keyframe. The correction P / (P + R) z is
applied to the map at once: the map is scaled about the current camera. Then the error is zero, and the pose of that
camera does not change: published positions do not jump, only the scale of later motion changes.

Two measurements that agree are needed to set the scale. One that contradicts the scale is rejected and its
contradiction is added to the uncertainty; two rejected ones that agree with each other replace the scale.

States, by the relative standard deviation of the scale:

* ``METRIC``: a source has measured the scale in this map, and its standard deviation is at most ``metric_sigma``.
* ``ANCHORED``: a source has measured the scale in this map, but not recently, or with a contradiction. The standard
  deviation, which grows with every keyframe, is larger, up to ``anchored_sigma``. Lengths are still in one unit.
* ``UP_TO_SCALE``: no source has measured the scale, or too long ago. Without a source the unit is the median depth of
  the first landmarks, and drifts.

An error that all measurements share, for example that of the baseline, does not average out: each source states it, and
P is never smaller.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import ScaleState
from ros_matching.inertial.motion_state import MotionState
from ros_matching.scale.config import ScaleConfig
from ros_matching.scale.scale_measurement import (
    LocalizedView,
    NoMeasurement,
    ScaleMeasurement,
    ScaleSource,
    first_agreeing,
)

_MAX_REJECTED = 5  # newest rejected measurements that are kept
_GATE = 3.0  # in standard deviations; a measurement beyond it contradicts the scale


@dataclass(frozen=True)
class ScaleReport:
    """State of the map scale, with its relative standard deviation ``std``, infinite while unknown.

    ``source`` is the name of the scale source, empty when UP_TO_SCALE. ``reason`` is why the state is not METRIC, empty
    without a source.
    """

    state: ScaleState = ScaleState.UP_TO_SCALE
    source: str = ""
    std: float = math.inf
    reason: str = ""


class ScaleEstimator:
    """Estimates the scale of the active map; the module documents the model."""

    def __init__(self, config: ScaleConfig | None = None, source: ScaleSource | None = None) -> None:
        """Without a source the scale stays unknown."""
        self._config = config or ScaleConfig()
        self._source = source
        self.reset()

    def reset(self) -> None:
        """Start with an unknown scale."""
        self._variance = math.inf
        self._contradiction = 0.0  # of the last measurement, if it was rejected
        self._rejected: deque[ScaleMeasurement] = deque(maxlen=_MAX_REJECTED)
        self._reason = "no measurement yet"
        self._is_due = True
        if self._source is not None:
            self._source.reset()

    @property
    def report(self) -> ScaleReport:
        """Current state of the scale."""
        if self._source is None:
            return ScaleReport()
        name, std = self._source.name, math.sqrt(self._variance)
        # A single contradiction ends the state METRIC, not ANCHORED
        std = max(std, min(math.hypot(std, self._contradiction), self._config.anchored_sigma))
        if std <= self._config.metric_sigma:
            return ScaleReport(ScaleState.METRIC, name, std)
        if std <= self._config.anchored_sigma:
            return ScaleReport(ScaleState.ANCHORED, name, std, f"{name}: {self._reason}")
        return ScaleReport(reason=f"{name}: {self._reason}")

    @property
    def variance(self) -> float:
        """Variance of the relative error of the scale, for ``resume``; infinite while unknown."""
        return self._variance

    def resume(self, variance: float) -> None:
        """Continue in an inactive map whose scale has this variance."""
        self.reset()
        self._variance = variance
        if math.isfinite(variance):
            self._reason = "no measurement since the relocalisation in this map"

    def start_map(self, local_map: LocalMap, known_std: float = math.inf, motion: MotionState | None = None) -> None:
        """Start with a new map, and scale it if its first keyframes have measurements that agree.

        After a loss an IMU may have carried the scale, with the relative standard deviation ``known_std``, and the
        state of ``motion`` at the first keyframe.
        """
        self.reset()
        if known_std <= self._config.anchored_sigma:
            self._variance = known_std**2
            self._reason = "carried through a loss by the IMU, no measurement since"
        continue_from = getattr(self._source, "continue_from", None)
        if motion is not None and continue_from is not None:
            continue_from(motion)
        for keyframe in local_map.keyframes:
            self._is_due = True
            local_map.rescale(
                self._measured_factor(local_map, LocalizedView.of(keyframe)), local_map.keyframes[0].center
            )

    def observe(self, local_map: LocalMap, view: LocalizedView, is_keyframe: bool) -> float:
        """Process a localised image; returns the factor by which to scale the map, 1 for no change."""
        follow = getattr(self._source, "follow", None)
        if follow is not None:
            follow(local_map, view)
        if is_keyframe:
            self._is_due = True
            self._variance += self._config.drift_sigma**2
            self._rejected = deque(map(self._aged, self._rejected), maxlen=_MAX_REJECTED)
            if self._variance > self._config.anchored_sigma**2:
                self._variance, self._contradiction = math.inf, 0.0
        return self._measured_factor(local_map, view)

    def _measured_factor(self, local_map: LocalMap, view: LocalizedView) -> float:
        """Measure once per keyframe: measurements of one view share their landmarks."""
        if self._source is None or not self._is_due:
            return 1.0
        measured = self._source.measure(local_map, view)
        if isinstance(measured, NoMeasurement):
            self._reason = measured.reason
            self._is_due = measured.pending
            return 1.0
        self._is_due = False
        return math.exp(self._update(measured))

    def _update(self, measured: ScaleMeasurement) -> float:
        """Update with a measurement; returns the change of log s."""
        total = self._variance + measured.log_std**2
        if abs(measured.log_factor) <= _GATE * math.sqrt(total) < math.inf:
            gain = self._variance / total
            self._variance = max((1 - gain) * self._variance, self._floor(measured))
            self._contradiction = 0.0
            self._rejected.clear()
            return gain * measured.log_factor
        self._rejected.append(measured)
        agreed = first_agreeing(self._rejected)
        if agreed is None:
            return self._reject(measured)
        self._variance, self._contradiction = max(agreed.log_std**2, self._floor(measured)), 0.0
        self._rejected.clear()
        return agreed.log_factor

    def _reject(self, measured: ScaleMeasurement) -> float:
        if math.isinf(self._variance):
            self._reason = "waiting for a second measurement that agrees with the first"
        else:
            self._contradiction = abs(measured.log_factor)
            self._reason = f"the last measurement contradicts the scale by {math.expm1(self._contradiction):.0%}"
        return 0.0

    def _aged(self, measured: ScaleMeasurement) -> ScaleMeasurement:
        return replace(measured, log_std=math.hypot(measured.log_std, self._config.drift_sigma))

    def _floor(self, measured: ScaleMeasurement) -> float:
        return min(self._source.shared_std, measured.log_std) ** 2

"""The unit of the map: unknown, held, or metres, and how it is kept.

Model. Let s be the metres in a unit of the map. The estimator keeps the error of log s and its variance P. An anchor
measures z = log s with variance R; drift adds ``drift_sigma`` squared to P with every keyframe. The correction P / (P +
R) z is worked into the map at once (the map is scaled about the current camera), so the error is zero again and the
pose of that camera does not move: published positions go on without a jump, in the corrected unit.

The first unit in metres needs two measurements that agree. A measurement that contradicts the present unit is set
aside, and adds its contradiction to the uncertainty; when two of these agree with each other they replace the unit.

States, by the relative uncertainty sigma of the unit:

* ``METRIC``: an anchor has measured the unit in this map, and sigma is at most ``metric_sigma``.
* ``ANCHORED``: an anchor has set the unit in this map, but is silent or contradicted since, and sigma (which grows
  with every keyframe) is above that, up to ``anchored_sigma``. It is still that one unit; it is not called metres.
* ``UP_TO_SCALE``: no anchor has measured, or too long ago. A map without an anchor stays here: its unit is the median
  depth of its first landmarks; the local map carries it on, but nothing stops its drift.

An error that the measurements share, as that of a wrong baseline, does not average out: each anchor states it, and P
never falls below it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import ScaleState
from ros_matching.scale.config import ScaleConfig
from ros_matching.scale.scale_measurement import (
    LocalizedView,
    NoMeasurement,
    ScaleMeasurement,
    ScaleSource,
    first_agreeing,
)

_REMEMBERED = 5  # measurements that have not (yet) made the unit
_GATE = 3.0  # sigmas beyond which a measurement contradicts the unit


@dataclass(frozen=True)
class ScaleReport:
    """The unit of lengths: ``sigma`` is its relative uncertainty, infinite when unknown.

    ``source`` names the anchor, empty when UP_TO_SCALE; ``reason`` says why the state is not METRIC though there is an
    anchor.
    """

    state: ScaleState = ScaleState.UP_TO_SCALE
    source: str = ""
    sigma: float = math.inf
    reason: str = ""


class ScaleEstimator:
    """Keeps the unit of one map after the other; see the module's text."""

    def __init__(self, config: ScaleConfig | None = None, anchor: ScaleSource | None = None) -> None:
        """Without an anchor the scale stays unknown."""
        self._config = config or ScaleConfig()
        self._anchor = anchor
        self.reset()

    def reset(self) -> None:
        """A new map begins, in a unit that nothing is known of."""
        self._variance = math.inf
        self._doubt = 0.0  # of the last measurement that contradicted the unit
        self._aside: deque[ScaleMeasurement] = deque(maxlen=_REMEMBERED)
        self._reason = "no measurement has come yet"
        self._is_due = True
        if self._anchor is not None:
            self._anchor.reset()

    @property
    def report(self) -> ScaleReport:
        """The state of the unit now."""
        if self._anchor is None:
            return ScaleReport()
        name, sigma = self._anchor.name, math.sqrt(self._variance)
        # One contradiction alone takes the metres away, not the anchor.
        sigma = max(sigma, min(math.hypot(sigma, self._doubt), self._config.anchored_sigma))
        if sigma <= self._config.metric_sigma:
            return ScaleReport(ScaleState.METRIC, name, sigma)
        if sigma <= self._config.anchored_sigma:
            return ScaleReport(ScaleState.ANCHORED, name, sigma, f"{name}: {self._reason}")
        return ScaleReport(reason=f"{name}: {self._reason}")

    @property
    def variance(self) -> float:
        """Of the relative error of the unit; infinite while unknown. What ``resume`` takes."""
        return self._variance

    def resume(self, variance: float) -> None:
        """Go on in a map that was left when its unit had this variance: nothing has moved it since."""
        self.reset()
        self._variance = variance
        if math.isfinite(variance):
            self._reason = "not measured again since the camera came back to this map"

    def begin(self, local_map: LocalMap) -> None:
        """Take a new map, and give it its unit where the anchor can tell it from the first keyframes."""
        self.reset()
        for keyframe in local_map.keyframes:
            self._is_due = True
            local_map.rescale(
                self._measured_factor(local_map, LocalizedView.of(keyframe)), local_map.keyframes[0].center
            )

    def observe(self, local_map: LocalMap, view: LocalizedView, is_keyframe: bool) -> float:
        """The factor by which the map has to be scaled, after an image was placed in it; 1 for not at all."""
        if is_keyframe:
            self._is_due = True
            self._variance += self._config.drift_sigma**2
            self._aside = deque(map(self._aged, self._aside), maxlen=_REMEMBERED)
            if self._variance > self._config.anchored_sigma**2:
                self._variance, self._doubt = math.inf, 0.0
        return self._measured_factor(local_map, view)

    def _measured_factor(self, local_map: LocalMap, view: LocalizedView) -> float:
        """One measurement for every keyframe, as those of one view share their landmarks."""
        if self._anchor is None or not self._is_due:
            return 1.0
        measured = self._anchor.measure(local_map, view)
        if isinstance(measured, NoMeasurement):
            self._reason = measured.reason
            self._is_due = measured.pending
            return 1.0
        self._is_due = False
        return math.exp(self._update(measured))

    def _update(self, measured: ScaleMeasurement) -> float:
        """Take a measurement; the change of log s that it makes."""
        total = self._variance + measured.sigma**2
        if abs(measured.log_factor) <= _GATE * math.sqrt(total) < math.inf:
            gain = self._variance / total
            self._variance = max((1 - gain) * self._variance, self._floor(measured))
            self._doubt = 0.0
            self._aside.clear()
            return gain * measured.log_factor
        self._aside.append(measured)
        agreed = first_agreeing(self._aside)
        if agreed is None:
            return self._set_aside(measured)
        self._variance, self._doubt = max(agreed.sigma**2, self._floor(measured)), 0.0
        self._aside.clear()
        return agreed.log_factor

    def _set_aside(self, measured: ScaleMeasurement) -> float:
        if math.isinf(self._variance):
            self._reason = "waiting for a second measurement that agrees with the first"
        else:
            self._doubt = abs(measured.log_factor)
            self._reason = f"the last measurement contradicts the scale by {math.expm1(self._doubt):.0%}"
        return 0.0

    def _aged(self, measured: ScaleMeasurement) -> ScaleMeasurement:
        return replace(measured, sigma=math.hypot(measured.sigma, self._config.drift_sigma))

    def _floor(self, measured: ScaleMeasurement) -> float:
        return min(self._anchor.shared_sigma, measured.sigma) ** 2

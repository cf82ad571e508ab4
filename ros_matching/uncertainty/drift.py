"""Drift: the errors of the keyframes of a map that accumulate along it.

A window of keyframes depends on a fixed one, the anchor. The anchor has the error of its last adjustment: six degrees
of freedom of pose and one of scale, as the fixed part of a window determines its scale. The error of a keyframe is that
of its anchor, propagated as a similarity transform, plus that of the window, so it accumulates along the chain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.geometry.bundle_covariance import step_lengths
from ros_matching.geometry.se3 import skew


class Drift:
    """Covariances (7, 7) over ``(dt, dr, ds)`` of the errors of the keyframes of the active map.

    ``anchor`` is the keyframe on which the others depend; ``None`` before the first map.
    """

    def __init__(self) -> None:
        self.anchor: MapKeyframe | None = None
        self._by_keyframe: dict[int, np.ndarray] = {}
        self._free_scale = 0.0  # variance of the scale of a window that nothing else determines

    @property
    def by_keyframe(self) -> dict[int, np.ndarray]:
        """The covariances by keyframe id."""
        return dict(self._by_keyframe)

    @property
    def scale_variance(self) -> float:
        """Variance of the scale at the anchor relative to the scale of the first map."""
        return float(self._by_keyframe[self.anchor.id][6, 6]) + self._free_scale

    def start(self, keyframe: MapKeyframe, covariance: np.ndarray) -> None:
        """Start with the first keyframe of a new map and the covariance (7, 7) of its error."""
        self.anchor, self._by_keyframe, self._free_scale = keyframe, {keyframe.id: covariance}, 0.0

    def resume(self, local_map: LocalMap, anchor: MapKeyframe, by_keyframe: dict[int, np.ndarray]) -> None:
        """Continue with the keyframes of a map; those without a covariance depend on ``anchor``."""
        worst = max(by_keyframe.values(), key=np.trace)
        self.anchor, self._by_keyframe = anchor, {anchor.id: by_keyframe.get(anchor.id, worst)}
        self._by_keyframe = {k.id: by_keyframe.get(k.id, self.at(k.center)) for k in local_map.keyframes}

    def follow(self, local_map: LocalMap) -> None:
        """Refer to the anchor as it is in an updated version of the map, if it is still there."""
        self.anchor = local_map.keyframe(self.anchor.id) or self.anchor

    def add_unadjusted(self, local_map: LocalMap) -> None:
        """Include the keyframes of the map that no window has adjusted yet."""
        for keyframe in local_map.keyframes:
            if keyframe.id not in self._by_keyframe:
                self._by_keyframe[keyframe.id] = self.at(keyframe.center)

    def propagate(
        self, fixed: Sequence[MapKeyframe], moving: Sequence[MapKeyframe], added: Sequence[np.ndarray]
    ) -> None:
        """Propagate the drift of the newest ``fixed`` keyframe of a window to the ``moving`` ones, and add theirs.

        ``added`` are covariances (7, 7) by the window. With only one fixed keyframe the scale is free: its variance in
        the window is one for all, that of depths relative to baselines.
        """
        self.anchor, self._free_scale = max(fixed, key=lambda k: k.id), 0.0
        if len(fixed) == 1 and len(added):
            self._free_scale = float(added[-1][6, 6])
            added = [_without_scale(own) for own in added]
        for keyframe, own in zip(moving, added, strict=True):
            self._by_keyframe[keyframe.id] = self.at(keyframe.center) + own

    def add(self, keyframe: MapKeyframe, covariance: np.ndarray) -> None:
        """Add a covariance (7, 7) to that of a keyframe."""
        self._by_keyframe[keyframe.id] = self._by_keyframe[keyframe.id] + covariance

    def keep(self, ids: set[int]) -> None:
        """Forget all keyframes but those of these ids."""
        self._by_keyframe = {id: drift for id, drift in self._by_keyframe.items() if id in ids}

    def rescale(self, factor: float) -> None:
        """Multiply all lengths by ``factor`` after a measurement of the scale, whose drift starts from zero."""
        lengths = np.append(step_lengths(factor, 1), 0.0)
        self._by_keyframe = {id: drift * np.outer(lengths, lengths) for id, drift in self._by_keyframe.items()}
        self._free_scale = 0.0

    def at(self, position: np.ndarray) -> np.ndarray:
        """Return the covariance (7, 7) of the error of the anchor, propagated to another position (3,)."""
        arm = position - self.anchor.center
        jacobian = np.eye(7)
        jacobian[:3, 3:6], jacobian[:3, 6] = -skew(arm), arm
        drift = self._by_keyframe[self.anchor.id].copy()
        drift[6, 6] += self._free_scale
        return jacobian @ drift @ jacobian.T


def _without_scale(covariance: np.ndarray) -> np.ndarray:
    """Return a covariance (7, 7) over ``(dt, dr, ds)`` without the row and column of the scale."""
    result = covariance.copy()
    result[6] = result[:, 6] = 0.0
    return result

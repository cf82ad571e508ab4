"""Systematic errors: those of the intrinsics, of moving objects, of a rolling shutter. Neither averages out.

They do not appear in the residuals as what they are. Rendered images have none, and less noise than any camera's, so
the noise of the observations beyond that of perfect images indicates them:

- The intrinsics of a calibration are off by the standard deviations of ``Calibration.intrinsics``, in full where the
  excess noise is ``_REAL_EXCESS_PX`` or more. Their effect on poses is known (``geometry.intrinsics_error``).
- A rolling shutter, the exposure, and stamps that are not exact distort rotations in proportion to themselves.
- A fraction of the excess noise is common to all observations of an image, and persists over several keyframes: other
  errors. It is added to every pose, and for each keyframe to the drift of rotation, position and scale; for the scale
  relative to the disparity between keyframes.
"""

from __future__ import annotations

import itertools

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.geometry.intrinsics_error import COUNT
from ros_matching.uncertainty.calibration import Calibration

_CLEAN_STD_PX = 0.12  # noise of perfect images
_REAL_EXCESS_PX = 0.1
# Residuals of landmarks with two observations contain only noise across the epipolar lines, over one short track.
_FEW_VIEWS = 2.5
_FEW_VIEWS_FACTOR = 1.5
_PERSISTENCE = 50  # keyframes
_MAX_SCALE_STD = 0.05  # from one keyframe to the next


class SystematicErrors:
    """Standard deviations and covariances of the systematic errors in the active map of a tracker.

    ``pose`` (6,) are standard deviations of the pose of an image in the map; ``intrinsics`` (4, 4) is the covariance of
    the errors of the intrinsics; ``rotation`` is the standard deviation of a rotation between two images relative to
    it.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._excess_px = 0.0
        self._steps: dict[int, int] = {}  # keyframes over which the errors have accumulated, by id
        self.pose = np.zeros(6)
        self.intrinsics = np.zeros((COUNT, COUNT))
        self.rotation = 0.0

    def start_map(self, keyframe: MapKeyframe) -> None:
        """Start with the first keyframe of a new map."""
        self.pose, self._steps = np.zeros(6), {keyframe.id: 0}

    def update(self, local_map: LocalMap, std_px: float, views: float) -> None:
        """Estimate the errors from the noise of the observations of a map after an adjustment.

        ``views`` is the mean number of observations of a landmark.
        """
        if views < _FEW_VIEWS:
            std_px = _FEW_VIEWS_FACTOR * std_px
        self._excess_px = float(np.sqrt(max(std_px**2 - _CLEAN_STD_PX**2, 0.0)))
        self.pose = self._calibration.systematic_pose * self._pose_stds(local_map)
        reality = min(self._excess_px / _REAL_EXCESS_PX, 1.0)
        self.intrinsics = np.diag((reality * self._calibration.intrinsics.of(local_map.camera)) ** 2)
        self.rotation = reality * self._calibration.systematic_rotation

    def added_drift(self, local_map: LocalMap, anchor: MapKeyframe, moving: list[MapKeyframe]) -> list[np.ndarray]:
        """Return what the drift (7, 7) of each moving keyframe of a window has beyond that of the anchor.

        A persistent error grows in proportion to the keyframes, its variance with their square.
        """
        variances = np.diag(self._drift_stds(local_map, [anchor, *moving]) ** 2)
        start = self._steps.get(anchor.id, _PERSISTENCE)
        added = []
        for number, keyframe in enumerate(moving, 1):
            steps = min(start + number, _PERSISTENCE)
            growth = steps**2 - start**2 + 2 * _PERSISTENCE * (start + number - steps)
            self._steps[keyframe.id] = steps
            added.append(growth * variances)
        return added

    def keep(self, ids: set[int]) -> None:
        """Forget all keyframes but those of these ids."""
        self._steps = {id: steps for id, steps in self._steps.items() if id in ids}

    def rescale(self, lengths: np.ndarray) -> None:
        """Multiply the units of the pose (6,) by ``lengths``."""
        self.pose = self.pose * lengths

    def _pose_stds(self, local_map: LocalMap) -> np.ndarray:
        """Standard deviations (6,) of a pose if the excess noise is common to all observations."""
        angle = self._excess_px / local_map.camera.fx
        return np.repeat([angle * local_map.typical_depth, angle], 3)

    def _drift_stds(self, local_map: LocalMap, keyframes: list[MapKeyframe]) -> np.ndarray:
        """Standard deviations (7,) of the drift from one keyframe to the next."""
        baselines = [np.linalg.norm(b.center - a.center) for a, b in itertools.pairwise(keyframes)]
        disparity_px = local_map.camera.fx * np.median(baselines) / local_map.typical_depth if baselines else 0.0
        stds = self._calibration.systematic_drift * np.append(
            self._pose_stds(local_map), self._excess_px / max(disparity_px, 1e-9)
        )
        stds[6] = min(stds[6], _MAX_SCALE_STD)
        return stds

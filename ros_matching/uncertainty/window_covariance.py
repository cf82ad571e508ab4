"""Covariance of the last adjusted window of a map, by the ids of its landmarks."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import AdjustedWindow
from ros_matching.geometry.bundle_covariance import BundleCovariance
from ros_matching.geometry.intrinsics_error import COUNT
from ros_matching.geometry.se3 import step_from_world


class WindowCovariance:
    """The joint covariance of the steps of F keyframes, and how the landmarks and other poses follow these."""

    def __init__(self, covariance: BundleCovariance, landmark_ids: np.ndarray) -> None:
        self._covariance = covariance
        self._landmark_ids = landmark_ids
        self._order = np.argsort(landmark_ids)

    @classmethod
    def of(cls, adjusted: AdjustedWindow) -> WindowCovariance:
        """Return the covariance of an adjusted window."""
        return cls(adjusted.covariance, adjusted.window.landmarks)

    @property
    def steps(self) -> np.ndarray:
        """The covariance (6F, 6F) of the steps of the keyframes that moved."""
        return self._covariance.cameras

    @property
    def moving(self) -> np.ndarray:
        """The rows of these keyframes (F,) in the window."""
        return self._covariance.free_cameras

    @property
    def steps_by_intrinsics(self) -> np.ndarray:
        """The derivatives (F, 6, 4) of these steps by the errors of the intrinsics."""
        return self._covariance.cameras_by_intrinsics.reshape(-1, 6, COUNT)

    @property
    def std_px(self) -> float:
        """The standard deviation of the observations along an axis."""
        return self._covariance.std_px

    def rescaled(self, factor: float) -> WindowCovariance:
        """Return the covariance with all lengths multiplied by ``factor``."""
        return WindowCovariance(self._covariance.rescaled(factor), self._landmark_ids)

    def rows(self, landmark_ids: np.ndarray) -> np.ndarray:
        """Return the rows (K,) of landmarks in the window, -1 for those outside it."""
        if not len(self._landmark_ids):
            return np.full(len(landmark_ids), -1, np.intp)
        places = np.searchsorted(self._landmark_ids, landmark_ids, sorter=self._order)
        rows = self._order[np.minimum(places, len(self._order) - 1)]
        return np.where(self._landmark_ids[rows] == landmark_ids, rows, -1)

    def points_by_intrinsics(self, rows: np.ndarray) -> np.ndarray:
        """Return the derivatives (K, 3, 4) of landmarks in these rows by the errors of the intrinsics."""
        return self._covariance.points_by_intrinsics[rows]

    def pose_by_steps(self, landmark_ids: np.ndarray, gains: np.ndarray, by_point: np.ndarray) -> np.ndarray:
        """Return M (6, 6F), the derivative of a pose by the steps of the keyframes.

        The pose depends on the landmarks (K,) with ``gains`` (K, 6, 2) of their residuals, whose derivatives by the
        landmarks are ``by_point`` (K, 2, 3).
        """
        rows = self.rows(landmark_ids)
        known = rows >= 0
        by_cameras = self._covariance.points_by_cameras[rows[known]]
        return np.einsum("nia,nak,nkc->ic", gains[known], by_point[known], by_cameras, optimize=True)

    def error_by_steps(self, local_map: LocalMap, keyframe: MapKeyframe, slot: int) -> np.ndarray:
        """Return the derivative (7, 6F) of the error ``(dt, dr, ds)`` of the moving keyframe number ``slot``."""
        chain = np.zeros((7, len(self.steps)))
        mine = slice(6 * slot, 6 * slot + 6)
        chain[:6, mine] = step_from_world(keyframe.camera_from_world).T
        # A keyframe that left the map since its adjustment may observe landmarks that left it too
        observed = keyframe.observed[local_map.known(keyframe.observed)]
        rows = self.rows(observed)
        observed, rows = observed[rows >= 0], rows[rows >= 0]
        if len(rows):
            pose = keyframe.camera_from_world
            points = local_map.positions_of(observed) @ pose[:3, :3].T + pose[:3, 3]
            inverse_depth = 1.0 / np.maximum(points[:, 2], 1e-9)
            of_points = self._covariance.points_by_cameras[rows]
            chain[6] = np.einsum("n,k,nkc->c", inverse_depth, pose[2, :3], of_points) / len(rows)
            x, y = np.mean(points[:, 0] * inverse_depth), np.mean(points[:, 1] * inverse_depth)
            chain[6, mine] += [0.0, 0.0, np.mean(inverse_depth), y, -x, 0.0]
        return chain

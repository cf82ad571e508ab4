"""Covariances of poses and motions.

All errors are steps from the estimate to the ground truth: of a camera ``(v, w)`` of ``X -> Exp(w) X + v`` in its
own axes, of landmark j ``x_j`` in the world. The model, to first order:

1. The map. A bundle adjustment of the window has the joint covariance C of the keyframes' steps c, and per landmark
   ``x_j = B_j c + q_j`` with q_j independent of each other and of c (``geometry.bundle_covariance``). The q_j average
   out over many landmarks, the B_j c do not.
2. A frame localised in the map, and the motion between two: ``uncertainty.pose_estimate``. If the map was adjusted
   between the two, the displacement of the frame by the adjustment is an error of known size.
3. The drift. The window depends on a fixed keyframe, the anchor. The anchor has the error of its last adjustment: six
   degrees of freedom of pose and one of scale, as the fixed part of a window determines its scale. The error of a
   keyframe is that of its anchor, propagated as a similarity transform, plus that of the window, so it accumulates
   along the chain. The gauge is the first keyframe, without error; the scale of its map is the unit. With only one
   fixed keyframe the scale is free: its uncertainty in the window is that of depths relative to baselines.

4. Systematic errors (``uncertainty.systematic_errors``). Those of the intrinsics move frames, keyframes and landmarks
   together: every keyframe has the derivative of its step by them, and their effect on a pose or a motion is its
   derivative times their covariance. Others are added to the poses and the drift.

``uncertainty.calibration`` has factors on these variances: the landmarks exclude matches that influenced the pose but
are not inliers, and a window excludes older keyframes. docs/benchmarks.md has their validation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import AdjustedWindow, AdjustmentWindow
from ros_matching.datatypes import Camera
from ros_matching.geometry.bundle_covariance import BundleCovariance, step_lengths
from ros_matching.geometry.intrinsics_error import COUNT
from ros_matching.geometry.se3 import invert, local, rotation_angle_deg, skew
from ros_matching.uncertainty.calibration import CALIBRATION, Calibration
from ros_matching.uncertainty.calibration_check import CalibrationCheck
from ros_matching.uncertainty.pose_estimate import Influences, PoseEstimate, difference_noise
from ros_matching.uncertainty.systematic_errors import SystematicErrors

# Standard deviations of the pose of a map that starts after a loss: position in typical depths, rotation in radians,
# relative scale
_LOSS_STDS = 1.0, 1.0, 0.5


class PoseUncertainty:
    """Estimates the errors of the map of one tracker, and the covariances of its poses."""

    def __init__(self, calibration: Calibration = CALIBRATION) -> None:
        self._calibration = calibration
        self._version = 0
        self._drift: dict[int, np.ndarray] = {}  # (7, 7) over (dt, dr, ds) by keyframe id
        self._anchor: MapKeyframe | None = None
        self._free_scale = 0.0
        self._map: BundleCovariance | None = None
        self._landmark_ids = np.zeros(0, np.intp)
        self._systematic = SystematicErrors(calibration)
        self._check = CalibrationCheck()

    def start_map(self, keyframe: MapKeyframe, drift: np.ndarray) -> None:
        """Start with a new map, whose first keyframe has an error of covariance (7, 7) over ``(dt, dr, ds)``."""
        self._drift = {keyframe.id: drift}
        self._anchor, self._map, self._free_scale = keyframe, None, 0.0
        self._landmark_ids = np.zeros(0, np.intp)
        self._systematic.start_map(keyframe)
        self._version += 1

    @property
    def calibration_doubt(self) -> str:
        """Why the calibration of the camera is doubtful by the images so far; empty if it is not."""
        return self._check.doubt

    @property
    def drift(self) -> dict[int, np.ndarray]:
        """Covariances (7, 7) over ``(dt, dr, ds)`` of the errors of the keyframes, by id, for ``resume_map``."""
        return dict(self._drift)

    def resume_map(self, local_map: LocalMap, anchor: MapKeyframe, drift: dict[int, np.ndarray]) -> None:
        """Continue in an inactive map with the ``drift`` of its keyframes; others depend on ``anchor``."""
        self._version += 1
        self._anchor, self._map = anchor, None
        self._landmark_ids = np.zeros(0, np.intp)
        worst = max(drift.values(), key=np.trace)
        self._drift = {anchor.id: drift.get(anchor.id, worst)}
        self._drift = {k.id: drift.get(k.id, self._propagated(k.center)) for k in local_map.keyframes}

    def follow(self, local_map: LocalMap) -> None:
        """Refer to the keyframes of an updated version of the map."""
        if self._anchor is not None:
            self._anchor = local_map.keyframe(self._anchor.id) or self._anchor

    def update(self, local_map: LocalMap, adjusted: AdjustedWindow) -> None:
        """Update with the covariance of an adjusted window of the map."""
        self._version += 1
        window = adjusted.window
        if adjusted.evidence is not None:
            self._check.add(adjusted.evidence)
        self._map = adjusted.covariance
        self._landmark_ids = window.landmarks
        views = len(window.problem.points_px) / max(len(window.problem.points), 1)
        self._systematic.update(local_map, self._map.std_px, views)
        for keyframe in local_map.keyframes:
            if keyframe.id not in self._drift:  # not adjusted yet
                self._drift[keyframe.id] = self._propagated(keyframe.center)
        self._propagate_drift(local_map, window)
        alive = {keyframe.id for keyframe in local_map.keyframes} | {self._anchor.id}
        self._drift = {id: drift for id, drift in self._drift.items() if id in alive}
        self._systematic.keep(alive)

    def rescale(self, factor: float) -> None:
        """Multiply all lengths by ``factor`` after a measurement of the scale; its drift starts from zero."""
        lengths = np.append(step_lengths(factor, 1), 0.0)
        self._drift = {id: drift * np.outer(lengths, lengths) for id, drift in self._drift.items()}
        self._free_scale = 0.0
        self._systematic.rescale(lengths[:6])
        if self._map is not None:
            self._map = self._map.rescaled(factor)

    def _propagate_drift(self, local_map: LocalMap, window: AdjustmentWindow) -> None:
        """Propagate the drift of the newest fixed keyframe of a window to those that move."""
        fixed = [k for k, is_fixed in zip(window.keyframes, window.problem.fixed_cameras, strict=True) if is_fixed]
        self._anchor, self._free_scale = max(fixed, key=lambda k: k.id), 0.0
        moving = [window.keyframes[row] for row in self._map.free_cameras]
        chains = [self._chain(local_map, keyframe, slot) for slot, keyframe in enumerate(moving)]
        added = [self._calibration.drift * (chain @ self._map.cameras @ chain.T) for chain in chains]
        if len(fixed) == 1 and moving:
            # The scale is free: one uncertainty for the whole window, that of depths relative to baselines
            self._free_scale = float(added[-1][6, 6])
            for own in added:
                own[6] = own[:, 6] = 0.0
        systematic = self._systematic.added_drift(local_map, self._anchor, moving)
        steps = self._map.cameras_by_intrinsics.reshape(-1, 6, COUNT)
        for keyframe, own, persistent, by_intrinsics in zip(moving, added, systematic, steps, strict=True):
            self._drift[keyframe.id] = self._propagated(keyframe.center) + own + persistent
            active = local_map.keyframe(keyframe.id)
            if active is not None:  # it may have left the map since
                active.by_intrinsics = by_intrinsics

    def estimate(
        self,
        local_map: LocalMap,
        camera_from_world: np.ndarray,
        landmark_ids: np.ndarray,
        points_px: np.ndarray,
        threshold_px: float,
        weights: np.ndarray | None = None,
    ) -> PoseEstimate:
        """Return the estimate of a pose from observations of landmarks (K,) at pixels (K, 2).

        ``weights`` (K,) are those of the pose's optimisation, all one unless given. Where the observations do not
        determine the pose, its covariance is NaN.
        """
        found = Influences.of(
            local_map.camera,
            camera_from_world,
            local_map.positions_of(landmark_ids),
            points_px,
            threshold_px,
            weights,
        )
        if found is None:
            return self.estimate_with_covariance(camera_from_world, np.full((6, 6), np.nan))
        landmark_ids = landmark_ids[found.rows]
        return PoseEstimate(
            camera_from_world,
            self._version,
            landmark_ids,
            found.clusters,
            np.sqrt(self._calibration.noise) * found.influences,
            self._by_map(landmark_ids, found.gains, found.by_point),
            np.diag(self._systematic.pose**2),
            self._by_intrinsics(local_map.camera, camera_from_world, landmark_ids, found),
        )

    def estimate_with_covariance(self, camera_from_world: np.ndarray, covariance: np.ndarray) -> PoseEstimate:
        """Return the estimate of a pose without landmarks, from the covariance (6, 6) of its world_from_camera."""
        rotation = _step_from_world(camera_from_world)
        return PoseEstimate(
            camera_from_world,
            self._version,
            np.zeros(0, np.intp),
            np.zeros((0, 2), np.intp),
            np.zeros((0, 6)),
            np.zeros((6, 0 if self._map is None else len(self._map.cameras))),
            rotation @ covariance @ rotation.T,
            self._anchored_by_intrinsics(camera_from_world),
        )

    def with_rival(self, estimate: PoseEstimate, rival_camera_from_world: np.ndarray) -> PoseEstimate:
        """Return the estimate with the difference to another possible pose (4, 4) as an error of one deviation."""
        difference = local(invert(estimate.camera_from_world), invert(rival_camera_from_world))
        step = _step_from_world(estimate.camera_from_world) @ difference
        return replace(estimate, own=estimate.own + np.outer(step, step))

    def world_covariance(self, estimate: PoseEstimate) -> np.ndarray:
        """Return the covariance (6, 6) of ``world_from_camera``, including drift."""
        rotation = _step_from_world(estimate.camera_from_world).T
        step = estimate.noise + self._common(estimate.by_map) + self._of_intrinsics(estimate.by_intrinsics)
        return rotation @ step @ rotation.T + self._propagated(invert(estimate.camera_from_world)[:3, 3])[:6, :6]

    def relative_covariance(self, before: PoseEstimate, now: PoseEstimate) -> np.ndarray:
        """Return the covariance (6, 6) of ``before_from_now``, for two poses in the current map."""
        before_from_now = before.camera_from_world @ invert(now.camera_from_world)
        of_before, of_now = np.eye(6), np.zeros((6, 6))
        of_before[:3, 3:] = -skew(before_from_now[:3, 3])
        of_now[:3, :3] = of_now[3:, 3:] = before_from_now[:3, :3]
        covariance = of_before @ before.own @ of_before.T + of_now @ now.own @ of_now.T
        covariance += difference_noise(before, now, of_before, of_now)
        covariance += self._of_intrinsics(of_before @ before.by_intrinsics - of_now @ now.by_intrinsics)
        if before.version == now.version:
            covariance += self._common(of_before @ before.by_map - of_now @ now.by_map)
        covariance[:3, :3] += self.scale_variance * np.outer(before_from_now[:3, 3], before_from_now[:3, 3])
        rotation_std = self._systematic.rotation * np.radians(rotation_angle_deg(before_from_now[:3, :3]))
        covariance[3:, 3:] += rotation_std**2 * np.eye(3)
        return covariance

    @property
    def scale_variance(self) -> float:
        """Variance of the scale at the anchor relative to the scale of the first map."""
        return float(self._drift[self._anchor.id][6, 6]) + self._free_scale

    def drift_at(self, position: np.ndarray) -> np.ndarray:
        """Return the covariance (7, 7) over ``(dt, dr, ds)`` of a map started at a known position (3,)."""
        drift = self._propagated(position)
        drift[:6, :6] += self._anchor_covariance()
        return drift

    def drift_after_loss(self, position: np.ndarray, depth: float, bridged: np.ndarray | None = None) -> np.ndarray:
        """Return the covariance (7, 7) over ``(dt, dr, ds)`` of a map started at a position (3,) after a loss.

        ``bridged`` (6, 6) is the covariance of the pose if an IMU has continued it.
        """
        position_std, rotation_std, scale_std = _LOSS_STDS
        if bridged is not None:
            return np.block([[bridged, np.zeros((6, 1))], [np.zeros((1, 6)), scale_std**2]])
        variances = [(position_std * depth) ** 2] * 3 + [rotation_std**2] * 3 + [scale_std**2]
        return self.drift_at(position) + np.diag(variances)

    def _common(self, by_map: np.ndarray) -> np.ndarray:
        if self._map is None or not by_map.size:
            return np.zeros((6, 6))
        return self._calibration.common * (by_map @ self._map.cameras @ by_map.T)

    def _by_map(self, landmark_ids: np.ndarray, gains: np.ndarray, by_point: np.ndarray) -> np.ndarray:
        """Return M (6, 6F), the Jacobian of the pose for the steps of the keyframes."""
        if self._map is None:
            return np.zeros((6, 0))
        rows = self._rows(landmark_ids)
        known = rows >= 0
        by_cameras = self._map.points_by_cameras[rows[known]]
        return np.einsum("nia,nak,nkc->ic", gains[known], by_point[known], by_cameras, optimize=True)

    def _by_intrinsics(
        self, camera: Camera, camera_from_world: np.ndarray, landmark_ids: np.ndarray, found: Influences
    ) -> np.ndarray:
        """Return the derivative (6, 4) of the step of a pose by the errors of the intrinsics."""
        rows = self._rows(landmark_ids)
        known = np.flatnonzero(rows >= 0)
        step = None
        if len(known):
            step = found.step_by_intrinsics(camera, known, self._map.points_by_intrinsics[rows[known]])
        return self._anchored_by_intrinsics(camera_from_world) if step is None else step

    def _anchored_by_intrinsics(self, camera_from_world: np.ndarray) -> np.ndarray:
        """Return the derivative (6, 4) of the step of a pose that moves with the anchor."""
        arm = invert(camera_from_world)[:3, 3] - self._anchor.center
        moved = np.eye(6)
        moved[:3, 3:] = -skew(arm)
        of_anchor = _step_from_world(self._anchor.camera_from_world).T @ self._anchor.by_intrinsics
        return _step_from_world(camera_from_world) @ moved @ of_anchor

    def _anchor_covariance(self) -> np.ndarray:
        """Return the covariance (6, 6) of ``(dt, dr)`` of the anchor by the errors of the intrinsics."""
        axes = _step_from_world(self._anchor.camera_from_world)
        return axes.T @ self._of_intrinsics(self._anchor.by_intrinsics) @ axes

    def _of_intrinsics(self, derivatives: np.ndarray) -> np.ndarray:
        """Return the covariance (6, 6) of what the errors of the intrinsics do by ``derivatives`` (6, 4)."""
        return derivatives @ self._systematic.intrinsics @ derivatives.T

    def _rows(self, landmark_ids: np.ndarray) -> np.ndarray:
        """Rows (K,) of landmarks in the last adjustment, -1 for those outside it."""
        if not len(self._landmark_ids):
            return np.full(len(landmark_ids), -1, np.intp)
        order = np.argsort(self._landmark_ids)
        rows = order[np.minimum(np.searchsorted(self._landmark_ids, landmark_ids, sorter=order), len(order) - 1)]
        return np.where(self._landmark_ids[rows] == landmark_ids, rows, -1)

    def _chain(self, local_map: LocalMap, keyframe: MapKeyframe, slot: int) -> np.ndarray:
        """Jacobian (7, 6F) of the error (dt, dr, ds) of a moving keyframe for the steps of the window."""
        chain = np.zeros((7, len(self._map.cameras)))
        mine = slice(6 * slot, 6 * slot + 6)
        chain[:6, mine] = _step_from_world(keyframe.camera_from_world).T
        # A keyframe that left the map since its adjustment may observe landmarks that left it too
        observed = keyframe.observed[local_map.known(keyframe.observed)]
        rows = self._rows(observed)
        observed, rows = observed[rows >= 0], rows[rows >= 0]
        if len(rows):
            pose = keyframe.camera_from_world
            points = local_map.positions_of(observed) @ pose[:3, :3].T + pose[:3, 3]
            inverse_depth = 1.0 / np.maximum(points[:, 2], 1e-9)
            of_points = self._map.points_by_cameras[rows]
            chain[6] = np.einsum("n,k,nkc->c", inverse_depth, pose[2, :3], of_points) / len(rows)
            x, y = np.mean(points[:, 0] * inverse_depth), np.mean(points[:, 1] * inverse_depth)
            chain[6, mine] += [0.0, 0.0, np.mean(inverse_depth), y, -x, 0.0]
        return chain

    def _propagated(self, position: np.ndarray) -> np.ndarray:
        """Propagate the covariance (7, 7) of the error of the anchor to another position (3,)."""
        arm = position - self._anchor.center
        jacobian = np.eye(7)
        jacobian[:3, 3:6], jacobian[:3, 6] = -skew(arm), arm
        drift = self._drift[self._anchor.id].copy()
        drift[6, 6] += self._free_scale
        return jacobian @ drift @ jacobian.T


def jump_covariance(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Second moment (6, 6) of the error of a transform (4, 4) that an adjustment corrected to another."""
    step = local(before, after)
    return np.outer(step, step)


def _step_from_world(camera_from_world: np.ndarray) -> np.ndarray:
    """Orthogonal matrix D (6, 6) from the error of world_from_camera to the step of the camera: ``e = D (dt, dr)``."""
    rotation = np.zeros((6, 6))
    rotation[:3, :3] = rotation[3:, 3:] = -camera_from_world[:3, :3]
    return rotation

"""Covariances of poses and motions.

All errors are steps from the estimate to the ground truth: of a camera ``(v, w)`` of ``X -> Exp(w) X + v`` in its
own axes, of landmark j ``x_j`` in the world. The model, to first order:

1. The map. A bundle adjustment of the window has the joint covariance C of the keyframes' steps c, and per landmark
   ``x_j = B_j c + q_j`` with q_j independent of each other and of c (``geometry.bundle_covariance``). The q_j average
   out over many landmarks, the B_j c do not.
2. A frame localised in the map, and the motion between two: ``uncertainty.pose_estimate``. If the map was adjusted
   between the two, the displacement of the frame by the adjustment is an error of known size.
3. The drift (``uncertainty.drift``), which accumulates along the keyframes. The gauge is the first keyframe, without
   error; the scale of its map is the unit.
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
from ros_matching.geometry.bundle_covariance import step_lengths
from ros_matching.geometry.se3 import invert, local, rotation_angle_deg, skew, step_from_world
from ros_matching.uncertainty.calibration import CALIBRATION, Calibration
from ros_matching.uncertainty.calibration_check import CalibrationCheck
from ros_matching.uncertainty.drift import Drift
from ros_matching.uncertainty.pose_estimate import Influences, PoseEstimate, difference_noise
from ros_matching.uncertainty.systematic_errors import SystematicErrors
from ros_matching.uncertainty.window_covariance import WindowCovariance

# Standard deviations of the pose of a map that starts after a loss: position in typical depths, rotation in radians,
# relative scale
_LOSS_STDS = 1.0, 1.0, 0.5


class PoseUncertainty:
    """Estimates the errors of the map of one tracker, and the covariances of its poses."""

    def __init__(self, calibration: Calibration = CALIBRATION) -> None:
        self._calibration = calibration
        self._version = 0
        self._drift = Drift()
        self._window: WindowCovariance | None = None
        self._systematic = SystematicErrors(calibration)
        self._check = CalibrationCheck()

    def start_map(self, keyframe: MapKeyframe, drift: np.ndarray) -> None:
        """Start with a new map, whose first keyframe has an error of covariance (7, 7) over ``(dt, dr, ds)``."""
        self._version += 1
        self._window = None
        self._drift.start(keyframe, drift)
        self._systematic.start_map(keyframe)

    @property
    def calibration_doubt(self) -> str:
        """Why the calibration of the camera is doubtful by the images so far; empty if it is not."""
        return self._check.doubt

    @property
    def drift(self) -> dict[int, np.ndarray]:
        """Covariances (7, 7) over ``(dt, dr, ds)`` of the errors of the keyframes, by id, for ``resume_map``."""
        return self._drift.by_keyframe

    def resume_map(self, local_map: LocalMap, anchor: MapKeyframe, drift: dict[int, np.ndarray]) -> None:
        """Continue in an inactive map with the ``drift`` of its keyframes; others depend on ``anchor``."""
        self._version += 1
        self._window = None
        self._drift.resume(local_map, anchor, drift)

    def follow(self, local_map: LocalMap) -> None:
        """Refer to the keyframes of an updated version of the map."""
        if self._drift.anchor is not None:
            self._drift.follow(local_map)

    def update(self, local_map: LocalMap, adjusted: AdjustedWindow) -> None:
        """Update with the covariance of an adjusted window of the map."""
        self._version += 1
        window = adjusted.window
        if adjusted.evidence is not None:
            self._check.add(adjusted.evidence)
        self._window = WindowCovariance.of(adjusted)
        views = len(window.problem.points_px) / max(len(window.problem.points), 1)
        self._systematic.update(local_map, self._window.std_px, views)
        self._drift.add_unadjusted(local_map)
        self._propagate_drift(local_map, window)
        alive = {keyframe.id for keyframe in local_map.keyframes} | {self._drift.anchor.id}
        self._drift.keep(alive)
        self._systematic.keep(alive)

    def rescale(self, factor: float, local_map: LocalMap) -> None:
        """Multiply all lengths by ``factor`` as those of the map were; the drift of the scale starts from zero."""
        self.follow(local_map)
        self._drift.rescale(factor)
        self._systematic.rescale(step_lengths(factor, 1))
        if self._window is not None:
            self._window = self._window.rescaled(factor)

    def _propagate_drift(self, local_map: LocalMap, window: AdjustmentWindow) -> None:
        """Propagate the drift of the newest fixed keyframe of a window to those that move."""
        fixed = [k for k, is_fixed in zip(window.keyframes, window.problem.fixed_cameras, strict=True) if is_fixed]
        moving = [window.keyframes[row] for row in self._window.moving]
        chains = [self._window.error_by_steps(local_map, keyframe, slot) for slot, keyframe in enumerate(moving)]
        added = [self._calibration.drift * (chain @ self._window.steps @ chain.T) for chain in chains]
        self._drift.propagate(fixed, moving, added)
        systematic = self._systematic.added_drift(local_map, self._drift.anchor, moving)
        for keyframe, persistent, by_intrinsics in zip(
            moving, systematic, self._window.steps_by_intrinsics, strict=True
        ):
            self._drift.add(keyframe, persistent)
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
        rotation = step_from_world(camera_from_world)
        return PoseEstimate(
            camera_from_world,
            self._version,
            np.zeros(0, np.intp),
            np.zeros((0, 2), np.intp),
            np.zeros((0, 6)),
            np.zeros((6, 0 if self._window is None else len(self._window.steps))),
            rotation @ covariance @ rotation.T,
            self._anchored_by_intrinsics(camera_from_world),
        )

    def with_rival(self, estimate: PoseEstimate, rival_camera_from_world: np.ndarray) -> PoseEstimate:
        """Return the estimate with the difference to another possible pose (4, 4) as an error of one deviation."""
        difference = local(invert(estimate.camera_from_world), invert(rival_camera_from_world))
        step = step_from_world(estimate.camera_from_world) @ difference
        return replace(estimate, own=estimate.own + np.outer(step, step))

    def world_covariance(self, estimate: PoseEstimate) -> np.ndarray:
        """Return the covariance (6, 6) of ``world_from_camera``, including drift."""
        rotation = step_from_world(estimate.camera_from_world).T
        step = estimate.noise + self._common(estimate.by_map) + self._of_intrinsics(estimate.by_intrinsics)
        return rotation @ step @ rotation.T + self._drift.at(invert(estimate.camera_from_world)[:3, 3])[:6, :6]

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
        return self._drift.scale_variance

    def drift_at(self, position: np.ndarray) -> np.ndarray:
        """Return the covariance (7, 7) over ``(dt, dr, ds)`` of a map started at a known position (3,)."""
        drift = self._drift.at(position)
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
        if self._window is None or not by_map.size:
            return np.zeros((6, 6))
        return self._calibration.common * (by_map @ self._window.steps @ by_map.T)

    def _by_map(self, landmark_ids: np.ndarray, gains: np.ndarray, by_point: np.ndarray) -> np.ndarray:
        """Return M (6, 6F), the derivative of the pose by the steps of the keyframes."""
        if self._window is None:
            return np.zeros((6, 0))
        return self._window.pose_by_steps(landmark_ids, gains, by_point)

    def _by_intrinsics(
        self, camera: Camera, camera_from_world: np.ndarray, landmark_ids: np.ndarray, found: Influences
    ) -> np.ndarray:
        """Return the derivative (6, 4) of the step of a pose by the errors of the intrinsics."""
        step = None
        if self._window is not None:
            rows = self._window.rows(landmark_ids)
            known = np.flatnonzero(rows >= 0)
            if len(known):
                step = found.step_by_intrinsics(camera, known, self._window.points_by_intrinsics(rows[known]))
        return self._anchored_by_intrinsics(camera_from_world) if step is None else step

    def _anchored_by_intrinsics(self, camera_from_world: np.ndarray) -> np.ndarray:
        """Return the derivative (6, 4) of the step of a pose that moves with the anchor."""
        arm = invert(camera_from_world)[:3, 3] - self._drift.anchor.center
        moved = np.eye(6)
        moved[:3, 3:] = -skew(arm)
        of_anchor = step_from_world(self._drift.anchor.camera_from_world).T @ self._drift.anchor.by_intrinsics
        return step_from_world(camera_from_world) @ moved @ of_anchor

    def _anchor_covariance(self) -> np.ndarray:
        """Return the covariance (6, 6) of ``(dt, dr)`` of the anchor by the errors of the intrinsics."""
        axes = step_from_world(self._drift.anchor.camera_from_world)
        return axes.T @ self._of_intrinsics(self._drift.anchor.by_intrinsics) @ axes

    def _of_intrinsics(self, derivatives: np.ndarray) -> np.ndarray:
        """Return the covariance (6, 6) of what the errors of the intrinsics do by ``derivatives`` (6, 4)."""
        return derivatives @ self._systematic.intrinsics @ derivatives.T


def jump_covariance(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Second moment (6, 6) of the error of a transform (4, 4) that an adjustment corrected to another."""
    step = local(before, after)
    return np.outer(step, step)

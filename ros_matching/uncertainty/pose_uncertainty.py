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

4. Systematic errors. An error of all observations neither averages out nor appears in the residuals. A fraction of the
   noise beyond that of perfect images is assumed to be systematic. It is added to every pose, and for each keyframe to
   the drift of rotation, position and scale; for the scale relative to the disparity between keyframes.

``CALIBRATION`` contains factors on these variances: the landmarks exclude matches that influenced the pose but are not
inliers, and a window excludes older keyframes. docs/benchmarks.md has their validation.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import AdjustedWindow, AdjustmentWindow
from ros_matching.geometry.bundle_covariance import BundleCovariance, step_lengths
from ros_matching.geometry.se3 import invert, local, skew
from ros_matching.uncertainty.pose_estimate import Influences, PoseEstimate, difference_noise

# Systematic errors, as of the calibration, a rolling shutter or moving objects, do not average out over landmarks, and
# persist from image to image. They are assumed to be a fraction of the noise that exceeds that of perfect images.
_CLEAN_STD_PX = 0.12
# Keyframes over which they persist, and their largest effect on the scale from one keyframe to the next.
_PERSISTENCE = 50
_MAX_SCALE_STD = 0.05
# Standard deviations of the pose of a map that starts after a loss: position in typical depths, rotation in radians,
# relative scale
_LOSS_STDS = 1.0, 1.0, 0.5


@dataclass(frozen=True)
class Calibration:
    """Factors on variances: of the landmark noise, the common error of the window, and its contribution to the drift.

    ``systematic_pose`` and ``systematic_drift`` are fractions of the excess noise: systematic errors of a pose, and of
    a keyframe against the one before. Zero for noise that is known to be white.
    """

    noise: float = 1.0
    common: float = 1.0
    drift: float = 1.0
    systematic_pose: float = 0.0
    systematic_drift: float = 0.0


CALIBRATION = Calibration(noise=1.3, common=2.0, drift=2.0, systematic_pose=0.4, systematic_drift=0.5)


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
        self._excess_px = 0.0  # noise beyond that of perfect images
        self._systematic = np.zeros(6)  # standard deviations of a pose by systematic errors
        self._steps: dict[int, int] = {}  # keyframes over which they have accumulated, by id

    def start_map(self, keyframe: MapKeyframe, drift: np.ndarray) -> None:
        """Start with a new map, whose first keyframe has an error of covariance (7, 7) over ``(dt, dr, ds)``."""
        self._drift = {keyframe.id: drift}
        self._anchor, self._map, self._free_scale = keyframe, None, 0.0
        self._landmark_ids = np.zeros(0, np.intp)
        self._systematic, self._steps = np.zeros(6), {keyframe.id: 0}
        self._version += 1

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
        self._map = adjusted.covariance
        self._landmark_ids = window.landmarks
        self._excess_px = float(np.sqrt(max(self._map.std_px**2 - _CLEAN_STD_PX**2, 0.0)))
        self._systematic = self._calibration.systematic_pose * self._pose_stds(local_map)
        for keyframe in local_map.keyframes:
            if keyframe.id not in self._drift:  # not adjusted yet
                self._drift[keyframe.id] = self._propagated(keyframe.center)
        self._propagate_drift(local_map, window)
        alive = {keyframe.id for keyframe in local_map.keyframes} | {self._anchor.id}
        self._drift = {id: drift for id, drift in self._drift.items() if id in alive}
        self._steps = {id: steps for id, steps in self._steps.items() if id in alive}

    def rescale(self, factor: float) -> None:
        """Multiply all lengths by ``factor`` after a measurement of the scale; its drift starts from zero."""
        lengths = np.append(step_lengths(factor, 1), 0.0)
        self._drift = {id: drift * np.outer(lengths, lengths) for id, drift in self._drift.items()}
        self._free_scale = 0.0
        self._systematic = self._systematic * lengths[:6]
        if self._map is not None:
            self._map = self._map.rescaled(factor)

    def _pose_stds(self, local_map: LocalMap) -> np.ndarray:
        """Standard deviations (6,) of a pose if the excess noise is common to all observations."""
        angle = self._excess_px / local_map.camera.fx
        return np.repeat([angle * local_map.typical_depth, angle], 3)

    def _systematic_drift(self, local_map: LocalMap, keyframes: list[MapKeyframe]) -> np.ndarray:
        """Standard deviations (7,) of the drift by systematic errors from one keyframe to the next."""
        baselines = [np.linalg.norm(b.center - a.center) for a, b in itertools.pairwise(keyframes)]
        disparity_px = local_map.camera.fx * np.median(baselines) / local_map.typical_depth if baselines else 0.0
        stds = self._calibration.systematic_drift * np.append(
            self._pose_stds(local_map), self._excess_px / max(disparity_px, 1e-9)
        )
        stds[6] = min(stds[6], _MAX_SCALE_STD)
        return stds

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
        systematic = np.diag(self._systematic_drift(local_map, [self._anchor, *moving]) ** 2)
        start = self._steps.get(self._anchor.id, _PERSISTENCE)
        for number, (keyframe, own) in enumerate(zip(moving, added, strict=True), 1):
            # A persistent error grows in proportion to the keyframes, its variance with their square.
            steps = min(start + number, _PERSISTENCE)
            growth = steps**2 - start**2 + 2 * _PERSISTENCE * (start + number - steps)
            self._steps[keyframe.id] = steps
            self._drift[keyframe.id] = self._propagated(keyframe.center) + own + growth * systematic

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
            np.diag(self._systematic**2),
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
        )

    def with_rival(self, estimate: PoseEstimate, rival_camera_from_world: np.ndarray) -> PoseEstimate:
        """Return the estimate with the difference to another possible pose (4, 4) as an error of one deviation."""
        difference = local(invert(estimate.camera_from_world), invert(rival_camera_from_world))
        step = _step_from_world(estimate.camera_from_world) @ difference
        return replace(estimate, own=estimate.own + np.outer(step, step))

    def world_covariance(self, estimate: PoseEstimate) -> np.ndarray:
        """Return the covariance (6, 6) of ``world_from_camera``, including drift."""
        rotation = _step_from_world(estimate.camera_from_world).T
        step = estimate.noise + self._common(estimate.by_map)
        return rotation @ step @ rotation.T + self._propagated(invert(estimate.camera_from_world)[:3, 3])[:6, :6]

    def relative_covariance(self, before: PoseEstimate, now: PoseEstimate) -> np.ndarray:
        """Return the covariance (6, 6) of ``before_from_now``, for two poses in the current map."""
        before_from_now = before.camera_from_world @ invert(now.camera_from_world)
        of_before, of_now = np.eye(6), np.zeros((6, 6))
        of_before[:3, 3:] = -skew(before_from_now[:3, 3])
        of_now[:3, :3] = of_now[3:, 3:] = before_from_now[:3, :3]
        covariance = of_before @ before.own @ of_before.T + of_now @ now.own @ of_now.T
        covariance += difference_noise(before, now, of_before, of_now)
        if before.version == now.version:
            covariance += self._common(of_before @ before.by_map - of_now @ now.by_map)
        covariance[:3, :3] += self.scale_variance * np.outer(before_from_now[:3, 3], before_from_now[:3, 3])
        return covariance

    @property
    def scale_variance(self) -> float:
        """Variance of the scale at the anchor relative to the scale of the first map."""
        return float(self._drift[self._anchor.id][6, 6]) + self._free_scale

    def drift_at(self, position: np.ndarray) -> np.ndarray:
        """Return the covariance (7, 7) over ``(dt, dr, ds)`` of a map started at a known position (3,)."""
        return self._propagated(position)

    def drift_after_loss(self, position: np.ndarray, depth: float, bridged: np.ndarray | None = None) -> np.ndarray:
        """Return the covariance (7, 7) over ``(dt, dr, ds)`` of a map started at a position (3,) after a loss.

        ``bridged`` (6, 6) is the covariance of the pose if an IMU has continued it.
        """
        position_std, rotation_std, scale_std = _LOSS_STDS
        if bridged is not None:
            return np.block([[bridged, np.zeros((6, 1))], [np.zeros((1, 6)), scale_std**2]])
        variances = [(position_std * depth) ** 2] * 3 + [rotation_std**2] * 3 + [scale_std**2]
        return self._propagated(position) + np.diag(variances)

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

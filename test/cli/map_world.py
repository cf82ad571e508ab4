"""A textured wall past which a camera slides, and an estimator that knows how far away it is."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from ros_matching.datatypes import Camera, DepthMap, Frame, Keyframe, ScaleState
from ros_matching.io.calibration import UsedCalibration
from ros_matching.networks.pbs_mvsnet.estimator import DepthPyramid, feature_camera

WALL = 10.0
STEP_PX = 3
METRIC_FROM = 4


class SlidingSource:
    """Every frame is the wall, 10 away, three pixels further."""

    name = "sliding"
    faults = ()
    camera = Camera(160, 120, 100.0, 100.0, 79.5, 59.5)
    calibration = UsedCalibration("the wall", camera)

    def __init__(self, with_truth: bool = True, frames: int = 20) -> None:
        self._with_truth, self._frames = with_truth, frames

    def __len__(self) -> int:
        return self._frames

    def __iter__(self) -> Iterator[Frame]:
        texture = np.random.default_rng(0).integers(0, 256, (120, 160 + STEP_PX * self._frames, 3), dtype=np.uint8)
        texture = cv2.normalize(cv2.GaussianBlur(texture, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)
        for index in range(self._frames):
            pose = np.eye(4)
            # A little up and down: an exact line has no alignment.
            pose[:3, 3] = STEP_PX * WALL / self.camera.fx * index, 0.01 * (index % 3), 0.0
            image = np.ascontiguousarray(texture[:, STEP_PX * index :][:, :160])
            depth = np.full((120, 160), WALL, np.float32) if self._with_truth else None
            yield Frame(index, 10**9 + 10**8 * index, image, self.camera, pose if self._with_truth else None, depth)


class KnownWall:
    """The wall's depth, in worlds one of ``scales`` times as large as the true one: that which the range is of."""

    def __init__(self, *scales: float) -> None:
        self._scales = scales

    def estimate_pyramid(self, reference, sources, depth_range) -> DepthPyramid:
        (scale,) = (scale for scale in self._scales if depth_range[0] < scale * WALL < depth_range[1])
        camera = feature_camera(reference.frame.camera)
        shape = (camera.height, camera.width)
        depth = np.full(shape, scale * WALL, np.float32)
        return DepthPyramid((DepthMap(depth, np.ones(shape, np.float32), camera),), reference.world_from_camera)


class KnownTracker:
    """A keyframe every other frame, in a world a quarter as large, whose poses are right once they are corrected.

    With a scale source the world is metric from keyframe ``METRIC_FROM`` on.
    """

    scale = 0.25

    def __init__(self, matcher, config, scale, *, threaded: bool = False, imu=None) -> None:
        self._poses = {}
        self._becomes_metric = bool(scale.report.reason)  # a scale source without a measurement yet

    def track(self, frame: Frame):
        keyframe = None
        if frame.index % 2 == 0:
            is_metric = self._becomes_metric and frame.index // 2 >= METRIC_FROM
            scale, state = (1.0, ScaleState.METRIC) if is_metric else (self.scale, ScaleState.UP_TO_SCALE)
            pose = frame.true_world_from_camera.copy()
            pose[:3, 3] *= scale
            self._poses[frame.index // 2] = pose
            wrong = pose.copy()
            wrong[1, 3] += 0.001
            rng = np.random.default_rng(frame.index)
            pixels = rng.uniform((0, 0), (159, 119), (60, 2))
            depths = scale * rng.uniform(9.5, 10.5, 60)
            keyframe = Keyframe(frame.index // 2, frame, wrong, pixels, depths, state)
        return type("Result", (), {"new_keyframes": () if keyframe is None else (keyframe,)})()

    def keyframe_poses(self) -> dict:
        return dict(self._poses)

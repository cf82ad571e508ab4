"""Map initialisation: the motion must be confirmed by a third image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from point_world import CAMERA, PointWorld, cloud, walk

from ros_matching.atlas.config import TrackingConfig
from ros_matching.datatypes import Features, Frame
from ros_matching.geometry.se3 import angle_between_deg, invert, pose_from
from ros_matching.odometry.motion_selection import competing_motions
from ros_matching.odometry.two_view_initializer import InitializationPending, InitialReconstruction, TwoViewInitializer
from ros_matching.stages import StageTimer
from ros_matching.visual_odometry import VisualOdometry

SHAKEN = 5  # the frame that a shaken camera with a rolling shutter has sheared
FRAMES = 12


class ShakenWorld(PointWorld):
    """The camera hardly moves up to frame 5, which is sheared by ``shear`` (2,) pixels a row, then sideways."""

    def __init__(self, shear: tuple[float, float]) -> None:
        random = np.random.default_rng(0)
        rays = CAMERA.unproject(random.uniform((-300, -300), (940, 780), (1500, 2)))
        steps = np.where(np.arange(FRAMES)[:, None] <= SHAKEN, [0.004, 0.001, 0.003], [0.03, 0.003, 0.005])
        poses = pose_from(np.tile(np.eye(3), (FRAMES, 1, 1)), np.cumsum(steps, axis=0))
        super().__init__(rays * random.uniform(4, 6, (1500, 1)), poses, noise_px=0.1)
        self._shear = shear

    def extract(self, image: np.ndarray) -> Features:
        features = super().extract(image)
        if int(image[0, 0, 1]) != SHAKEN:
            return features
        rows = features.keypoints[:, 1:] - CAMERA.cy
        return replace(features, keypoints=features.keypoints + rows * self._shear)

    def direction_error_deg(self, camera1_from_camera0: np.ndarray, frame: Frame) -> float:
        truth = invert(self.poses[frame.index]) @ self.poses[0]
        return float(angle_between_deg(camera1_from_camera0[:3, 3], truth[:3, 3]))


@pytest.mark.parametrize("shear", [(0.02, 0.02), (0.05, 0.0), (0.05, 0.02)])
def test_a_sheared_image_does_not_start_a_map(shear):
    world = ShakenWorld(shear)
    frames = list(world.frames())
    config, features = TrackingConfig(), [world.extract(frame.image) for frame in frames]
    alone = competing_motions(world.match(features[0], features[SHAKEN]), CAMERA, config.threshold_px(CAMERA))
    assert alone.beats_rotation
    assert alone.beats_rivals
    assert world.direction_error_deg(alone.best.view.camera1_from_camera0, frames[SHAKEN]) > 20
    initializer = TwoViewInitializer(world, config, StageTimer())
    outcomes = [initializer.add(frame, found) for frame, found in zip(frames, features, strict=True)]
    assert all(isinstance(outcome, InitializationPending) for outcome in outcomes[: SHAKEN + 1])
    assert "confirm" in outcomes[SHAKEN].reason
    first = next(outcome for outcome in outcomes if isinstance(outcome, InitialReconstruction))
    assert world.direction_error_deg(first.geometry.camera1_from_camera0, first.frame1) < 2
    assert first.frame1.index <= SHAKEN + 3


def test_a_reconstruction_with_another_reference_does_not_confirm():
    world = ShakenWorld((0.0, 0.0))
    initializer = TwoViewInitializer(world, TrackingConfig(), StageTimer())
    frames = [(frame, world.extract(frame.image)) for frame in world.frames()]
    initializer.add(*frames[0])
    assert "confirm" in initializer.add(*frames[8]).reason
    initializer.reset()
    initializer.add(*frames[1])
    assert "confirm" in initializer.add(*frames[9]).reason
    assert isinstance(initializer.add(*frames[10]), InitialReconstruction)


@pytest.mark.parametrize("seed", range(3))
def test_the_scale_is_continuous_at_the_start_of_a_map(seed):
    # Two fifths of the points are too far away to become first landmarks.
    points = np.concatenate([cloud(3500), 6 * cloud(2500, seed=5)])
    world = PointWorld(points, walk(30, speed=0.004), noise_px=0.05, outliers=0.05, seed=seed)
    odometry = VisualOdometry(world, TrackingConfig())
    results = [odometry.track(frame) for frame in world.frames()]
    first = next(result.frame_index for result in results if result.counts.keyframes)
    assert results[first - 1].world_from_camera is None  # the image that waits for confirmation

    def scale(start: int, end: int) -> float:
        lengths = (
            np.linalg.norm(poses[end][:3, 3] - poses[start][:3, 3])
            for poses in ([result.world_from_camera for result in results], world.poses)
        )
        return float(np.divide(*lengths))

    assert scale(first - 2, first) == pytest.approx(scale(first, -1), rel=0.2)

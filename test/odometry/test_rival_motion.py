"""Two motions in the view: a large body that moves by itself, and a part of the view that moves with the camera."""

from __future__ import annotations

import numpy as np
import pytest
from point_world import CAMERA, PointWorld, cloud, walk

from ros_matching.datatypes import Features
from ros_matching.geometry.se3 import exp_so3, invert, pose_from, transform
from ros_matching.odometry.contradiction import rival_pose
from ros_matching.odometry.result import TrackingStatus
from ros_matching.visual_odometry import VisualOdometry


class TwoBodyWorld(PointWorld):
    """A body of points covers a ``share`` of the keypoints; ``body_poses`` (F, 4, 4) move it in the world."""

    def __init__(self, poses: np.ndarray, body_poses: np.ndarray, share: float) -> None:
        super().__init__(cloud(), poses, outliers=0.05)
        rng = np.random.default_rng(5)
        self._share, self._body_poses = share, body_poses
        ahead = rng.uniform((-2.5, -1.6, 1.5), (2.5, 1.6, 3.5), (3000, 3))
        self._body = transform(poses[0], ahead)
        body = rng.normal(size=(3000, 64))
        self._body_descriptors = body / np.linalg.norm(body, axis=1, keepdims=True)

    def extract(self, image: np.ndarray) -> Features:
        index = int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])
        world = super().extract(image)
        rng = np.random.default_rng((7, index))
        pixels = CAMERA.project(transform(invert(self.poses[index]) @ self._body_poses[index], self._body))
        with np.errstate(invalid="ignore"):
            rows = np.flatnonzero(((pixels >= 0) & (pixels < (CAMERA.width, CAMERA.height))).all(axis=1))
        body = rng.permutation(rows)[: round(800 * self._share)]
        kept = rng.permutation(len(world))[: round(800 * (1 - self._share))]
        keypoints = np.concatenate([world.keypoints[kept], pixels[body] + rng.normal(0, 0.3, (len(body), 2))])
        descriptors = np.concatenate([world.descriptors[kept], self._body_descriptors[body]])
        return Features(keypoints, np.ones(len(keypoints)), descriptors, self.name)


def run_with_a_body(share: float, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Track with a body that moves from frame 40; returns frame and error of all poses, and if two motions are said."""
    poses = walk(70)
    moved = np.zeros((70, 3))
    moved[40:, 0] = -step * np.arange(1, 31)
    odometry = VisualOdometry(world := TwoBodyWorld(poses, pose_from(np.eye(3), moved), share))
    results = [odometry.track(frame) for frame in world.frames()]
    good = [r for r in results if r.status is TrackingStatus.TRACKING and r.frame_index >= 20]
    rows = np.array([r.frame_index for r in good])
    true = invert(poses[rows[0]]) @ poses[rows]
    estimated = invert(good[0].world_from_camera) @ np.stack([r.world_from_camera for r in good])
    scale = np.linalg.norm(true[15, :3, 3]) / np.linalg.norm(estimated[15, :3, 3])
    error = np.linalg.norm(scale * estimated[:, :3, 3] - true[:, :3, 3], axis=1)
    return rows, error, np.array(["two motions" in r.reason for r in good])


@pytest.mark.parametrize("step", [0.05, 0.15])
def test_a_body_in_almost_half_of_the_view_does_not_take_the_camera_along(step):
    rows, error, said = run_with_a_body(0.45, step)
    assert len(rows) > 40
    assert error[rows > 45].max() < 0.05  # the body moves by 1.5 and 4.5
    assert said[(rows > 40) & (rows < 44)].any()


def test_a_body_in_most_of_the_view_is_reported_when_it_starts_to_move():
    rows, _, said = run_with_a_body(0.6, 0.15)
    assert said[(rows == 40) | (rows == 41)].all()
    assert not said[rows < 40].any()


def test_two_thirds_of_the_view_that_move_with_the_camera_are_reported():
    poses = walk(40, speed=0.06)
    attached = poses @ invert(poses[0])
    world = TwoBodyWorld(poses, attached, share=0.67)
    odometry = VisualOdometry(world)
    results = [odometry.track(frame) for frame in world.frames()]
    moved = np.linalg.norm(poses[:, :3, 3] - poses[0, :3, 3], axis=1)
    silent = [
        r
        for r in results
        if moved[r.frame_index] > 0.2
        and r.status is TrackingStatus.TRACKING
        and np.linalg.norm(r.world_from_camera[:3, 3]) < 0.01
        and "two motions" not in r.reason
        and np.sqrt(np.trace(r.covariance[:3, :3])) < 0.02
    ]
    assert silent == []


@pytest.mark.parametrize("share", [0.0, 0.15, 0.4])
def test_a_second_pose_is_found_where_enough_points_share_it(share):
    rng = np.random.default_rng(1)
    points = rng.uniform((-2, -1.5, 3), (2, 1.5, 7), (400, 3))
    other = pose_from(exp_so3(np.array([0.0, 0.05, 0.0])), np.array([0.3, 0.0, 0.0]))
    body = rng.random(400) < share
    pixels = CAMERA.project(np.where(body[:, None], transform(other, points), points)) + rng.normal(0, 0.3, (400, 2))
    found = rival_pose(points, pixels, CAMERA, 2.0, ~body)
    assert (found is not None) == (share > 0.2)
    if found is not None:
        np.testing.assert_allclose(found.camera_from_world, other, atol=0.01)
        assert np.mean(found.inliers[body]) > 0.9
        assert not found.inliers[~body].any()

"""Bundle adjustment of a whole map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from loop_world import hall, ring
from point_world import CAMERA

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import Edge, EdgeKind, StoredKeyframe
from ros_matching.backend.global_adjustment import GlobalAdjustment
from ros_matching.backend.map_correction import balanced_poses
from ros_matching.geometry.se3 import invert, retract, transform
from ros_matching.geometry.sim3 import invert_similarity, rigid_part

COUNT = 24


@pytest.fixture
def true_poses() -> np.ndarray:
    poses = ring(COUNT, turns=1.0)
    return invert(poses[0]) @ poses


def perturbed_map(true_poses: np.ndarray, noise_px: float = 0.3) -> SlamMap:
    """A ring of keyframes whose landmarks are fused all round; poses and landmarks are displaced smoothly."""
    rng = np.random.default_rng(0)
    points = transform(invert(ring(COUNT, turns=1.0)[0]), hall(2500))
    slam_map = SlamMap(CAMERA, "points", "points")
    drift = np.linspace(0, 1, COUNT)[:, None] * np.array([0.15, -0.1, 0.1, 0.01, 0.02, -0.01])
    poses = retract(true_poses, drift)
    landmark_drift = rng.normal(0, 0.05, points.shape)
    for id, (true, pose) in enumerate(zip(true_poses, poses, strict=True)):
        pixels = CAMERA.project(transform(invert(true), points))
        with np.errstate(invalid="ignore"):
            seen = np.flatnonzero(((pixels > 0) & (pixels < (CAMERA.width, CAMERA.height))).all(axis=1))
        new = seen[~slam_map.landmarks.known(seen)]
        local = transform(invert(true), points[new] + landmark_drift[new])
        slam_map.landmarks.put(new, transform(pose, local), id)
        observed = pixels[seen] + rng.normal(0, noise_px, (len(seen), 2))
        slam_map.put_keyframe(
            StoredKeyframe(
                id, id, pose, 1.0, observed.astype(np.float32), np.zeros((len(seen), 4), np.float16),
                seen.astype(np.int64), np.ones(len(seen), np.float32), b"", np.zeros(0, np.float32), 1,
            )
        )  # fmt: skip
        if id:
            measured = invert_similarity(slam_map.keyframe(id - 1).map_from_local) @ pose
            slam_map.put_edge(Edge(EdgeKind.ODOMETRY, id - 1, id, measured, 1e-4 * np.eye(7)))
    return slam_map


def put_bare_keyframe(slam_map: SlamMap, id: int, pose: np.ndarray) -> None:
    """Put a keyframe that observes three landmarks of its own, 5 m in front of it."""
    ids = 3 * id + np.arange(3)
    points = np.array([[0.0, 0.0, 5.0], [1.0, 0.0, 5.0], [0.0, 1.0, 5.0]])
    slam_map.landmarks.put(ids, transform(pose, points), id)
    slam_map.put_keyframe(
        StoredKeyframe(
            id, id, pose, 1.0, CAMERA.project(points).astype(np.float32), np.zeros((3, 4), np.float16),
            ids.astype(np.int64), np.ones(3, np.float32), b"", np.zeros(0, np.float32), 1,
        )
    )  # fmt: skip


def relative_errors(slam_map: SlamMap, true_poses: np.ndarray) -> np.ndarray:
    """Distances (N - 1,) of the poses relative to the first one to the true ones, for the best scale."""
    found = np.stack([invert(slam_map.keyframe(0).map_from_camera) @ k.map_from_camera for k in slam_map.keyframes])
    a, b = found[1:, :3, 3], true_poses[1:, :3, 3]
    return np.linalg.norm(a * (np.sum(a * b) / np.sum(a * a)) - b, axis=1)


def test_the_whole_map_is_adjusted(true_poses):
    slam_map = perturbed_map(true_poses)
    before = relative_errors(slam_map, true_poses)
    adjustment = GlobalAdjustment.of(slam_map, slam_map.ids)
    for _ in range(4):
        adjustment = adjustment.continued()
    adjustment.apply(slam_map)
    after = relative_errors(slam_map, true_poses)
    assert np.sqrt(np.mean(after**2)) < 0.2 * np.sqrt(np.mean(before**2))
    np.testing.assert_allclose(slam_map.keyframe(0).map_from_camera, np.eye(4), atol=1e-9)


def test_lengths_of_keyframes_follow_the_size_of_what_they_observe(true_poses):
    """Frames between keyframes, and dense points, have lengths in the unit of the keyframe's odometry map."""
    slam_map = perturbed_map(true_poses)
    shrunk = 0.8 ** np.linspace(0, 1, COUNT)  # as a loop may: positions and landmarks shrink with the scale
    slam_map.correct({id: (slam_map.keyframe(id).map_from_camera, shrunk[id]) for id in slam_map.ids})
    adjustment = GlobalAdjustment.of(slam_map, slam_map.ids)
    for _ in range(6):
        adjustment = adjustment.continued()
    adjustment.apply(slam_map)
    centers = np.array([keyframe.center for keyframe in slam_map.keyframes])
    size = np.linalg.norm(centers[1:] - centers[0], axis=1).sum()
    true_size = np.linalg.norm(true_poses[1:, :3, 3] - true_poses[0, :3, 3], axis=1).sum()
    scales = np.array([keyframe.scale for keyframe in slam_map.keyframes])
    np.testing.assert_allclose(scales, size / true_size, rtol=0.05)


def test_each_odometry_map_keeps_its_unit(true_poses):
    """Edges lead from one odometry map to another where the odometry returned to a known place."""
    slam_map = perturbed_map(true_poses)
    units = np.where(np.arange(COUNT) < COUNT // 2, 1.0, 12.0)
    for id, unit in enumerate(units):
        slam_map.put_keyframe(replace(slam_map.keyframe(id), scale=unit, map_number=int(unit)))
    pairs = [(id - 1, id) for id in slam_map.ids[1:]] + [(id - 6, id) for id in slam_map.ids[COUNT // 2 :][:6]]
    for first, second in pairs:
        measured = invert_similarity(slam_map.keyframe(first).map_from_local) @ slam_map.keyframe(second).map_from_local
        slam_map.put_edge(Edge(EdgeKind.COVISIBILITY, first, second, measured, 1e-4 * np.eye(7)))
    GlobalAdjustment.of(slam_map, slam_map.ids).continued().apply(slam_map)
    scales = np.array([keyframe.scale for keyframe in slam_map.keyframes])
    np.testing.assert_allclose(scales, units, rtol=0.1)


def test_loops_are_measured_again_and_the_odometry_is_kept(true_poses):
    slam_map = perturbed_map(true_poses)
    odometry = {edge.second: edge.first_from_second for edge in slam_map.edges}
    slam_map.put_edge(Edge(EdgeKind.LOOP, 0, COUNT - 1, np.eye(4), np.eye(7)))
    GlobalAdjustment.of(slam_map, slam_map.ids).continued().apply(slam_map)
    for edge in slam_map.edges:
        first, second = slam_map.keyframe(edge.first), slam_map.keyframe(edge.second)
        expected = rigid_part(invert_similarity(first.map_from_local) @ second.map_from_local)
        if edge.kind is EdgeKind.ODOMETRY:
            np.testing.assert_array_equal(edge.first_from_second, odometry[edge.second])
        else:
            np.testing.assert_allclose(rigid_part(edge.first_from_second), expected, atol=1e-9)


def test_the_odometry_straightens_what_the_adjustment_bends():
    """The way between two visits is measured by both, the place that both visits have seen by the adjustment."""
    pytest.importorskip("gtsam")
    true = ring(40, turns=1.0)
    true = invert(true[0]) @ true
    bend = np.sin(np.linspace(0, np.pi, 40))[:, None] * np.array([0.5, 0.3, 0.0, 0.0, 0.0, 0.0])
    slam_map = SlamMap(CAMERA, "points", "points")
    for id, pose in enumerate(retract(true, bend)):
        put_bare_keyframe(slam_map, id, pose)
        if id:
            measured = invert(true[id - 1]) @ true[id]
            slam_map.put_edge(Edge(EdgeKind.ODOMETRY, id - 1, id, measured, 1e-5 * np.eye(7)))
    slam_map.put_edge(Edge(EdgeKind.LOOP, 0, 39, invert(true[0]) @ true[39], 1e-5 * np.eye(7)))
    before = np.linalg.norm([k.center for k in slam_map.keyframes] - true[:, :3, 3], axis=1)
    slam_map.correct(balanced_poses(slam_map, slam_map.ids))
    after = np.linalg.norm([k.center for k in slam_map.keyframes] - true[:, :3, 3], axis=1)
    assert before.max() > 0.4
    assert 0.5 * before.max() < after.max() < 0.8 * before.max()
    np.testing.assert_allclose(after[[0, -1]], 0.0, atol=1e-6)


def test_landmarks_fit_keyframes_that_were_moved_since(true_poses):
    slam_map = perturbed_map(true_poses, noise_px=0.05)
    adjustment = GlobalAdjustment.of(slam_map, slam_map.ids)
    slam_map.correct({id: (pose, 1.0) for id, pose in enumerate(true_poses)})
    adjustment.fit_landmarks(slam_map)
    np.testing.assert_allclose([k.map_from_camera for k in slam_map.keyframes], true_poses, atol=1e-9)
    points = transform(invert(ring(COUNT, turns=1.0)[0]), hall(2500))
    ids = adjustment.landmarks
    errors = np.linalg.norm(slam_map.landmarks.positions_of(ids) - points[ids], axis=1)
    assert np.median(errors) < 0.01


def test_the_map_is_not_changed_before_the_result_is_applied(true_poses):
    slam_map = perturbed_map(true_poses)
    poses, positions = [k.map_from_camera for k in slam_map.keyframes], slam_map.landmarks.positions.copy()
    GlobalAdjustment.of(slam_map, slam_map.ids).continued()
    np.testing.assert_array_equal([k.map_from_camera for k in slam_map.keyframes], poses)
    np.testing.assert_array_equal(slam_map.landmarks.positions, positions)


def test_keyframes_without_common_landmarks_are_not_adjusted(true_poses):
    slam_map = perturbed_map(true_poses)
    assert GlobalAdjustment.of(slam_map, [0, 12]) is None


def test_gravity_holds_roll_and_pitch(true_poses):
    """The first camera, which stays, is right; without gravity the noise of the pixels tilts the ring behind it."""
    down, tilts = np.array([0.0, 1.0, 0.0]), []
    for is_known in (False, True):
        slam_map = perturbed_map(true_poses, noise_px=1.5)
        if is_known:
            slam_map.down, slam_map.down_std = down, 0.001
            for id, true in enumerate(true_poses):
                slam_map.put_keyframe(replace(slam_map.keyframe(id), down=true[:3, :3].T @ down, down_std=0.001))
        adjustment = GlobalAdjustment.of(slam_map, slam_map.ids)
        for _ in range(4):
            adjustment = adjustment.continued()
        adjustment.apply(slam_map)
        turned = [
            slam_map.keyframe(id).map_from_camera[:3, :3] @ true[:3, :3].T @ down for id, true in enumerate(true_poses)
        ]
        tilts.append(np.degrees(np.sqrt(np.mean(np.arccos(np.clip(np.stack(turned) @ down, -1, 1)) ** 2))))
    assert tilts[1] < 0.5 * tilts[0]

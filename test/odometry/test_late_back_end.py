"""A delayed back end: accuracy, and frames that wait for it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from delayed_scheduler import delay_back_end
from point_world import PointWorld, cloud, pure_rotation, walk

from ros_matching import load_matcher
from ros_matching.atlas.config import TrackingConfig
from ros_matching.geometry.se3 import invert, rotation_angle_deg
from ros_matching.io import open_source
from ros_matching.odometry.result import TrackingStatus
from ros_matching.visual_odometry import VisualOdometry


def run(world: PointWorld, delay: int | None) -> tuple[list, tuple]:
    odometry = VisualOdometry(world)
    if delay is not None:
        delay_back_end(odometry, delay)
    results = [odometry.track(frame) for frame in world.frames()]
    return results, odometry.finish()


def position_error(world: PointWorld, results: list) -> float:
    """The largest error of a position as a fraction of the path, after the first poses and the scale are aligned."""
    tracked = [r for r in results if r.status is TrackingStatus.TRACKING and r.counts.landmarks]
    true = world.poses[[r.frame_index for r in tracked]]
    true, estimated = invert(true[0]) @ true, np.stack([r.world_from_camera for r in tracked])
    estimated = invert(estimated[0]) @ estimated
    scale = np.linalg.norm(true[:, :3, 3]) / np.linalg.norm(estimated[:, :3, 3])
    path = np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1).sum()
    return float(np.linalg.norm(scale * estimated[:, :3, 3] - true[:, :3, 3], axis=1).max() / path)


@pytest.mark.parametrize("delay", [1, 4])
def test_a_walk_is_tracked_with_a_delayed_back_end(delay):
    world = PointWorld(cloud(), walk(150))
    results, _ = run(world, delay)
    assert all(r.status is TrackingStatus.TRACKING for r in results[30:])
    assert position_error(world, results) < 0.01
    for before, now in itertools.pairwise(results):
        if now.previous_from_current is not None:
            chained = before.world_from_camera @ now.previous_from_current
            np.testing.assert_allclose(chained, now.world_from_camera, atol=1e-9)


def test_no_frame_of_a_walk_waits_with_a_large_map():
    world = PointWorld(cloud(), walk(120))
    odometry = delay_back_end(VisualOdometry(world), 3)
    waits = []
    for frame in world.frames():
        odometry.track(frame)
        waits.append(odometry._back_end._scheduler.waits)
    assert waits[-1] == waits[60]


def test_a_frame_of_few_landmarks_waits_for_its_adjusted_keyframe_and_not_for_the_covariance():
    world = PointWorld(cloud(), walk(80))
    few = TrackingConfig(keyframe_inliers=10000)  # every frame has few
    odometry = delay_back_end(VisualOdometry(world, few), 1000)  # nothing comes by itself
    scheduler = odometry._back_end._scheduler
    exchange, in_the_background = odometry._tracker._exchange, 0
    for frame in world.frames():
        result = odometry.track(frame)
        if len(odometry.keyframe_ids()) < 6:
            continue
        assert not exchange.awaits_adjustment
        newest = odometry.newest_keyframe()
        if newest.frame.index == frame.index:  # the reported pose is the adjusted one, as without a thread
            np.testing.assert_allclose(result.world_from_camera, invert(newest.camera_from_world), atol=1e-9)
            in_the_background += not scheduler.is_idle
    assert in_the_background > 5


def test_a_frame_that_needs_landmarks_on_the_way_is_localised_again_with_them(monkeypatch):
    world = PointWorld(cloud(), walk(80))
    odometry = delay_back_end(VisualOdometry(world), 1000)
    frames = list(world.frames())
    # Until a keyframe is on the way, with a large map
    for frame in frames:
        odometry.track(frame)
        if len(odometry.keyframe_ids()) > 4 and odometry._tracker._exchange.awaits_adjustment:
            break
    localizer, tried = odometry._tracker._localizer, []
    by_prediction = localizer._by_prediction

    def recorded(*args):
        tried.append(odometry._tracker._exchange.awaits_adjustment)
        return by_prediction(*args)

    monkeypatch.setattr(localizer, "_by_prediction", recorded)
    monkeypatch.setattr(localizer, "is_weak", lambda found: True)
    odometry.track(frames[frame.index + 1])
    assert tried[0]
    assert not tried[-1]


def test_a_keyframe_is_inserted_only_after_the_one_before_has_its_landmarks(monkeypatch):
    world = PointWorld(cloud(), walk(100))
    odometry = delay_back_end(VisualOdometry(world), 8)
    back_end, sizes = odometry._back_end, []
    submit = back_end.submit

    def recorded(map_number, snapshot, new, inactive):
        sizes.append(len(new))
        submit(map_number, snapshot, new, inactive)

    monkeypatch.setattr(back_end, "submit", recorded)
    for frame in world.frames():
        odometry.track(frame)
        assert len(odometry._tracker._exchange._pending) <= 1
    assert len(sizes) > 5
    assert set(sizes) == {1}


def test_keyframes_are_delivered_once_mapped_and_none_is_lost():
    world = PointWorld(cloud(), walk(100))
    on_time, late = run(world, None), run(world, 3)
    ids = [[k.id for r in results for k in r.new_keyframes] + [k.id for k in rest] for results, rest in (on_time, late)]
    for delivered in ids:
        assert delivered == sorted(set(delivered))
        assert delivered == list(range(len(delivered)))
    latest = max(r.frame_index - k.frame.index for r in late[0] for k in r.new_keyframes)
    assert latest >= 1


def test_a_map_that_is_smaller_than_the_adjusted_window():
    world = PointWorld(cloud(), walk(90, speed=0.15))
    odometry = delay_back_end(VisualOdometry(world, TrackingConfig(max_keyframes=8, window_keyframes=12)), 5)
    results = [odometry.track(frame) for frame in world.frames()]
    assert all(r.status is TrackingStatus.TRACKING for r in results[30:])
    assert position_error(world, results) < 0.03


def test_a_rotation_into_an_unmapped_area_waits_for_landmarks():
    path = walk(100)
    path[60:] = path[60] @ pure_rotation(40, 120) @ invert(path[60]) @ path[60:]
    world = PointWorld(cloud(6000), path)
    results, _ = run(world, 6)
    assert all(r.status is TrackingStatus.TRACKING for r in results[30:])
    last = [r for r in results if r.status is TrackingStatus.TRACKING][-1]
    first = next(r for r in results if r.counts.landmarks)
    true = invert(world.poses[first.frame_index]) @ world.poses[last.frame_index]
    estimated = invert(first.world_from_camera) @ last.world_from_camera
    assert rotation_angle_deg(estimated @ invert(true)) < 2.0


def test_a_thread_maps_and_closes():
    world = PointWorld(cloud(), walk(60))
    odometry = VisualOdometry(world, threaded=True)
    results = [odometry.track(frame) for frame in world.frames()]
    rest = odometry.finish()
    assert sum(r.status is TrackingStatus.TRACKING for r in results) > 40
    assert sum(len(r.new_keyframes) for r in results) + len(rest) > 3
    odometry.reset()
    assert odometry.current_keyframes() == ()
    odometry.close()


def test_late_keyframes_of_a_fast_handheld_camera_keep_the_scale(data_dir):
    if not (data_dir / "hololens_000").is_dir():
        pytest.skip(f"no hololens_000 in {data_dir}")
    odometry = delay_back_end(VisualOdometry(load_matcher("sift")), 2)
    ratios, before = [], None
    for frame in open_source(data_dir / "hololens_000", start=120, stop=172):
        result = odometry.track(frame)
        if result.previous_from_current is not None:
            true = invert(before) @ frame.true_world_from_camera
            ratios.append(np.linalg.norm(result.previous_from_current[:3, 3]) / np.linalg.norm(true[:3, 3]))
        before = frame.true_world_from_camera
    assert len(ratios) > 40
    # Without the test of poses against the other matches, a fifth by then, and shrinking
    assert 0.6 < np.median(ratios[-10:]) / np.median(ratios[:10]) < 1.7

"""What the live view shows of a result, and its history."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.datatypes import Camera, Frame, ScaleState
from ros_matching.geometry.frustum import frustum_lines
from ros_matching.odometry.result import TrackingCounts, TrackingResult, TrackingStatus
from ros_matching.viewer.live_state import History, LiveFrame
from ros_matching.viewer.tracks import COLORS

CAMERA = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
FRAME = Frame(0, 1_000_000_000, np.zeros((48, 64, 3), np.uint8), CAMERA)


def result(stamp_ns: int = 1_000_000_000, **changes) -> TrackingResult:
    values = {
        "frame_index": 0,
        "stamp_ns": stamp_ns,
        "status": TrackingStatus.TRACKING,
        "reason": "",
        "world_from_camera": np.eye(4),
        "covariance": np.diag([0.01, 0.04, 0.01, 1, 1, 1]),
        "counts": TrackingCounts(matches=20, inliers=15, landmarks=99),
        "stage_ms": {"extract": 12.0},
        "tracked_points_px": np.array([[20.0, 10.0], [40.0, 30.0]]),
        "reference_points_px": np.array([[20.0, 10.0], [40.0, 30.0]]),
    }
    return TrackingResult(**(values | changes))


@pytest.mark.parametrize("status", list(TrackingStatus))
def test_points_have_the_colour_of_the_status(status: TrackingStatus) -> None:
    pose = {} if status is TrackingStatus.TRACKING else {"world_from_camera": None, "covariance": None}
    live = LiveFrame.of(FRAME, result(status=status, reason="too few matches", **pose))
    assert tuple(live.image[10, 20]) == COLORS[status]
    assert tuple(live.image[30, 40]) == COLORS[status]
    assert live.status_line == f"{status.value}, 15 inliers, 99 landmarks; too few matches"
    assert not FRAME.image.any()


def test_covariance_and_scale() -> None:
    live = LiveFrame.of(FRAME, result(scale=ScaleState.METRIC, scale_sigma=0.02))
    assert live.position_std == pytest.approx(0.2)
    assert (live.scale, live.scale_std) == ("metric", 0.02)
    unknown = LiveFrame.of(FRAME, result(covariance=None))
    assert np.isnan(unknown.position_std)


def test_the_history_is_bounded_and_knows_late_stages() -> None:
    history = History(length=3)
    for number in range(5):
        stages = {"extract": float(number)} | ({"map": 7.0} if number == 4 else {})
        history.add(LiveFrame.of(FRAME, result(10**9 * (number + 1), stage_ms=stages)))
    assert history.seconds.tolist() == [2, 3, 4]
    assert history.stages == ["extract ms", "map ms"]
    assert history.column("extract ms").tolist() == [2, 3, 4]
    np.testing.assert_array_equal(history.column("map ms"), [np.nan, np.nan, 7])
    assert np.isnan(history.column("scale")).all()  # infinite while it is unknown


def test_a_frustum_is_the_field_of_view() -> None:
    pose = np.eye(4)
    pose[:3, 3] = [1, 2, 3]
    lines = frustum_lines(np.array([pose, pose]), CAMERA, 2.0)
    assert lines.shape == (16, 2, 3)
    assert (lines[:4, 0] == [1, 2, 3]).all()
    corner = lines[0, 1] - [1, 2, 3]
    np.testing.assert_allclose(CAMERA.project(corner[None].astype(float))[0], [-0.5, -0.5], atol=1e-4)
    assert corner[2] == 2

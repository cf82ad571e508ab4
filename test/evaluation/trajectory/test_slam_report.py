"""The report of SLAM: both trajectories, and loops compared with ground truth."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ros_matching.evaluation.trajectory.run_report import FrameRecord, RunRecorder, corrected_records
from ros_matching.evaluation.trajectory.slam_report import (
    LoopRecord,
    SlamReport,
    slam_report_values,
    slam_summary,
    write_slam_report,
)
from ros_matching.geometry.se3 import exp_so3, invert, pose_from

COUNT, SCALE = 80, 0.5


def true_pose(index: int) -> np.ndarray:
    angle = 2 * np.pi * index / (COUNT - 1)
    return pose_from(exp_so3(np.array([0, angle, 0])), 10 * np.array([np.sin(angle), 0, np.cos(angle)]))


def in_map(index: int, drift: float = 0.0) -> np.ndarray:
    """The pose in a map of half the true size, moved off by a drift that grows."""
    pose = true_pose(index)
    pose[:3, 3] = SCALE * (pose[:3, 3] + [0, drift * index / COUNT, 0])
    return pose


def stamp(index: int) -> int:
    return 10**9 + index * 10**8


def report(loops: list[LoopRecord]) -> SlamReport:
    records = [FrameRecord(index, stamp(index), "tracking", in_map(index, 2.0), maps=1) for index in range(COUNT)]
    corrected = corrected_records(records, [(stamp(index), in_map(index)) for index in range(COUNT)])
    runs = []
    for those in (records, corrected):
        recorder = RunRecorder("ring", "sift")
        for record in those:
            recorder.add(record)
        for index in range(COUNT):
            recorder.add_ground_truth(stamp(index), true_pose(index))
        runs.append(recorder.report())
    return SlamReport(*runs, tuple(loops), ((79, "loop closed"),), {"keyframes": 12, "unit": "up_to_scale"})


def loop(first: int, second: int, true_second: int | None = None) -> LoopRecord:
    """A loop between two frames, measured as that with ``true_second``."""
    measured = invert(true_pose(first)) @ true_pose(second if true_second is None else true_second)
    measured[:3, 3] *= SCALE
    return LoopRecord(stamp(first), stamp(second), measured, depth=SCALE * 4.0)


def test_loops_are_compared_with_ground_truth():
    errors = report([loop(0, 79), loop(3, 60, true_second=4), loop(0, 2)]).loop_errors()
    assert [error.is_wrong for error in errors] == [False, True, False]
    assert errors[0].translation < 1e-6
    assert errors[0].rotation_deg < 1e-4


def test_figures_of_both_trajectories(tmp_path):
    values = slam_report_values(report([loop(0, 79)]))
    assert values["ate_rmse"] < 1e-6
    assert values["odometry"]["ate_rmse"] > 0.1
    assert (values["loops"], values["wrong_loops"]) == (1, 0)
    assert values["events"] == [{"frame": 79, "event": "loop closed"}]
    assert "1, 0 of them wrong" in slam_summary(report([loop(0, 79)]))
    pytest.importorskip("matplotlib")
    written = write_slam_report(report([loop(0, 79)]), tmp_path)
    assert {path.name for path in written} >= {"trajectory.tum", "odometry.tum", "report.json", "slam.png"}
    assert json.loads((tmp_path / "report.json").read_text())["loops"] == 1
    assert (tmp_path / "slam.png").stat().st_size > 10_000


def test_frames_without_a_place_in_the_map_count_as_lost():
    records = [FrameRecord(index, stamp(index), "tracking", in_map(index)) for index in range(3)]
    records.append(FrameRecord(3, stamp(3), "initializing", reason="parallax"))
    corrected = corrected_records(records, [(stamp(1), in_map(1))])
    assert [record.status for record in corrected] == ["lost", "tracking", "lost", "initializing"]
    assert "unknown" in corrected[0].reason


def test_an_image_may_have_a_place_in_the_map_before_the_odometry_has_one():
    record = FrameRecord(0, stamp(0), "initializing", reason="parallax")
    (corrected,) = corrected_records([record], [(stamp(0), in_map(0))])
    assert (corrected.status, corrected.reason) == ("tracking", "")
    np.testing.assert_array_equal(corrected.world_from_camera, in_map(0))


def test_a_run_without_truth_and_without_map():
    recorder = RunRecorder("ring", "sift")
    recorder.add(FrameRecord(0, stamp(0), "initializing", reason="parallax"))
    empty = recorder.report()
    values = slam_report_values(SlamReport(empty, empty, (), (), {"keyframes": 0}))
    assert values["wrong_loops"] is None
    assert values["odometry"]["ate_rmse"] is None

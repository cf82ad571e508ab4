from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import DataTypeError, EvaluationError
from ros_matching.evaluation.trajectory.report_files import report_values, summary_table, write_report
from ros_matching.evaluation.trajectory.run_plot import view_axes
from ros_matching.evaluation.trajectory.run_report import FrameRecord, RunRecorder, RunReport, ScaleRecord
from ros_matching.io.calibration import UsedCalibration
from ros_matching.io.trajectory import Trajectory, read_tum

KEYS = {
    "source", "calibration", "calibration_doubt", "depth_warning", "matcher",
    "frames", "tracked", "initializing", "lost", "bridged",
    "dropped",
    "faults", "interrupted", "segments", "maps",
    "lost_ranges", "path_length", "ate_rmse", "ate_percent", "rpe_trans", "rpe_rot_deg", "evaluated_poses",
    "alignment", "alignment_note", "scale", "unit", "evaluation_note",
    "ms_per_frame", "ms_median", "ms_p95", "stage_ms", "nees", "versions",
}  # fmt: skip
TRUTH_KEYS = ("path_length", "ate_rmse", "ate_percent", "rpe_trans", "rpe_rot_deg", "scale", "alignment")


def recorded(truth: Trajectory, statuses: str, *, scale: float = 0.5, with_truth: bool = True) -> RunRecorder:
    """A perfect run, up to scale, with one letter per frame: i(nitializing), t(racking) or l(ost)."""
    recorder = RunRecorder("office", "sift")
    names = {"i": "initializing", "t": "tracking", "l": "lost"}
    for index, (letter, stamp_ns, pose) in enumerate(
        zip(statuses, truth.stamps_ns.tolist(), truth.world_from_camera, strict=False)
    ):
        if with_truth:
            recorder.add_ground_truth(stamp_ns, pose)
        estimate = pose.copy()
        estimate[:3, 3] *= scale
        recorder.add(
            FrameRecord(
                index=index,
                stamp_ns=stamp_ns,
                status=names[letter],
                world_from_camera=estimate if letter == "t" else None,
                latency_ms=10.0 + 2.0 * (index % 2),
                stage_ms={"extract": 6.0, "adjust": 8.0} if letter == "t" else {"extract": 6.0},
            )
        )
    return recorder


KINECT_CAMERA = Camera(640, 480, 517.3, 516.5, 318.6, 255.3, DistortionModel.PLUMB_BOB, (0.26, -0.95, 0.0, 0.0, 1.16))
KINECT = UsedCalibration("K.txt", KINECT_CAMERA, 5000.0)


def test_the_report_names_the_calibration(truth):
    recorder = recorded(truth, 20 * "t")
    assert values_of(recorder.report())["calibration"] is None
    recorder.set_calibration(KINECT)
    values = values_of(recorder.report())["calibration"]
    assert (values["origin"], values["model"], values["width"], values["height"]) == ("K.txt", "plumb_bob", 640, 480)
    assert (values["fx"], values["fy"], values["cx"], values["cy"]) == (517.3, 516.5, 318.6, 255.3)
    [row] = [line for line in summary_table(recorder.report()).splitlines() if line.startswith("calibration")]
    assert all(word in row for word in ("K.txt", "640x480", "fx 517.30", "cy 255.30", "plumb_bob (0.26, -0.95"))


@pytest.mark.parametrize(
    ("scale", "state", "doubt", "warning"),
    [
        (0.2, ScaleRecord("metric", "depth", 0.01), "", "depth_scale=1000 instead of 5000"),
        (0.21, ScaleRecord("metric", "depth", 0.01), "", "depth_scale=1000 instead of 5000"),
        (0.5, ScaleRecord("metric", "depth", 0.01), "", "depth_scale=2500 instead of 5000"),
        (0.95, ScaleRecord("metric", "depth", 0.01), "multiples", None),
        (0.2, ScaleRecord("metric", "wheel", 0.01), "", None),
        (0.2, ScaleRecord(), "", None),
        (1.0, ScaleRecord(), "multiples of 5", "multiples of 5"),
    ],
)
def test_depth_in_another_unit_than_the_ground_truth_is_reported(truth, scale, state, doubt, warning):
    """Depth in millimetres with the depth scale of TUM makes all lengths five times too small."""
    recorder = RunRecorder("office", "sift")
    recorder.set_calibration(replace(KINECT, depth_doubt=doubt))
    for record in recorded(truth, 30 * "t", scale=scale).report().records:
        recorder.add(replace(record, scale=state))
    for stamp_ns, pose in zip(truth.stamps_ns.tolist(), truth.world_from_camera, strict=True):
        recorder.add_ground_truth(stamp_ns, pose)
    report = recorder.report()
    found = values_of(report)["depth_warning"]
    assert (found is None) if warning is None else (warning in found)
    assert ("\nwarning " in summary_table(report)) == (warning is not None)


def values_of(report: RunReport) -> dict:
    return json.loads(json.dumps(report_values(report), allow_nan=False))


def test_figures_of_a_run_with_gaps(truth):
    statuses = "iiii" + 20 * "t" + 5 * "l" + 10 * "t" + "l" + 20 * "t"
    report = recorded(truth, statuses).report()
    values = values_of(report)
    assert set(values) == KEYS
    assert (values["frames"], values["tracked"], values["initializing"], values["lost"]) == (60, 50, 4, 6)
    assert values["lost_ranges"] == [[24, 28], [39, 39]]
    assert values["segments"] == 3
    assert values["scale"] == pytest.approx(2)
    assert values["ate_rmse"] == pytest.approx(0, abs=1e-9)
    assert values["rpe_trans"] == pytest.approx(0, abs=1e-9)
    assert report.evaluation.rpe_pairs == 19 + 9 + 19
    assert values["ms_per_frame"] == pytest.approx(11)
    assert values["stage_ms"] == {"extract": pytest.approx(6), "adjust": pytest.approx(8 * 50 / 60)}
    assert values["evaluation_note"] is None


def test_the_order_in_which_frames_arrive_does_not_matter(truth):
    recorder = recorded(truth, 60 * "t")
    shuffled = RunRecorder("office", "sift")
    report = recorder.report()
    order = np.random.default_rng(1).permutation(60)
    for row in order:
        shuffled.add(report.records[row])
        shuffled.add_ground_truth(int(truth.stamps_ns[row]), truth.world_from_camera[row])
    assert values_of(shuffled.report()) == values_of(report)


def test_without_ground_truth_the_errors_are_null_and_the_table_has_the_reason(truth):
    report = recorded(truth, "i" + 59 * "t", with_truth=False).report()
    values = values_of(report)
    assert [values[key] for key in TRUTH_KEYS] == [None] * len(TRUTH_KEYS)
    assert values["evaluation_note"] == "no ground truth"
    assert "not evaluated: no ground truth" in summary_table(report)


def test_a_run_without_a_tracked_frame_is_reported(truth, tmp_path):
    report = recorded(truth, "ii" + 58 * "l").report()
    values = values_of(report)
    assert values["tracked"] == 0
    assert values["segments"] == 0
    assert values["evaluation_note"] == "no frame was tracked"
    assert "58 (96.7 %): frames 2-59" in summary_table(report)
    assert {path.name for path in write_report(report, tmp_path)} == {
        "ground_truth.tum",
        "report.json",
        "trajectory.png",
    }


def test_too_few_tracked_frames_are_reported_with_the_reason(truth):
    values = values_of(recorded(truth, 58 * "i" + "tt").report())
    assert values["ate_rmse"] is None
    assert "at least 3 poses" in values["evaluation_note"]


def test_without_evo_the_run_is_kept_and_the_remedy_named(truth, monkeypatch):
    monkeypatch.setitem(sys.modules, "evo.core", None)
    values = values_of(recorded(truth, 60 * "t").report())
    assert values["tracked"] == 60
    assert "needs evo; install it with: pip install evo" in values["evaluation_note"]


def test_without_matplotlib_the_rest_is_written_and_the_remedy_named(truth, tmp_path, monkeypatch, caplog):
    report = recorded(truth, 60 * "t").report()
    write_report(report, tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    names = {path.name for path in write_report(report, tmp_path)}
    assert names == {"trajectory.tum", "ground_truth.tum", "report.json"}
    assert names == {path.name for path in tmp_path.iterdir()}
    assert "trajectory.png is not drawn: plots need matplotlib; install it with: pip install matplotlib" in caplog.text


def test_a_drive_on_one_straight_line_has_an_ate_and_the_report_says_what_was_free(truth):
    poses = truth.world_from_camera.copy()
    poses[:, :3, 3] = np.outer(np.linspace(0, 12, 60), [1, 0, 0])
    report = recorded(Trajectory(truth.stamps_ns, poses), 60 * "t").report()
    values = values_of(report)
    assert values["ate_rmse"] == pytest.approx(0, abs=1e-9)
    assert values["scale"] == pytest.approx(2)
    assert "line" in values["alignment_note"]
    assert values["alignment_note"] in summary_table(report)


def test_a_camera_that_does_not_move_is_reported(truth):
    poses = truth.world_from_camera.copy()
    poses[:, :3, 3] = 1.0
    report = recorded(Trajectory(truth.stamps_ns, poses), 60 * "t").report()
    values = values_of(report)
    assert values["ate_rmse"] == pytest.approx(0, abs=1e-9)
    assert values["scale"] is None
    assert values["ate_percent"] is None
    assert "scale unknown" in summary_table(report)
    assert "nan" not in summary_table(report)


def test_an_empty_run_is_reported(tmp_path):
    report = RunRecorder("office", "sift").report(interrupted=True)
    assert values_of(report)["frames"] == 0
    assert "interrupted" in summary_table(report)
    write_report(report, tmp_path)


def test_the_table_names_what_was_measured(truth):
    report = recorded(truth, "iiii" + 20 * "t" + 5 * "l" + 31 * "t").report(dropped=7, interrupted=True)
    lines = dict(line.split("  ", 1) for line in summary_table(report).splitlines() if not line.startswith(" "))
    table = {name: value.strip() for name, value in lines.items()}
    assert table["frames"] == "60 (interrupted)"
    assert table["tracked"] == "51 (85.0 %)"
    assert table["lost"] == "5 (8.3 %): frames 24-28"
    assert table["dropped"] == "7"
    assert table["ATE RMSE"] == "0.0000 (0.00 % of the path)"
    assert "2 segments" in table["alignment"]
    assert table["time per frame"].startswith("11.0 ms")


def test_the_table_shows_the_first_lost_segments(truth):
    assert "frames 1, 3, 5, 7, 9, 11, 13, 15 and 22 more" in summary_table(recorded(truth, 30 * "tl").report())


def test_files_hold_the_run(truth, tmp_path):
    report = recorded(truth, "iiii" + 56 * "t").report()
    paths = {path.name: path for path in write_report(report, tmp_path / "new" / "folder")}
    estimate = read_tum(paths["trajectory.tum"])
    np.testing.assert_array_equal(estimate.stamps_ns, truth.stamps_ns[4:])
    np.testing.assert_allclose(estimate.positions, 0.5 * truth.positions[4:])
    np.testing.assert_allclose(read_tum(paths["ground_truth.tum"]).world_from_camera, truth.world_from_camera)
    assert json.loads(paths["report.json"].read_text())["tracked"] == 56
    image = cv2.imread(str(paths["trajectory.png"]))
    assert min(image.shape[:2]) > 500


def test_an_earlier_run_s_trajectory_is_not_left_behind(truth, tmp_path):
    write_report(recorded(truth, 60 * "t").report(), tmp_path)
    write_report(recorded(truth, 60 * "l", with_truth=False).report(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "trajectory.png"}


def test_the_plot_marks_what_was_lost(truth, tmp_path):
    write_report(recorded(truth, 60 * "t").report(), tmp_path / "good")
    write_report(recorded(truth, 30 * "t" + 15 * "l" + 15 * "t").report(), tmp_path / "gap")
    vermilion = np.array([0x00, 0x5E, 0xD5])  # BGR
    good, gap = (cv2.imread(str(tmp_path / name / "trajectory.png")) for name in ("good", "gap"))
    assert not (good == vermilion).all(axis=2).any()
    assert (gap == vermilion).all(axis=2).sum() > 200


def test_views_are_from_above_and_from_the_side():
    # An upright camera (y down) in a world whose z is up, driving along y.
    poses = np.tile(np.eye(4), (50, 1, 1))
    poses[:, :3, :3] = np.stack([[1, 0, 0], [0, 0, -1], [0, 1, 0]], axis=1)
    poses[:, :3, 3] = np.random.default_rng(0).normal(size=(50, 3)) * (0.5, 5.0, 2.0)
    along, across, up = view_axes(Trajectory(np.arange(50), poses))
    np.testing.assert_allclose(up, [0, 0, 1], atol=1e-12)
    assert abs(along[1]) > 0.99
    assert abs(along[2]) < 1e-9
    np.testing.assert_allclose(np.cross(along, across), up, atol=1e-12)


def test_records_are_checked():
    with pytest.raises(DataTypeError, match="one of initializing, tracking, lost, bridged, got 'TRACKING'"):
        FrameRecord(0, 0, "TRACKING", np.eye(4))
    with pytest.raises(DataTypeError, match="a pose comes with status 'tracking' and no other"):
        FrameRecord(0, 0, "lost", np.eye(4))
    with pytest.raises(DataTypeError, match="a pose comes with status 'tracking' and no other"):
        FrameRecord(0, 0, "tracking")


def test_a_wrong_alignment_is_refused_before_the_run():
    with pytest.raises(EvaluationError, match="alignment must be one of"):
        RunRecorder("office", "sift", alignment="sim")


def test_evaluation_and_plot_leave_no_traces(tmp_path):
    """evo's tools write settings and logs into the home folder and set matplotlib up for everyone; ours must not."""
    script = """
import logging, sys
import numpy as np
from ros_matching.evaluation.trajectory.run_report import FrameRecord, RunRecorder
from ros_matching.evaluation.trajectory.report_files import write_report
assert not {"evo", "matplotlib", "torch"} & set(sys.modules), "heavy imports before their use"
recorder = RunRecorder("office", "sift")
for i in range(9):
    pose = np.eye(4)
    pose[:3, 3] = i, i * i, i * i * i
    recorder.add_ground_truth(i, pose)
    recorder.add(FrameRecord(i, i, "tracking", pose))
report = recorder.report()
assert report.evaluation.ate_rmse < 1e-6
write_report(report, sys.argv[1])
assert not {"evo.tools", "matplotlib.pyplot", "seaborn"} & set(sys.modules)
assert not logging.getLogger().handlers
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    repository = Path(__file__).resolve().parents[3]
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        cwd=repository,
        env=environment | {"PYTHONPATH": os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert not (home / ".evo").exists()


def test_a_doubtful_calibration_is_a_warning_of_the_summary(make_truth):
    recorder = RunRecorder("office", "sift")
    for index in range(3):
        recorder.add(FrameRecord(index, index, "lost", calibration_doubt="the images do not fit" if index == 2 else ""))
    report = recorder.report()
    assert "the images do not fit" in summary_table(report)
    assert values_of(report)["calibration_doubt"] == "the images do not fit"

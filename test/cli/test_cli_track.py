from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

import ros_matching.evaluation.trajectory.run_plot
import ros_matching.io
import ros_matching.visual_odometry
from ros_matching.cli.main import main
from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import SourceError
from ros_matching.io import open_source
from ros_matching.io.calibration import UsedCalibration
from ros_matching.io.images import write_image
from ros_matching.io.text import write_lines
from ros_matching.io.trajectory import read_tum
from ros_matching.matching import DEFAULT
from ros_matching.odometry.result import TrackingCounts, TrackingResult, TrackingStatus

CAMERA = Camera(width=8, height=6, fx=8, fy=8, cx=3.5, cy=2.5)
WARM_UP = 5
SCALE = 0.25


@dataclass
class FakeSource:
    """Frames of a camera on a screw line; ``stop_at`` raises ``error`` in place of that frame."""

    count: int = 40
    with_truth: bool = True
    stop_at: int | None = None
    error: BaseException | None = None
    name = "corridor"
    camera = CAMERA
    calibration = UsedCalibration("K.txt", CAMERA)
    faults = ()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Frame]:
        image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
        for index in range(self.count):
            if index == self.stop_at:
                raise self.error
            pose = np.eye(4)
            pose[:3, 3] = np.cos(0.2 * index), np.sin(0.2 * index), 0.1 * index
            yield Frame(index, 10**9 + 10**8 * index, image, CAMERA, pose if self.with_truth else None)


class FakeOdometry:
    """Returns ground truth up to scale, after five frames, and is lost in the frames ``blind``."""

    blind: frozenset[int] = frozenset()
    config = None

    def __init__(self, matcher: object, config: object, scale: object, *, threaded: bool, imu: object) -> None:
        type(self).config = config

    def finish(self) -> tuple:
        return ()

    def close(self) -> None:
        pass

    def track(self, frame: Frame) -> TrackingResult:
        result = TrackingResult(frame.index, frame.stamp_ns, TrackingStatus.LOST, "0 of 15 inliers")
        if frame.index in self.blind:
            return result
        if frame.index < WARM_UP:
            return replace(result, status=TrackingStatus.INITIALIZING, reason="parallax 0.1 of 1.5 degrees")
        pose = np.eye(4)
        pose[:3, 3] = np.array([np.cos(0.2 * frame.index), np.sin(0.2 * frame.index), 0.1 * frame.index]) * SCALE
        return replace(
            result,
            status=TrackingStatus.TRACKING,
            reason="",
            world_from_camera=pose,
            counts=TrackingCounts(inliers=77),
            stage_ms={"extract": 1.5},
        )


@pytest.fixture
def track(monkeypatch, tmp_path) -> Callable[..., tuple[int, dict]]:
    """Run ``ros-matching track`` on a fake source, without plots, and return its exit code and report."""
    monkeypatch.setattr(ros_matching.evaluation.trajectory.run_plot, "plot_run", lambda report, path: path.touch())
    monkeypatch.setattr(ros_matching.visual_odometry, "VisualOdometry", FakeOdometry, raising=False)

    def run(source: FakeSource, *arguments: str, blind: range = range(0)) -> tuple[int, dict | None]:
        opened = []

        def open_source(spec: str, **options: object) -> FakeSource:
            opened.append((spec, options))
            return source

        monkeypatch.setattr(ros_matching.io, "open_source", open_source, raising=False)
        monkeypatch.setattr(FakeOdometry, "blind", frozenset(blind))
        code = main(["track", "some/source", "--out", str(tmp_path / "out"), *arguments])
        run.opened = opened
        path = tmp_path / "out" / "report.json"
        return code, json.loads(path.read_text()) if path.exists() else None

    return run


def test_the_former_name_of_an_option_still_works_with_a_warning(track, capsys):
    assert track(FakeSource(), "--backend", "sift")[0] == 0
    assert "use --matcher" in capsys.readouterr().err


def test_a_run_is_tracked_reported_and_written(track, tmp_path, capsys):
    code, report = track(FakeSource(), blind=range(20, 24))
    assert code == 0
    assert report["source"] == "corridor"
    assert report["matcher"] == DEFAULT
    assert (report["frames"], report["tracked"], report["initializing"], report["lost"]) == (40, 31, 5, 4)
    assert report["lost_ranges"] == [[20, 23]]
    assert report["scale"] == pytest.approx(1 / SCALE)
    assert report["ate_rmse"] == pytest.approx(0, abs=1e-9)
    assert report["ms_per_frame"] > 0
    assert report["stage_ms"] == {"extract": pytest.approx(1.5 * 31 / 40)}
    assert len(read_tum(tmp_path / "out" / "trajectory.tum")) == 31
    assert (tmp_path / "out" / "trajectory.png").exists()
    captured = capsys.readouterr()
    assert "frames 20-23" in captured.out
    assert "ATE RMSE" in captured.out


def test_a_terminal_gets_a_progress_bar_with_the_state(track, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    track(FakeSource())
    progress = capsys.readouterr().err
    assert "corridor: 100%" in progress
    assert "tracking, 77 inliers" in progress


def test_a_log_file_gets_none(track, capsys):
    track(FakeSource())
    assert capsys.readouterr().err == ""


def test_the_part_of_the_source_is_passed_on(track):
    track(FakeSource(), "--start", "10", "--stop", "90", "--stride", "2")
    assert track.opened == [("some/source", {"start": 10, "stop": 90, "stride": 2})]


def test_quiet_prints_nothing(track, capsys):
    code, report = track(FakeSource(), "--quiet")
    assert code == 0
    assert report["tracked"] == 35
    assert capsys.readouterr() == ("", "")


def test_without_ground_truth_there_are_no_errors_to_report(track, capsys):
    code, report = track(FakeSource(with_truth=False))
    assert code == 0
    assert report["tracked"] == 35
    assert report["ate_rmse"] is None
    assert "not evaluated: no ground truth" in capsys.readouterr().out


def test_a_source_that_is_never_tracked_exits_with_1_and_the_reason(track, capsys):
    code, report = track(FakeSource(), blind=range(40))
    assert code == 1
    assert report["lost"] == 40
    assert "no frame was tracked; at the end: 0 of 15 inliers" in capsys.readouterr().err


def test_an_empty_source_exits_with_1(track, capsys):
    code, report = track(FakeSource(count=0))
    assert code == 1
    assert report["frames"] == 0
    assert "the source has no frames" in capsys.readouterr().err


def test_ctrl_c_writes_what_was_done(track, capsys):
    code, report = track(FakeSource(stop_at=21, error=KeyboardInterrupt()))
    assert code == 130
    assert report["interrupted"] is True
    assert (report["frames"], report["tracked"]) == (21, 16)
    assert "21 (interrupted)" in capsys.readouterr().out


def test_a_source_that_breaks_off_writes_what_was_done(track, capsys):
    code, report = track(FakeSource(stop_at=21, error=SourceError("image 21 is truncated")))
    assert code == 2
    assert report["frames"] == 21
    assert "ros-matching track: image 21 is truncated" in capsys.readouterr().err


def test_a_source_that_fails_at_once_writes_nothing(track):
    code, report = track(FakeSource(stop_at=0, error=SourceError("image 0 is truncated")))
    assert code == 2
    assert report is None


def test_settings_reach_the_tracker(track):
    track(FakeSource(), "--set", "tracking.min_inliers=33", "--set", "tracking.reprojection_px=2")
    assert FakeOdometry.config.min_inliers == 33
    assert FakeOdometry.config.reprojection_px == 2.0


def test_a_wrong_setting_is_refused_before_anything_is_opened(track, capsys):
    code, report = track(FakeSource(), "--set", "tracking.min_inlier=33")
    assert code == 2
    assert report is None
    assert track.opened == []
    assert "has no setting min_inlier; it has:" in capsys.readouterr().err


def test_a_device_that_a_matcher_cannot_use_is_refused(track, capsys):
    code, _ = track(FakeSource(), "--device", "tpu")
    assert code == 2
    assert "tpu" in capsys.readouterr().err


def test_alignment_is_the_users_choice(track):
    _, report = track(FakeSource(), "--alignment", "se3")
    assert report["alignment"] == "se3"
    assert report["scale"] == 1
    assert report["ate_rmse"] > 0.1


def test_results_go_to_a_folder_named_after_the_source(track, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ros_matching.io, "open_source", lambda spec, **_: FakeSource(), raising=False)
    track(FakeSource())
    assert main(["track", "some/source", "--quiet"]) == 0
    assert (tmp_path / "results" / "corridor" / "report.json").exists()


def test_a_rendered_sequence_is_tracked_end_to_end(tmp_path):
    """No fakes: the synthetic room at five frames a second, with SIFT, against the exact poses."""
    assert main(["track", "scene:room?seed=1&frames=24&fps=5", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["frames"] == 24
    assert report["lost"] == 0
    assert report["tracked"] >= 15
    assert report["evaluated_poses"] == report["tracked"]
    assert report["ate_percent"] < 1
    assert report["rpe_rot_deg"] < 0.2
    assert 0.5 * report["ms_per_frame"] < sum(report["stage_ms"].values()) <= report["ms_per_frame"]
    assert len(read_tum(tmp_path / "trajectory.tum")) == report["tracked"]
    assert (tmp_path / "trajectory.png").stat().st_size > 20_000


def test_faulty_frames_are_skipped_and_reported(tmp_path, capsys):
    """The same room as a folder in which two images are damaged, one is of another size and two stamps are wrong."""
    folder, faulty = tmp_path / "room", (3, 9, 12, 15, 17)
    frames = list(open_source("scene:room?seed=1&frames=24&fps=5"))
    for frame in frames:
        write_image(folder / "images" / f"{frame.index:04d}.png", frame.image)
    (folder / "images" / "0003.png").write_bytes(b"")
    damaged = (folder / "images" / "0009.png").read_bytes()
    (folder / "images" / "0009.png").write_bytes(damaged[: len(damaged) // 2])
    write_image(folder / "images" / "0012.png", frames[12].image[::2, ::2])
    stamps = [frame.stamp_ns / 1e9 for frame in frames]
    stamps[15], stamps[17] = stamps[14], 4e9
    write_lines(folder / "times.txt", map(str, stamps))
    write_lines(folder / "K.txt", (" ".join(map(str, row)) for row in frames[0].camera.matrix))
    poses = [frame.true_world_from_camera.ravel() for frame in frames]
    write_lines(folder / "poses.txt", (" ".join(map(str, pose)) for pose in poses))
    assert main(["track", str(folder), "--matcher", "sift", "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["faults"]["skipped"] == len(faulty)
    assert tuple(fault["frame"] for fault in report["faults"]["first"]) == faulty
    assert report["frames"] == 24 - len(faulty)
    assert report["lost"] == 0
    assert report["ate_percent"] < 1
    assert "5 skipped (" in capsys.readouterr().out

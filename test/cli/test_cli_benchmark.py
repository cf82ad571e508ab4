"""ros-matching benchmark: real processes; what they run is our own tracker on a small rendered sequence."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

import ros_matching.evaluation.benchmark.benchmark_report
import ros_matching.evaluation.trajectory.run_plot
import ros_matching.io
from ros_matching.atlas.config import TrackingConfig
from ros_matching.cli.benchmark_runner import BenchmarkRunner, MatcherProcess, MatcherSpec
from ros_matching.cli.main import main
from ros_matching.datatypes import Camera
from ros_matching.io import open_source
from ros_matching.io.calibration import UsedCalibration

FRAMES = 14


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """A rendered sequence as a folder, so that it is rendered once only."""
    folder = tmp_path_factory.mktemp("recordings") / "room"
    (folder / "images").mkdir(parents=True)
    source = open_source(f"scene:room?seed=1&frames={FRAMES}&fps=5&width=240&height=180")
    for frame in source:
        cv2.imwrite(str(folder / "images" / f"{frame.index:04d}.png"), frame.image[..., ::-1])
    np.savetxt(folder / "K.txt", source.camera.matrix)
    np.savetxt(folder / "poses.txt", [frame.true_world_from_camera.ravel() for frame in source])
    return folder


@pytest.fixture(autouse=True)
def _nothing_is_drawn(monkeypatch) -> None:
    monkeypatch.setattr(ros_matching.evaluation.trajectory.run_plot, "plot_run", lambda report, path: path.touch())
    monkeypatch.setattr(
        ros_matching.evaluation.benchmark.benchmark_report, "plot_sequence", lambda sequence_runs, path: path.touch()
    )


def benchmark(*arguments: str | Path) -> int:
    return main(["benchmark", *map(str, arguments), "--quiet"])


def details(out: Path) -> list[dict]:
    return json.loads((out / "benchmark.json").read_text())["details"]


def test_a_matcher_runs_as_it_tracks_alone_and_a_failure_has_its_reason(recording, tmp_path, capsys):
    broken = f"posfeat={tmp_path / 'lost.safetensors'}"
    command = [recording, "--matcher", "sift", "--matcher", broken, "--out", tmp_path / "runner"]
    assert main(["benchmark", *map(str, command)]) == 0
    assert f"{broken}, on room: cannot read" in capsys.readouterr().out
    assert main(["track", str(recording), "--matcher", "sift", "--quiet", "--out", str(tmp_path / "alone")]) == 0
    sift, other = details(tmp_path / "runner")
    alone = json.loads((tmp_path / "alone" / "report.json").read_text())
    for key in ("frames", "tracked", "lost", "maps", "ate_rmse", "rpe_trans", "rpe_rot_deg", "scale"):
        assert sift[key] == alone[key]
    assert alone["tracked"] >= FRAMES // 2
    run, tracked = (tmp_path / folder / "trajectory.tum" for folder in ("runner/room/sift", "alone"))
    assert run.read_text() == tracked.read_text()
    assert 20 < sift["peak_mb"] < 1000
    assert other["frames"] == 0


def test_slam_has_the_trajectory_in_its_map(recording, tmp_path):
    assert benchmark(recording, "--matcher", "sift", "--slam", "--out", tmp_path / "runner") == 0
    assert main(["slam", str(recording), "--matcher", "sift", "--quiet", "--out", str(tmp_path / "alone")]) == 0
    [run] = details(tmp_path / "runner")
    alone = json.loads((tmp_path / "alone" / "report.json").read_text())
    tables = json.loads((tmp_path / "runner" / "benchmark.json").read_text())["tables"]
    assert [row["matcher"] for row in tables[0]["rows"]] == ["sift, SLAM"]
    assert run["tracked"] >= FRAMES // 2
    for key in ("tracked", "ate_rmse", "rpe_trans"):
        assert run[key] == alone[key]
    [trajectory] = (tmp_path / "runner").rglob("trajectory.tum")
    assert trajectory.read_text() == (tmp_path / "alone" / "trajectory.tum").read_text()


def test_strides_are_sequences_of_their_own_and_a_repeat_begins_a_frame_later(recording, tmp_path):
    arguments = ["--stride", "1", "--stride", "3", "--repeat", "2", "--matcher", "sift", "--out", tmp_path]
    assert benchmark(recording, *arguments) == 0
    runs = details(tmp_path)
    assert [(run["sequence"], run["frames"]) for run in runs] == [
        ("room", 14), ("room", 13), ("room, every 3rd", 5), ("room, every 3rd", 5),
    ]  # fmt: skip
    rows = json.loads((tmp_path / "benchmark.json").read_text())["tables"][0]["rows"]
    assert [row["sequence"] for row in rows] == ["room", "room, every 3rd"]


def test_no_tracked_frame_is_exit_code_1(recording, tmp_path):
    assert benchmark(recording, "--stop", 1, "--matcher", "sift", "--out", tmp_path) == 1
    [run] = details(tmp_path)
    assert (run["frames"], run["tracked"]) == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeat", "0"], "--repeat must be at least 1, got 0"),
        (["--set", "tracking.min_inlier=3"], "has no setting min_inlier"),
    ],
)
def test_invalid_options_are_refused_at_once(recording, tmp_path, capsys, arguments, message):
    assert benchmark(recording, *arguments, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_matcher_is_refused_at_once(recording, capsys):
    with pytest.raises(SystemExit) as exit_info:
        benchmark(recording, "--matcher", "pigeon")
    assert exit_info.value.code == 2
    assert "pigeon" in capsys.readouterr().err


def test_two_sources_of_one_name_are_refused(recording, tmp_path, capsys):
    assert benchmark(recording, recording, "--out", tmp_path / "out") == 2
    assert "'room'" in capsys.readouterr().err


def test_a_killed_matcher_leaves_the_others_running(recording, tmp_path):
    """Killed during the run, as by a lack of memory."""
    matchers = [MatcherSpec("sift"), MatcherSpec("orb")]

    class Frames(list):
        faults = ()
        name = "room"
        calibration = UsedCalibration("K.txt", Camera(64, 48, 60.0, 60.0, 31.5, 23.5))

        def __iter__(self):
            for frame in super().__iter__():
                if frame.index == 4:
                    os.kill(runner._processes[0]._process.pid, signal.SIGKILL)
                yield frame

    class Bar:
        def update(self) -> None: ...

    with BenchmarkRunner("room", matchers, TrackingConfig()) as runner:
        runner.run(Frames(open_source(str(recording))), Bar())
        sequence_runs = runner.result()
    sift, orb = sequence_runs.runs
    assert sift.failure == "its process ended with exit code -9"
    assert len(sift.report.records) == 4
    assert orb.failure == ""
    assert len(orb.report.records) == FRAMES


def test_a_closed_matcher_process_has_ended(recording):
    process = MatcherProcess(MatcherSpec("sift"), TrackingConfig())
    process.wait_until_ready()
    assert process.label == "sift"
    process.close()
    assert process._process.exitcode == 0


def test_ctrl_c_writes_the_results_and_leaves_no_process(recording, tmp_path, capsys, monkeypatch):
    class Frames(list):
        faults = ()
        name = "room"
        calibration = UsedCalibration("K.txt", Camera(64, 48, 60.0, 60.0, 31.5, 23.5))

        def __iter__(self):
            yield from self[:6]
            raise KeyboardInterrupt

    frames = Frames(open_source(str(recording)))
    monkeypatch.setattr(ros_matching.io, "open_source", lambda spec, **selection: frames)
    assert main(["benchmark", "room", "--matcher", "sift", "--out", str(tmp_path)]) == 130
    [run] = details(tmp_path)
    assert run["interrupted"]
    assert run["frames"] == 6
    assert "Accuracy" in capsys.readouterr().out
    assert multiprocessing.active_children() == []

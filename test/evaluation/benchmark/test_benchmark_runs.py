from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ros_matching.datatypes import Camera
from ros_matching.evaluation.benchmark.benchmark_report import benchmark_measurement, write_benchmark
from ros_matching.evaluation.benchmark.benchmark_runs import BenchmarkRun, SequenceRuns, benchmark_rows, losses
from ros_matching.evaluation.trajectory.run_report import FrameRecord, RunRecorder
from ros_matching.io.calibration import UsedCalibration
from ros_matching.io.trajectory import Trajectory

NAMES = {"i": "initializing", "t": "tracking", "l": "lost"}
SETTINGS = {"alignment": "sim3"}


def ran(
    truth: Trajectory,
    matcher: str,
    statuses: str,
    *,
    error: float = 0.0,
    scale: float = 0.5,
    seed: int = 0,
    with_truth: bool = True,
    **more: object,
) -> BenchmarkRun:
    """A run with one letter a frame: i(nitializing), t(racking) or l(ost), and noise of that size on the poses."""
    noise = error * np.random.default_rng(seed).normal(size=(len(truth), 3))
    recorder = RunRecorder("office", matcher)
    for index, letter in enumerate(statuses):
        stamp_ns, pose = int(truth.stamps_ns[index]), truth.world_from_camera[index].copy()
        if with_truth:
            recorder.add_ground_truth(stamp_ns, truth.world_from_camera[index])
        pose[:3, 3] = scale * (pose[:3, 3] + noise[index])
        pose[:3, :3] = Rotation.from_rotvec(noise[index]).as_matrix() @ pose[:3, :3]
        world_from_camera = pose if letter == "t" else None
        times = {"latency_ms": 10.0 + index, "stage_ms": {"extract": 6.0, "match": 2.0}, "maps": 1 if index > 2 else 0}
        recorder.add(FrameRecord(index, stamp_ns, NAMES[letter], world_from_camera, **times))
    return BenchmarkRun(matcher, recorder.report(), **more)


def row_of(rows: list[dict], matcher: str) -> dict:
    [row] = [row for row in rows if row["matcher"] == matcher]
    return row


def test_each_matcher_has_its_figures(truth):
    sequence_runs = SequenceRuns(
        "office", 60, (ran(truth, "a", "ii" + 56 * "t" + "ll", peak_mb=321.0), ran(truth, "b", 60 * "t"))
    )
    row = row_of(benchmark_rows([sequence_runs]), "a")
    assert row["tracked"] == pytest.approx(56 / 60)
    assert (row["frames"], row["lost"], row["maps"], row["peak_mb"]) == (60, 2, 1, 321)
    assert row["ate"] == pytest.approx(0, abs=1e-9)
    assert row["ms"] == pytest.approx(10 + 29.5)
    assert row["ms_p95"] == pytest.approx(np.percentile(np.arange(60) + 10, 95))
    assert row["stage_ms"] == {"extract": pytest.approx(6), "match": pytest.approx(2)}


def test_the_calibration_of_a_sequence_is_named_once(truth):
    used = UsedCalibration("K.txt", Camera(640, 480, 500.0, 500.0, 319.5, 239.5))
    runs = (ran(truth, matcher, 60 * "t") for matcher in "ab")
    runs = tuple(replace(run, report=replace(run.report, calibration=used)) for run in runs)
    measurement = benchmark_measurement([SequenceRuns("office", 60, runs)], SETTINGS)
    assert measurement.markdown().count("office, calibration K.txt: 640x480, fx 500.00") == 1
    assert measurement.details[0]["calibration"]["origin"] == "K.txt"


def test_errors_over_common_frames_do_not_reward_who_gave_up(truth):
    """The same noise, but far larger in the last third, where b has lost track: b is not the better one."""
    noisy = np.where(np.arange(60) >= 40, 0.3, 0.02)[:, None] * np.random.default_rng(3).normal(size=(60, 3))
    poses = truth.world_from_camera.copy()
    poses[:, :3, 3] += noisy
    estimate = Trajectory(truth.stamps_ns, poses)
    runs = []
    for matcher, statuses in (("a", 60 * "t"), ("b", 40 * "t" + 20 * "l"), ("c", 10 * "t" + 50 * "l")):
        recorder = RunRecorder("office", matcher)
        for index, letter in enumerate(statuses):
            recorder.add_ground_truth(int(truth.stamps_ns[index]), truth.world_from_camera[index])
            pose = estimate.world_from_camera[index] if letter == "t" else None
            recorder.add(FrameRecord(index, int(truth.stamps_ns[index]), NAMES[letter], pose))
        runs.append(BenchmarkRun(matcher, recorder.report()))
    sequence_runs = SequenceRuns("office", 60, tuple(runs))
    rows = benchmark_rows([sequence_runs])
    a, b, c = (row_of(rows, matcher) for matcher in "abc")
    assert a["ate"] > 3 * b["ate"]
    assert a["ate_common"] == pytest.approx(b["ate_common"]) == pytest.approx(b["ate"])
    np.testing.assert_array_equal(sequence_runs.common_stamps_ns, truth.stamps_ns[:40])  # c tracked too few to count
    assert np.isnan(c["ate_common"])


def test_losses_are_named_and_only_those_of_the_first(truth):
    sequence_runs = SequenceRuns(
        "office",
        60,
        (
            ran(truth, "ours", "iiii" + 56 * "t", error=0.05),
            ran(truth, "better", 60 * "t", error=0.01),
            ran(truth, "short", 20 * "t" + 40 * "l"),  # exact, but lost early
        ),
    )
    [line] = losses(benchmark_rows([sequence_runs]))
    assert line.startswith("office: ours")
    assert "fraction tracked (0.9333, better 1); ATE (" in line
    assert "short" not in line
    ahead = SequenceRuns(
        "office", 60, (ran(truth, "ours", 60 * "t", error=0.01), ran(truth, "other", 60 * "t", error=0.05))
    )
    assert losses(benchmark_rows([ahead])) == []


def test_repeats_are_summed_up_by_their_medians(truth):
    sequences = [
        SequenceRuns("office", 60, (ran(truth, "a", 60 * "t", error=error, seed=5),)) for error in (0.01, 0.02, 0.09)
    ]
    singles = [benchmark_rows([sequence_runs])[0]["ate"] for sequence_runs in sequences]
    [row] = benchmark_rows(sequences)
    assert row["ate"] == pytest.approx(singles[1])
    assert (row["ate_least"], row["ate_most"]) == (pytest.approx(min(singles)), pytest.approx(max(singles)))


def test_a_matcher_that_could_not_run_has_its_reason_below_the_table(truth, tmp_path):
    nothing = RunRecorder("office", "peer").report()
    sequence_runs = SequenceRuns(
        "office", 60, (ran(truth, "a", 60 * "t"), BenchmarkRun("peer", nothing, "needs torchvision"))
    )
    text = benchmark_measurement([sequence_runs], SETTINGS).markdown()
    [line] = [line for line in text.splitlines() if line.startswith("| office") and "peer" in line]
    assert [cell.strip() for cell in line.split("|")[3:-1] if cell.strip()] == ["60"]  # the frames, and no figure
    assert "peer, on office: needs torchvision" in text


def test_everything_is_written(truth, tmp_path):
    sequences = [
        SequenceRuns(name, 60, (ran(truth, "a", 60 * "t"), ran(truth, "b+c", "ii" + 58 * "t", error=0.02)))
        for name in ("office", "kitchen, every 3rd")
    ]
    written = write_benchmark(sequences, benchmark_measurement(sequences, SETTINGS), tmp_path)
    assert [path.name for path in written] == [
        "benchmark.md", "benchmark.json", "office.png", "kitchen_every_3rd.png",
    ]  # fmt: skip
    assert (tmp_path / "kitchen_every_3rd" / "b+c" / "trajectory.tum").exists()
    content = json.loads((tmp_path / "benchmark.json").read_text())
    assert [row["matcher"] for row in content["tables"][0]["rows"]] == ["a", "b+c"] * 2
    assert [detail["tracked"] for detail in content["details"]] == [60, 58] * 2
    assert min(cv2.imread(str(tmp_path / "office.png")).shape[:2]) > 500


def test_without_ground_truth_the_times_are_drawn_all_the_same(truth, tmp_path):
    sequence_runs = SequenceRuns("office", 60, (ran(truth, "a", 60 * "t", with_truth=False),))
    measurement = benchmark_measurement([sequence_runs], SETTINGS)
    assert "a, on office: no ground truth" in measurement.markdown()
    assert write_benchmark([sequence_runs], measurement, tmp_path)[-1].stat().st_size > 5000

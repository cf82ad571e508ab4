"""Two runs with random errors, and noisy ground truth."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.benchmark.benchmark_runs import BenchmarkRun, SequenceRuns
from ros_matching.evaluation.benchmark.covariance_table import covariance_table
from ros_matching.evaluation.trajectory.consistency import estimates_of, ground_truth_noise, run_consistency
from ros_matching.evaluation.trajectory.motion_agreement import agreement
from ros_matching.evaluation.trajectory.run_report import FrameRecord, RunRecorder
from ros_matching.geometry.se3 import invert, retract, scaled
from ros_matching.io.trajectory import Trajectory

SIGMAS = np.array([2e-3, 1e-3, 3e-3, 1e-3, 2e-3, 1e-3])


def run(truth: Trajectory, unit: float, seed: int, claimed: float = 1.0) -> list[FrameRecord]:
    """Motions with errors of ``SIGMAS`` in metres and radians, in a unit, with covariances of ``claimed`` times."""
    lengths = np.array([1 / unit] * 3 + [1.0] * 3)
    poses = truth.world_from_camera.copy()
    poses[:, :3, 3] /= unit
    motions = [None, *(invert(before) @ after for before, after in pairwise(poses))]
    rng, records = np.random.default_rng(seed), []
    for index, (pose, motion) in enumerate(zip(poses, motions, strict=True)):
        covariance = np.diag((SIGMAS * lengths) ** 2)
        measured = None if motion is None else retract(motion, rng.normal(size=6) * SIGMAS * lengths)
        records.append(
            FrameRecord(
                index,
                int(truth.stamps_ns[index]),
                "tracking",
                pose,
                map_id=1,
                covariance=claimed**2 * covariance,
                previous_from_current=measured,
                relative_covariance=None if motion is None else claimed**2 * covariance,
            )
        )
    return records


def shaken(truth: Trajectory, translation: float, rotation_deg: float) -> Trajectory:
    """Ground truth of a sensor, with noise on each pose."""
    rng = np.random.default_rng(9)
    noise = rng.normal(size=(len(truth), 6)) * ([translation] * 3 + [np.radians(rotation_deg)] * 3)
    poses = [retract(pose, step) for pose, step in zip(truth.world_from_camera, noise, strict=True)]
    return Trajectory(truth.stamps_ns, np.stack(poses))


def test_consistent_runs_differ_according_to_both_covariances_for_any_scale(make_truth):
    truth = make_truth(400)
    found = agreement(run(truth, 0.4, 1), run(truth, 3.0, 2))
    assert (found.count, found.freedom) == (399, 6)
    assert found.mean_nees == pytest.approx(6, rel=0.1)
    assert found.is_consistent
    boasting = agreement(run(truth, 0.4, 1, claimed=0.5), run(truth, 3.0, 2, claimed=0.5))
    assert boasting.mean_nees == pytest.approx(24, rel=0.1)


def test_runs_that_share_too_little_are_refused(make_truth):
    truth = make_truth(40)
    a, b = run(truth, 1.0, 1), run(truth, 1.0, 2)
    with pytest.raises(EvaluationError, match="needs errors, got none"):
        agreement(a[:20], b[20:])


def test_the_noise_of_the_ground_truth_is_part_of_the_comparison(make_truth):
    truth = make_truth(400)
    sensor = shaken(truth, 0.008, 0.3)
    for unit in (0.4, 3.0):
        found = ground_truth_noise(estimates_of(run(truth, unit, 1), sensor))
        assert found.translation == pytest.approx(0.008, rel=0.15)
        assert found.rotation_deg == pytest.approx(0.3, rel=0.15)
        assert run_consistency(run(truth, unit, 1), sensor)["relative"].mean_nees == pytest.approx(6, rel=0.15)


def test_exact_ground_truth_has_no_noise(make_truth):
    truth = make_truth(400)
    found = ground_truth_noise(estimates_of(run(truth, 1.0, 1), truth))
    assert found.translation < 3e-4
    assert found.rotation_deg < 0.02


def test_errors_of_the_tracker_are_not_noise_of_the_ground_truth(make_truth):
    """Neither a motion that is 3 % too long nor random errors of an optimistic tracker are put down to the truth."""
    truth = make_truth(400)
    records = run(truth, 1.0, 1, claimed=0.2)
    longer = [
        record
        if record.previous_from_current is None
        else replace(record, previous_from_current=scaled(record.previous_from_current, 1.03))
        for record in records
    ]
    assert run_consistency(longer, truth)["relative"].mean_nees > 100
    assert ground_truth_noise(estimates_of(longer, truth)).translation < 5e-4


def backend_run(name: str, records: list[FrameRecord], truth: Trajectory | None) -> BenchmarkRun:
    recorder = RunRecorder("office", name)
    for record in records:
        recorder.add(record)
    if truth is not None:
        for stamp_ns, pose in zip(truth.stamps_ns.tolist(), truth.world_from_camera, strict=True):
            recorder.add_ground_truth(stamp_ns, pose)
    return BenchmarkRun(name, recorder.report())


def test_a_benchmark_compares_covariances_with_errors(make_truth):
    truth = make_truth(200)
    sensor = shaken(truth, 0.008, 0.3)
    runs = backend_run("a", run(truth, 0.4, 1), sensor), backend_run("b", run(truth, 3.0, 2), sensor)
    rows = covariance_table([SequenceRuns("office", 200, runs)]).rows
    table = {(row["matcher"], row["against"]): row for row in rows}
    for key in (("a", "b"), ("a", "ground truth"), ("b", "ground truth")):
        assert table[key]["nees"] == pytest.approx(6, rel=0.25)
    assert table["a", "ground truth"]["noise"] == pytest.approx(0.008, rel=0.2)
    assert len(rows) == 3


def test_without_ground_truth_matchers_are_still_compared_with_each_other(make_truth):
    truth = make_truth(100)
    runs = backend_run("a", run(truth, 0.4, 1), None), backend_run("b", run(truth, 3.0, 2), None)
    [row] = covariance_table([SequenceRuns("office", 100, runs)]).rows
    assert (row["matcher"], row["against"]) == ("a", "b")
    assert covariance_table([SequenceRuns("office", 100, runs[:1])]) is None

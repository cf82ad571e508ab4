"""``ros-matching batch`` as a user runs it: results, resume, failures, and workers that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ros_matching.cli.main import main

pytest.importorskip("distributed", reason="needs the extra batch")
REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = [f"scene:room?frames={count}&width=96&height=72" for count in (3, 4, 5, 6)]


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-m", "ros_matching.cli.main", "batch", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers_of(batch: subprocess.Popen[str]) -> set[int]:
    """The processes that started a job which runs now."""
    import psutil

    try:
        processes = psutil.Process(batch.pid).children(recursive=True)
        return {process.ppid() for process in processes if "ros_matching.batch.supervised" in process.cmdline()}
    except psutil.Error:  # one has just ended
        return set()


def test_every_result_is_there_once_although_workers_are_killed(tmp_path: Path) -> None:
    batch = start(*SOURCES, "--out", str(tmp_path), "--workers", "2", "--memory", "0", "--", "--matcher", "sift")
    killed: set[int] = set()
    deadline = time.monotonic() + 200
    while len(killed) < 3 and batch.poll() is None and time.monotonic() < deadline:
        for pid in sorted(workers_of(batch) - killed)[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        time.sleep(0.05)
    output, _ = batch.communicate(timeout=200)
    assert len(killed) == 3, output
    assert batch.returncode in (0, 1), output  # 1 if no frame of so short a sequence was tracked
    summary = json.loads((tmp_path / "batch.json").read_text())
    rows = summary["tables"][1]["rows"]
    assert sorted(row["source"] for row in rows) == SOURCES
    assert all(row["status"] in ("done", "empty") for row in rows), output
    for row, count in zip(rows, (3, 4, 5, 6), strict=True):
        folder = tmp_path / "results" / row["name"]
        assert json.loads((folder / "report.json").read_text())["frames"] == count
        assert json.loads((folder / "job.json").read_text())["source"] == row["source"]
    assert len(list((tmp_path / "results").iterdir())) == len(SOURCES)
    assert not (tmp_path / "running").exists()


def test_a_batch_continues_and_a_failure_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "no_images"
    images.mkdir()
    out = tmp_path / "out"
    command = [str(images), SOURCES[3], "--out", str(out), "--workers", "1", "--retries", "0"]
    assert main(["batch", *command, "--", "--matcher", "orb"]) == 1
    captured = capsys.readouterr()
    assert "1 of 2 recordings failed: no_images" in captured.err
    assert "| no_images" in captured.out
    assert (out / "failed" / "no_images" / "log.txt").is_file()
    [done] = (out / "results").iterdir()
    before = (done / "job.json").stat().st_mtime_ns
    assert main(["batch", *command, "--", "--matcher", "orb"]) == 1
    assert "1 recordings, 1 at once, 1 done before" in capsys.readouterr().out
    assert (done / "job.json").stat().st_mtime_ns == before
    assert main(["batch", *command, "--", "--matcher", "sift"]) == 2
    assert "another command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "0"], "--threads must be at least 1"),
        (["--", "--out", "x"], "leave --out out"),
        (["--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers"),
        (["--memory", "1e9"], "exceeds this machine's"),
    ],
)
def test_wrong_arguments_are_reported_before_a_job_starts(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ros_matching.batch.engine._WAIT_FOR_WORKERS_S", 1.0)
    assert main(["batch", "scene:room", "--out", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_wrong_option_of_the_command_is_its_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["batch", "scene:room", "--out", str(tmp_path), "--", "--no-such-option"])
    assert "--no-such-option" in capsys.readouterr().err


def test_jobs_run_on_a_scheduler_that_runs_already_by_the_size_of_its_workers(tmp_path: Path) -> None:
    from distributed import LocalCluster

    from ros_matching.batch.engine import ClusterOptions, Engine
    from ros_matching.batch.job_process import JobLimits

    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=8,
            processes=False,
            protocol="tcp://",
            dashboard_address=None,
            host="127.0.0.1",
            resources={"THREADS": 6, "MEMORY": 5e9},
        ) as cluster,
        Engine(ClusterOptions(cluster.scheduler_address), JobLimits(threads=2, memory_mb=2000)) as engine,
    ):
        assert engine.workers == 2  # by memory; three by threads

"""A job is a process of its own: limits, crashes, and the end of its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="needs the extra batch")
from ros_matching.batch import job_process
from ros_matching.batch.job_process import JobLimits, run_job
from ros_matching.batch.job_store import DONE, EMPTY, FAILURE, Job, JobStore
from ros_matching.batch.supervised import ABANDONED

# Stands for the command line: its first argument is a piece of code, `out` the folder of the results.
PROGRAM = "import sys, pathlib; out = pathlib.Path(sys.argv[2]); exec(sys.argv[1])"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A job without arguments, in a batch that runs; jobs run the code of their first argument."""
    (tmp_path / "stand_in.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(job_process, "_PROGRAM", "stand_in")
    store = JobStore(tmp_path / "batch")
    with store.opened() as token:
        yield Job("one", "source", (), str(store.folder), token)


def running(job: Job, code: str) -> Job:
    return replace(job, arguments=(code, "{out}"))


def test_the_result_and_the_environment_of_a_job(job: Job) -> None:
    code = "import os; (out / 'threads').write_text(os.environ['OMP_NUM_THREADS']); print('hello')"
    outcome = run_job(running(job, code), JobLimits(threads=3))
    folder = Path(job.folder) / "results" / "one"
    assert outcome.status == DONE, outcome.reason
    assert (folder / "threads").read_text() == "3"
    assert (folder / "log.txt").read_text() == "hello\n"


def test_a_job_runs_once(job: Job) -> None:
    job = running(job, f"open({job.folder!r} + '/count', 'a').write('x')")
    assert run_job(job, JobLimits()) == run_job(job, JobLimits(), attempt=2)
    assert (Path(job.folder) / "count").read_text() == "x"


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("sys.exit(1)", EMPTY, "exit code 1"),
        ("sys.exit('ros-matching track: no images in /data')", EMPTY, "no images in /data"),
        ("print('ros-matching track: no images in /data'); sys.exit(2)", FAILURE, "no images in /data"),
        ("import os; os.kill(os.getpid(), 11)", FAILURE, "SIGSEGV"),
        ("1 / 0", EMPTY, "ZeroDivisionError"),
    ],
)
def test_the_end_of_a_process_is_a_status_with_its_reason(job: Job, code: str, status: str, reason: str) -> None:
    outcome = run_job(running(job, code), JobLimits())
    assert outcome.status == status
    assert reason in outcome.reason


def test_too_much_memory_and_time_end_a_job(job: Job) -> None:
    greedy = run_job(running(job, "import time; x = b'x' * 300_000_000; time.sleep(60)"), JobLimits(memory_mb=200))
    assert (greedy.status, greedy.wall_s < 30) == (FAILURE, True)
    assert "--memory" in greedy.reason
    slow = run_job(running(job, "import time; time.sleep(60)"), JobLimits(timeout_s=0.5))
    assert (slow.status, slow.wall_s < 30) == (FAILURE, True)
    assert "--timeout" in slow.reason


def test_a_job_ends_when_its_batch_is_stopped(job: Job) -> None:
    code = f"import time; open({job.folder!r} + '/.batch', 'w').write('another'); time.sleep(60)"
    outcome = run_job(running(job, code), JobLimits())
    assert outcome.wall_s < 30
    assert "stopped" in outcome.reason


def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time; print('up', flush=True); time.sleep(60)")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    starter = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'ros_matching.batch.supervised', 'sleeper'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", starter], env=environment, stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Return True unless the process has ended, if nobody has waited for it too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_exit_code_of_an_abandoned_process_is_no_result() -> None:
    assert ABANDONED not in (0, 1, 2)

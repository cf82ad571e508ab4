"""One job in a process of its own, on the machine of a worker: memory and time are limited, and its end is a status.

A crash, an endless loop or too much memory of one recording reaches neither the worker nor another job.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ros_matching.batch.job_store import (
    DONE,
    EMPTY,
    FAILURE,
    LOG_FILE,
    Job,
    JobOutcome,
    JobStore,
    new_outcome,
    worker_name,
)

_PROGRAM = "ros_matching.cli.main"
_CHECK_S = 0.5
_GRACE_S = 10.0  # from Ctrl-C, which writes the results so far, to a kill
_NO_RESULT = 1  # exit code of a command that ran and found nothing
_LAST_LINES = 3


@dataclass(frozen=True)
class JobLimits:
    """Limits of a job; 0 is unlimited."""

    threads: int = 1
    memory_mb: float = 0.0
    timeout_s: float = 0.0


def run_job(job: Job, limits: JobLimits, attempt: int = 1) -> JobOutcome:
    """Run a job and publish its result; return the outcome. Never raises for what the job does."""
    store = JobStore(job.folder)
    earlier = store.outcome(job.name)
    if earlier is not None:  # of a worker that ended between its result and its answer
        return earlier
    try:
        folder = store.start_attempt(job)
        outcome = _supervise(job, limits, store, folder)
        return store.publish(folder, replace(outcome, attempt=attempt))
    except Exception as error:  # such as a full disk; the other jobs go on
        return new_outcome(job, FAILURE, f"{type(error).__name__}: {error}", attempt=attempt, host=socket.gethostname())


def _supervise(job: Job, limits: JobLimits, store: JobStore, folder: Path) -> JobOutcome:
    started_s = time.time()
    with (folder / LOG_FILE).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ros_matching.batch.supervised", _PROGRAM, *job.arguments_in(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(limits.threads),
            cwd=job.working_dir if os.path.isdir(job.working_dir) else None,
            start_new_session=True,  # Ctrl-C in a terminal is for the batch
        )
    usage = _Usage(process.pid)
    reason = ""
    while not _has_ended(process):
        usage.update()
        reason = _violation(usage, limits, time.time() - started_s)
        if not reason and not store.is_current(job.token):
            reason = "the batch was stopped"
        if reason:
            _end(process)
    process.stdin.close()
    code = process.returncode
    status = {0: DONE, _NO_RESULT: EMPTY}.get(code, FAILURE)
    if reason:
        status = FAILURE
    elif status != DONE:
        reason = _failure_reason(code, folder / LOG_FILE)
    return new_outcome(
        job,
        status,
        reason,
        exit_code=code,
        host=socket.gethostname(),
        worker=worker_name(),
        started_s=started_s,
        ended_s=time.time(),
        cpu_s=usage.cpu_s,
        peak_mb=usage.peak_mb,
    )


def _has_ended(process: subprocess.Popen) -> bool:
    """Wait a moment for the end of a process."""
    try:
        process.wait(_CHECK_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _environment(threads: int) -> dict[str, str]:
    """Return the environment of a job: its number of threads, and modules as this process finds them."""
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    return os.environ | counts | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}


def _violation(usage: _Usage, limits: JobLimits, wall_s: float) -> str:
    if limits.memory_mb and usage.mb > limits.memory_mb:
        return f"it took {usage.mb:.0f} MB, and the limit is {limits.memory_mb:.0f} MB (--memory)"
    if limits.timeout_s and wall_s > limits.timeout_s:
        return f"it took longer than {limits.timeout_s / 60:g} minutes (--timeout)"
    return ""


def _end(process: subprocess.Popen) -> None:
    """End a process: first by Ctrl-C, on which a command writes what it has."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _failure_reason(code: int, log: Path) -> str:
    """Return the error message of a command, or the last lines of its log, and the signal that ended it."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4000))
        lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    messages = [line.partition(": ")[2] for line in lines if line.startswith("ros-matching ")]
    end = f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return " | ".join([end, *(messages[-1:] or lines[-_LAST_LINES:])])


class _Usage:
    """Memory and processor time of a process with its children, by samples."""

    def __init__(self, pid: int) -> None:
        import psutil  # comes with distributed

        self._psutil = psutil
        self._process = psutil.Process(pid)
        self.mb = self.peak_mb = self.cpu_s = 0.0

    def update(self) -> None:
        """Take a sample; the last one stays if the process has ended."""
        try:
            processes = [self._process, *self._process.children(recursive=True)]
            self.mb = sum(process.memory_info().rss for process in processes) / 1e6
            times = self._process.cpu_times()
            self.cpu_s = sum(times[:4])  # user and system, of ended children too
        except self._psutil.Error:
            return
        self.peak_mb = max(self.peak_mb, self.mb)

"""Files of a batch: every job publishes its result once, and a batch that was stopped continues where it ended.

    DIR/results/NAME/   files of the command, job.json and log.txt
    DIR/failed/NAME/    the same of the last attempt of a job that failed
    DIR/running/        attempts that are running now

An attempt writes into a folder of its own, which is renamed when it ends. Renaming fails if there is a result already,
so that of two attempts of a job (a worker that was believed dead) only one counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ros_matching.atomic_file import write_atomic
from ros_matching.errors import ConfigError, SourceError

RESULTS, FAILED, RUNNING = "results", "failed", "running"
OUTCOME_FILE, LOG_FILE = "job.json", "log.txt"
DONE, EMPTY, FAILURE = STATUSES = ("done", "empty", "failed")
_TOKEN, _LOCK = ".batch", ".lock"


@dataclass(frozen=True)
class Job:
    """A command of ``ros-matching`` on one recording.

    ``arguments`` are those of the command line; ``{out}`` and ``{name}`` in them are replaced by the folder of the
    results and the name. ``folder`` is that of the batch, ``token`` identifies its run, ``working_dir`` is that of the
    user.
    """

    name: str
    source: str
    arguments: tuple[str, ...]
    folder: str
    token: str = ""
    working_dir: str = ""

    def arguments_in(self, out: Path) -> list[str]:
        """Return the arguments with the folder of the results."""
        known = {"{out}": str(out), "{name}": self.name}
        filled = []
        for argument in self.arguments:
            for placeholder, value in known.items():
                argument = argument.replace(placeholder, value)
            filled.append(argument)
        return filled


@dataclass(frozen=True)
class JobOutcome:
    """Outcome of an attempt: ``done``, ``empty`` (it ran, without a result) or ``failed`` with the reason.

    Times are in seconds; ``started_s`` and ``ended_s`` since 1970. ``peak_mb`` is the largest memory of the processes.
    """

    name: str
    source: str
    arguments: tuple[str, ...]
    status: str
    reason: str = ""
    exit_code: int | None = None
    attempt: int = 1
    host: str = ""
    worker: str = ""
    started_s: float = 0.0
    ended_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0

    @property
    def wall_s(self) -> float:
        """Duration of the process."""
        return self.ended_s - self.started_s


class JobStore:
    """The folder of a batch, on a disk that all workers share."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()

    @contextlib.contextmanager
    def opened(self) -> Iterator[str]:
        """Claim the folder for a run and yield its token; attempts of earlier runs end when they notice another token.

        Raises ``ConfigError`` if another batch uses the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        token = secrets.token_hex(8)
        with (self.folder / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another batch runs in {self.folder}; wait for it, or choose another --out"
                ) from error
            write_atomic(self.folder / _TOKEN, token)
            shutil.rmtree(self.folder / RUNNING, ignore_errors=True)
            try:
                yield token
            finally:
                (self.folder / _TOKEN).unlink(missing_ok=True)
                shutil.rmtree(self.folder / RUNNING, ignore_errors=True)

    def is_current(self, token: str) -> bool:
        """Return True while the run with this token goes on."""
        try:
            return (self.folder / _TOKEN).read_text() == token
        except OSError:
            return False

    def outcome(self, name: str) -> JobOutcome | None:
        """Return the published outcome of a job, ``None`` if there is none."""
        return _read_outcome(self.folder / RESULTS / name / OUTCOME_FILE)

    def failure(self, name: str) -> JobOutcome | None:
        """Return the outcome of the last failed attempt of a job without a result."""
        return _read_outcome(self.folder / FAILED / name / OUTCOME_FILE)

    def pending(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs without a result. Raises ``ConfigError`` for a result of another command or source."""
        pending = []
        for job in jobs:
            outcome = self.outcome(job.name)
            if outcome is None:
                pending.append(job)
            elif (outcome.source, outcome.arguments) != (job.source, job.arguments):
                raise ConfigError(
                    f"{self.folder / RESULTS / job.name} has the result of another command: "
                    f"{' '.join(outcome.arguments)}; choose another --out, or --restart to replace all results"
                )
        return pending

    def clear(self) -> None:
        """Remove all results and failures."""
        for part in (RESULTS, FAILED):
            shutil.rmtree(self.folder / part, ignore_errors=True)

    def start_attempt(self, job: Job) -> Path:
        """Create and return the folder of an attempt. Raises ``SourceError`` if this machine does not see the batch."""
        if not self.is_current(job.token):
            raise SourceError(
                f"{self.folder} on this machine is not the folder of the batch, or the batch has ended; the folders of "
                "the results and of the recordings must be on a disk that all workers share, at the same path"
            )
        attempt = self.folder / RUNNING / f"{job.name}-{secrets.token_hex(4)}"
        attempt.mkdir(parents=True)
        return attempt

    def publish(self, attempt: Path, outcome: JobOutcome) -> JobOutcome:
        """Make an attempt the result of its job; return the outcome that counts, of an earlier one if there is."""
        write_atomic(attempt / OUTCOME_FILE, json.dumps(asdict(outcome), indent=2) + "\n")
        if outcome.status == FAILURE:
            failed = self.folder / FAILED / outcome.name
            failed.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(failed, ignore_errors=True)
            with contextlib.suppress(OSError):  # another attempt fails at the same time
                attempt.rename(failed)
            return outcome
        result = self.folder / RESULTS / outcome.name
        result.parent.mkdir(parents=True, exist_ok=True)
        try:
            attempt.rename(result)
        except OSError:
            earlier = self.outcome(outcome.name)
            if earlier is None:
                raise
            shutil.rmtree(attempt, ignore_errors=True)
            return earlier
        shutil.rmtree(self.folder / FAILED / outcome.name, ignore_errors=True)
        return outcome


def new_outcome(job: Job, status: str, reason: str = "", **values: Any) -> JobOutcome:
    """Return the outcome of a job."""
    return JobOutcome(job.name, job.source, job.arguments, status, reason, **values)


def _read_outcome(path: Path) -> JobOutcome | None:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    outcome = JobOutcome(**values)
    return replace(outcome, arguments=tuple(outcome.arguments))


def worker_name() -> str:
    """Return the process that an attempt runs under, for people who look for it."""
    return f"pid {os.getpid()}"

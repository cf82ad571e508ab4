"""Schedulers of the jobs of the back end: inline, or in a separate thread.

A job returns its result, and may emit earlier ones on the way, for a tracker that does not wait for its end.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Result = TypeVar("Result")
Emit = Callable[[Callable[[], Result]], None]
"""Emits an early result: its argument makes it, and is called only if the scheduler delivers early results."""
Job = Callable[[Emit], Result]

# On one CPU the tracker has priority: its time is the latency of a pose
_NICENESS = 5
# The default of the interpreter is too long: each short call of the tracker may wait that long for the lock
_SWITCH_INTERVAL_S = 2e-4


class Scheduler(Protocol[Result]):
    """Runs one job at a time. All methods are called from the thread of the tracker."""

    runs_in_frame: bool  # the time of a job is part of the frame that submits it

    @property
    def is_idle(self) -> bool:
        """True if a job can be submitted: none is running, and no result waits to be taken."""

    def submit(self, job: Job) -> None:
        """Run a job; only when idle."""

    def take(self, *, wait: bool = False) -> Result | None:
        """Return the next result of the job if there is one, else ``None``; raises the exception of the job.

        ``wait`` waits for it.
        """

    def cancel(self) -> None:
        """Discard the running job and its result."""

    def close(self) -> None:
        """Discard the running job and wait for its end."""


class InlineScheduler(Generic[Result]):
    """Runs a job while ``submit`` waits: deterministic, for offline use."""

    runs_in_frame = True

    def __init__(self) -> None:
        self._result: Result | None = None

    @property
    def is_idle(self) -> bool:
        """True unless a result waits to be taken."""
        return self._result is None

    def submit(self, job: Job) -> None:
        """Run the job now; nothing can be taken before its end."""
        self._result = job(lambda _: None)

    def take(self, *, wait: bool = False) -> Result | None:
        """Return the result of the last job."""
        result, self._result = self._result, None
        return result

    def cancel(self) -> None:
        """Discard the result."""
        self._result = None

    close = cancel


class ThreadScheduler(Generic[Result]):
    """Runs jobs in a thread, which starts with the first job and ends with ``close`` or the process."""

    runs_in_frame = False

    def __init__(self, niceness: int = _NICENESS) -> None:
        """``niceness`` is added to that of the process; greater ones run later."""
        self._niceness = niceness
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[_Outcome[Result]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._running = 0  # jobs whose last outcome was not taken
        self._cancelled = 0  # of these, the first ones, whose outcomes are discarded

    @property
    def is_idle(self) -> bool:
        """True unless a job that was not cancelled runs or its result waits to be taken."""
        return self._running == self._cancelled

    def submit(self, job: Job) -> None:
        """Run the job in the thread; after a cancelled one, which cannot be interrupted."""
        if self._thread is None:
            sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
            self._thread = threading.Thread(target=self._work, name="back end", daemon=True)
            self._thread.start()
        self._running += 1
        self._jobs.put(job)

    def take(self, *, wait: bool = False) -> Result | None:
        """Return the next result of the job if there is one; raises the exception of the job."""
        while self._running:
            try:
                outcome = self._outcomes.get(block=wait and not self.is_idle)
            except queue.Empty:
                return None
            is_cancelled = self._cancelled > 0
            if outcome.is_last:
                self._running -= 1
                self._cancelled -= is_cancelled
            if not is_cancelled:
                return outcome.result()
        return None

    def cancel(self) -> None:
        """Discard the running job, which ends in the background, and its result."""
        self._cancelled = self._running

    def close(self) -> None:
        """Discard the running job and wait for its end; the next ``submit`` starts a new thread."""
        self.cancel()
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
        self.take()

    def _work(self) -> None:
        _lower_priority(self._niceness)
        for job in iter(self._jobs.get, None):
            self._outcomes.put(_last_outcome(job, self._emit))

    def _emit(self, make: Callable[[], Result]) -> None:
        result = make()
        self._outcomes.put(_Outcome(lambda: result, is_last=False))


@dataclass(frozen=True)
class _Outcome(Generic[Result]):
    """``result`` returns a result of a job or raises its exception; ``is_last`` at its end."""

    result: Callable[[], Result]
    is_last: bool


def _last_outcome(job: Job, emit: Emit) -> _Outcome[Result]:
    """Run a job to its end."""
    try:
        result = job(emit)
    except BaseException as error:
        failure = error  # the name of an exception ends with its block

        def raise_failure() -> Result:
            raise failure

        return _Outcome(raise_failure, is_last=True)
    return _Outcome(lambda: result, is_last=True)


def _lower_priority(niceness: int) -> None:
    """Give this thread a lower priority, where the system has one for each thread (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)

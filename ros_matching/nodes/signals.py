"""Signals that ask a process to stop: the first one to finish its work, each further one to end at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP comes when the terminal is closed


class StopSignals:
    """Counts SIGINT, SIGTERM and SIGHUP while the ``with`` block lasts, in place of their usual effect.

    They interrupt nothing: an exception in the middle of a lifecycle transition would leave it half done, or be lost
    where ROS calls Python from C. An ignored SIGHUP (``nohup``) stays ignored. For the main thread only.
    """

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()
        self._calls: dict[int, list[Callable[[], None]]] = {}

    def __enter__(self) -> StopSignals:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        self._thread = threading.Thread(target=self._serve, args=(self._read_fd,), name="signals", daemon=True)
        self._thread.start()
        # Written to by the C handler, so a signal is seen while the main thread is in a long call, such as an import.
        self._previous_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        has_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        handled = [number for number in _SIGNALS if number is not signal.SIGHUP or not has_nohup]
        self._previous = {number: signal.signal(number, _do_nothing) for number in handled}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._write_fd)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def count(self) -> int:
        """Number of signals that have come."""
        with self._changed:
            return self._count

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until the first signal; False if none came within the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count > 0, timeout_s)

    def on(self, number: int, call: Callable[[], None]) -> None:
        """Call this, in a thread of its own, at the signal of this number: 1 is the first; at once if it has come."""
        with self._changed:
            has_come = self._count >= number
            if not has_come:
                self._calls.setdefault(number, []).append(call)
        if has_come:
            call()

    def _serve(self, read_fd: int) -> None:
        while received := os.read(read_fd, 1):
            if received[0] not in _SIGNALS:  # of another handler, such as SIGCHLD
                continue
            with self._changed:
                self._count += 1
                calls = self._calls.pop(self._count, [])
                self._changed.notify_all()
            for call in calls:
                call()
        os.close(read_fd)


def _do_nothing(*_: object) -> None:
    """Handle a signal by the byte in the pipe alone."""

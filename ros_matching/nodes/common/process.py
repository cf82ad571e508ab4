"""Nodes in processes of their own, and the signals that stop a process.

The first signal lets a process finish its work, each further one ends it at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from ros_matching.errors import NodeError

PARENT_VARIABLE = "ROS_MATCHING_PARENT_PID"
"""Environment variable with the process id that a node ends with, if that process is its parent."""

_SHOWN_LINES = 15
_PR_SET_PDEATHSIG = 1  # prctl(2)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP is sent when the terminal is closed


def end_with_parent() -> None:
    """Let the kernel send SIGTERM to this process when its parent dies, if the parent requested it.

    Otherwise a node would outlive a killed launch or command line and continue to publish. Ends this process if the
    parent has already died. A parent with another process in between, such as a debugger, is not followed.
    """
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if sys.platform != "linux" or not parent:
        return
    if parent == str(os.getppid()):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if not Path(f"/proc/{parent}").exists():
        sys.exit(f"process {parent}, which started this node, has ended")


def describe_exit(code: int) -> str:
    """Return a description of an exit code, as the end of a sentence."""
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def node_module(name: str) -> str:
    """Return the module of a node by the name of its executable, such as ``vo_node``."""
    return f"ros_matching.nodes.{name.removesuffix('_node')}.{name}"


class NodeProcess:
    """Context manager that runs a node in a process; its output goes to a file or to this process's output.

    The node has a process group of its own: Ctrl-C in a terminal reaches only this process, which forwards it.
    """

    def __init__(
        self, name: str, ros_args: Sequence[str], log_path: Path | None = None, *, grace_s: float = 10.0
    ) -> None:
        """``name`` is the executable, such as ``vo_node``; ``ros_args`` follow ``--ros-args``.

        At the end of the block the node is requested to stop. It is killed ``grace_s`` later, which may be infinite.
        """
        self._name = name
        # The interpreter, not an installed executable: the same code and environment in any installation.
        self._command = [sys.executable, "-m", node_module(name), "--ros-args", *ros_args]
        self._log_path = log_path
        self._grace_s = grace_s

    def __enter__(self) -> NodeProcess:
        with contextlib.ExitStack() as stack:
            log = None if self._log_path is None else stack.enter_context(self._log_path.open("wb"))
            environment = os.environ | {PARENT_VARIABLE: str(os.getpid())}
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.request_stop()
        try:
            self._process.wait(None if math.isinf(self._grace_s) else self._grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def request_stop(self) -> None:
        """Send SIGTERM if the process exists: the first lets the node finish its work, the second does not."""
        self._process.send_signal(signal.SIGTERM)

    def stop_now(self) -> None:
        """End the node without finishing its work, by two different signals: equal ones would be merged."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """True if the process has ended."""
        return self._process.poll() is not None

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call a function from another thread once the process has ended."""
        threading.Thread(target=lambda: (self._process.wait(), call()), daemon=True).start()

    @property
    def exit_code(self) -> int | None:
        """Exit code, or minus the number of the signal that killed the process; None while it runs."""
        return self._process.poll()

    def require_alive(self) -> None:
        """Raise ``NodeError`` if the process has ended."""
        if self.has_ended:
            raise NodeError(f"{self._name} ended early: it {describe_exit(self._process.returncode)}")

    def log_tail(self) -> str:
        """Return the last lines of the output and the path of the log file; empty without a file."""
        if self._log_path is None:
            return ""
        lines = self._log_path.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        return "\n".join([f"{self._log_path} ends with:", *(f"    {line}" for line in lines)])


class StopSignals:
    """Context manager that counts SIGINT, SIGTERM and SIGHUP in place of their usual effect.

    They do not interrupt: an exception during a lifecycle transition would leave it incomplete, or be lost where ROS
    calls Python from C. An ignored SIGHUP (``nohup``) stays ignored. For the main thread only.
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
        # Written by the C handler: a signal is noticed while the main thread is in a long call, such as an import.
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
        """Number of received signals."""
        with self._changed:
            return self._count

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until the first signal; False after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count > 0, timeout_s)

    def on(self, number: int, call: Callable[[], None]) -> None:
        """Call a function in a thread at the signal of this number, from 1; at once if already received."""
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
    """Handle a signal by the byte in the pipe only."""

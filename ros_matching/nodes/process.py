"""A node of this package in a process of its own."""

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


def end_with_parent() -> None:
    """Let the kernel send SIGTERM to this process when its parent dies, by whatever signal, if the parent asks for it.

    Without that a node would outlive a killed launch or command line, and go on publishing. Ends this process if the
    parent has died already. A parent with another process in between, such as a debugger, is not followed.
    """
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if sys.platform != "linux" or not parent:
        return
    if parent == str(os.getppid()):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if not Path(f"/proc/{parent}").exists():
        sys.exit(f"process {parent}, which started this node, has ended")


def describe_exit(code: int) -> str:
    """How a process ended, as the end of a sentence about it."""
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


class NodeProcess:
    """Runs a node's module while the ``with`` block lasts, its output in a file or, without one, in this process's.

    The node is in a process group of its own: Ctrl-C in a terminal reaches only this process, which passes it on.
    """

    def __init__(
        self, module: str, ros_args: Sequence[str], log_path: Path | None = None, *, grace_s: float = 10.0
    ) -> None:
        """``module`` is in ``ros_matching.nodes``; ``ros_args`` are what follows ``--ros-args``.

        At the end of the block the node is asked to stop. It is killed ``grace_s`` later, which may be infinite.
        """
        self._module = module
        # The interpreter itself rather than an installed executable: the same code and environment, wherever it lies.
        self._command = [sys.executable, "-m", f"ros_matching.nodes.{module}", "--ros-args", *ros_args]
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
        self.ask_to_stop()
        try:
            self._process.wait(None if math.isinf(self._grace_s) else self._grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if the process is still there: the first lets the node finish its work, the second does not."""
        self._process.send_signal(signal.SIGTERM)

    def end_at_once(self) -> None:
        """Let the node end with its work as it is, by a second signal; the two differ, or they would become one."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call this from another thread once the process is gone."""
        threading.Thread(target=lambda: (self._process.wait(), call()), daemon=True).start()

    @property
    def exit_code(self) -> int | None:
        """Exit code of the process, or minus the number of the signal that killed it; None while it runs."""
        return self._process.poll()

    def require_alive(self) -> None:
        """Raise ``NodeError`` when the process has ended."""
        if self.has_ended:
            raise NodeError(f"{self._module} ended early: it {describe_exit(self._process.returncode)}")

    def log_tail(self) -> str:
        """The last lines that the process wrote, and where the others are; nothing where there is no file."""
        if self._log_path is None:
            return ""
        lines = self._log_path.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        return "\n".join([f"{self._log_path} ends with:", *(f"    {line}" for line in lines)])

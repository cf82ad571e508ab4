"""A node of this package in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from ros_matching.errors import NodeError

_SHOWN_LINES = 15


class NodeProcess:
    """Runs a node's module while the ``with`` block lasts, its output in a file or, without one, in this process's."""

    def __init__(
        self, module: str, ros_args: Sequence[str], log_path: Path | None = None, *, grace_s: float = 10.0
    ) -> None:
        """``module`` is in ``ros_matching.nodes``; ``ros_args`` are what follows ``--ros-args``.

        At the end the node is asked to end, and has ``grace_s`` to do so.
        """
        self._module = module
        # The interpreter itself rather than an installed executable: the same code and environment, wherever it lies.
        self._command = [sys.executable, "-m", f"ros_matching.nodes.{module}", "--ros-args", *ros_args]
        self._log_path = log_path
        self._grace_s = grace_s

    def __enter__(self) -> NodeProcess:
        with contextlib.ExitStack() as stack:
            log = None if self._log_path is None else stack.enter_context(self._log_path.open("wb"))
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.has_ended:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

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

    def require_alive(self) -> None:
        """Raise ``NodeError`` when the process has ended."""
        if self.has_ended:
            raise NodeError(f"{self._module} ended early, with exit code {self._process.returncode}")

    def log_tail(self) -> str:
        """The last lines that the process wrote, and where the others are; nothing where there is no file."""
        if self._log_path is None:
            return ""
        lines = self._log_path.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        return "\n".join([f"{self._log_path} ends with:", *(f"    {line}" for line in lines)])

"""Decisions about a launch when one of its processes ends. Plain Python without ``launch``."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from ros_matching.nodes.common.process import describe_exit

_MOST_REASON_LINES = 10
# Exit codes that are no failure while the launch shuts down: during imports a signal still ends a process.
_ENDED_BY_REQUEST = (0, -signal.SIGINT, -signal.SIGTERM)


@dataclass(frozen=True)
class Decision:
    """Reaction of a launch to the end of a process; empty texts mean no action.

    ``log`` is an error to log, ``shut_down`` the reason to stop the other processes, ``fail`` the error to fail with.
    """

    log: str = ""
    shut_down: str = ""
    fail: str = ""


@dataclass(frozen=True)
class Role:
    """Role of a process in its launch.

    Exit code 0 is a failure of a node that is meant to run for ever. A process that ``may_finish``, such as a replay,
    ends the launch if it is the last such process and ``ends_launch``.
    """

    is_required: bool = True
    respawns: bool = False
    may_finish: bool = False
    ends_launch: bool = False


OPTIONAL = Role(is_required=False, may_finish=True)
"""Role of a process whose end has no effect, such as a viewer."""


@dataclass
class _Process:
    name: str
    role: Role
    is_running: bool = True
    reason: list[str] = field(default_factory=list)
    rest: str = ""  # incomplete last line of its output


class LaunchWatch:
    """The processes of a launch, of all its robots together.

    A launch ends with its last replay, or when a required process fails. Then it fails once all its processes are gone,
    so that the reason comes last.
    """

    def __init__(self) -> None:
        self._processes: list[_Process] = []
        self._failure = ""
        self._is_ending = False

    def expect(self, name: str, role: Role) -> int:
        """Register a process that will be started, and return its number."""
        self._processes.append(_Process(name, role))
        return len(self._processes) - 1

    def started(self, number: int) -> None:
        """Record that a process was started or restarted."""
        process = self._processes[number]
        process.is_running, process.reason, process.rest = True, [], ""

    def wrote(self, number: int, text: str) -> None:
        """Record output on stderr: a line ``NAME: reason`` and the lines after it give the reason of an exit."""
        process = self._processes[number]
        *lines, process.rest = (process.rest + text).split("\n")
        prefix = f"{process.name.rpartition('/')[2]}: "
        for line in lines:
            if line.startswith(prefix):
                process.reason = [line.removeprefix(prefix)]
            elif process.reason and line and len(process.reason) < _MOST_REASON_LINES:
                process.reason.append(line)

    def ended(self, number: int, code: int, *, is_shutdown: bool) -> Decision:
        """Decide on the end of a process; ``is_shutdown`` if the launch is already shutting down."""
        process = self._processes[number]
        process.is_running = False
        self._is_ending = self._is_ending or is_shutdown
        has_finished = process.role.may_finish and code == 0
        is_fine = has_finished or process.role is OPTIONAL or (self._is_ending and code in _ENDED_BY_REQUEST)
        end = f"{process.name} {describe_exit(code)}{_details(process)}"
        if process.role.respawns and not self._is_ending:
            return Decision(f"{end}; it is started again")
        if not is_fine and process.role.is_required:
            self._failure = self._failure or end
        return self._decide("" if is_fine else end, ends_launch=has_finished and process.role.ends_launch)

    def _decide(self, log: str, *, ends_launch: bool) -> Decision:
        if self._failure and not any(process.is_running for process in self._processes):
            return Decision("" if log == self._failure else log, fail=self._failure)
        if self._is_ending:
            return Decision(log)
        is_last = not any(p.is_running and p.role.may_finish and p.role is not OPTIONAL for p in self._processes)
        reason = self._failure or ("the replay has ended" if ends_launch and is_last else "")
        self._is_ending = bool(reason)
        return Decision(log, shut_down=reason)


def _details(process: _Process) -> str:
    return ": " + "\n".join(process.reason) if process.reason else ""

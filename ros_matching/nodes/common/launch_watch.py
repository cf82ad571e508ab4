"""Decisions about a launch when one of its processes ends. Plain Python without ``launch``."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from ros_matching.nodes.common.process import describe_exit

_MOST_REASON_LINES = 10
# Ways to end that are no failure while the launch shuts down: at the first import a signal still ends a process.
_ENDED_BY_REQUEST = (0, -signal.SIGINT, -signal.SIGTERM)


@dataclass(frozen=True)
class Decision:
    """What a launch has to do: log an error, shut down the other processes, fail with an error; empty: it does not."""

    log: str = ""
    shut_down: str = ""
    fail: str = ""


@dataclass(frozen=True)
class Role:
    """What a process is to its launch.

    The exit code 0 is a failure of a node that is to run for ever. A process that ``may_finish``, such as a replay,
    ends the launch with it if it is the last such one and ``ends_launch``.
    """

    is_required: bool = True
    respawns: bool = False
    may_finish: bool = False
    ends_launch: bool = False


OPTIONAL = Role(is_required=False, may_finish=True)
"""A process whose end matters to nobody, such as a viewer."""


@dataclass
class _Process:
    name: str
    role: Role
    is_running: bool = True
    reason: list[str] = field(default_factory=list)
    rest: str = ""  # of what it wrote: a line that is not complete yet


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
        """Note a process that will be started; returns its number."""
        self._processes.append(_Process(name, role))
        return len(self._processes) - 1

    def started(self, number: int) -> None:
        """Note that a process has been started, perhaps once more."""
        process = self._processes[number]
        process.is_running, process.reason, process.rest = True, [], ""

    def wrote(self, number: int, text: str) -> None:
        """Note what a process wrote to stderr: a line ``NAME: reason`` and those after it say why it ends."""
        process = self._processes[number]
        *lines, process.rest = (process.rest + text).split("\n")
        prefix = f"{process.name.rpartition('/')[2]}: "
        for line in lines:
            if line.startswith(prefix):
                process.reason = [line.removeprefix(prefix)]
            elif process.reason and line and len(process.reason) < _MOST_REASON_LINES:
                process.reason.append(line)

    def ended(self, number: int, code: int, *, is_shutdown: bool) -> Decision:
        """Decide what follows from the end of a process; ``is_shutdown`` while the launch shuts down anyway."""
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

"""Counts, timings and the contents of /diagnostics: state, rates and problems, each with its remedy."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from ros_matching.nodes.common.problems import ERRORS, Problem


@dataclass(frozen=True)
class StatisticsWindow:
    """Counts of the last ``seconds``, and the time that each stage took."""

    seconds: float
    received: int
    processed: int
    latencies_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)


class Statistics:
    """Counts and timings, written by the executor (arrivals) and the worker (results), read by the diagnostics."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.received = 0
        self.dropped = 0
        self.last_activity_s = float("-inf")  # last arrival or result, by time.monotonic
        self._start_window()

    def count_arrival(self, is_drop: bool) -> None:
        """Count a message; ``is_drop`` if it replaced one that was still waiting."""
        with self._lock:
            self.received += 1
            self.dropped += is_drop
            self._window_received += 1
            self.last_activity_s = time.monotonic()

    def count_latency(self, latency_ms: float, stage_ms: dict[str, float]) -> None:
        """Record the latency of a message and the time of each stage."""
        with self._lock:
            self.last_activity_s = time.monotonic()
            self._latencies_ms.append(latency_ms)
            for name, duration_ms in stage_ms.items():
                self._stages_ms[name].append(duration_ms)

    def take_window(self) -> StatisticsWindow:
        """Return the counts since the last call."""
        with self._lock:
            window = StatisticsWindow(
                seconds=time.monotonic() - self._window_start_s,
                received=self._window_received,
                processed=len(self._latencies_ms),
                latencies_ms=self._latencies_ms,
                stages_ms=dict(self._stages_ms),
            )
            self._start_window()
        return window

    def _start_window(self) -> None:
        self._window_start_s = time.monotonic()
        self._window_received = 0
        self._latencies_ms: list[float] = []
        self._stages_ms: defaultdict[str, list[float]] = defaultdict(list)


@dataclass(frozen=True)
class NodeReport:
    """Report of an active node without problems: level, message, and figures by name."""

    level: bytes
    message: str
    values: Mapping[str, str]


def diagnostic_status(
    name: str, hardware_id: str, lifecycle_state: str, report: NodeReport, problems: Mapping[Problem, str]
) -> DiagnosticStatus:
    """Return the status of a node: OK, WARN (works in part) or ERROR (no results); errors come first."""
    level, message = _verdict(lifecycle_state, report, problems)
    values = {
        "lifecycle state": lifecycle_state,
        **report.values,
        "memory MiB": f"{resident_mib():.0f}",
        **{f"problem: {problem.value}": text for problem, text in problems.items()},
    }
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def rates(window: StatisticsWindow) -> dict[str, str]:
    """Return the rates of input messages and of results."""
    seconds = window.seconds if window.seconds > 0 else float("inf")
    return {
        "input rate Hz": f"{window.received / seconds:.1f}",
        "output rate Hz": f"{window.processed / seconds:.1f}",
    }


def timings(window: StatisticsWindow) -> dict[str, str]:
    """Return the latency and the time of each stage."""
    durations_ms = {"latency": window.latencies_ms, **window.stages_ms}
    return {
        f"{name} ms (mean, max)": f"{sum(values) / len(values):.1f}, {max(values):.1f}"
        for name, values in durations_ms.items()
        if values
    }


def resident_mib() -> float:
    """Return the memory of this process in MiB; NaN if the system has no /proc."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return float("nan")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _verdict(state: str, report: NodeReport, problems: Mapping[Problem, str]) -> tuple[bytes, str]:
    errors = [text for problem, text in problems.items() if problem in ERRORS]
    warnings = [text for problem, text in problems.items() if problem not in ERRORS]
    if errors:
        return DiagnosticStatus.ERROR, "; ".join(errors + warnings)
    if state == "finalized":
        return DiagnosticStatus.WARN, "the node was shut down; start its process again to use it"
    if state != "active":
        advice = f"the node is {state}; bring it to active (ros2 lifecycle set, or the launch file)"
        return DiagnosticStatus.WARN, "; ".join([advice, *warnings])
    if warnings:
        return DiagnosticStatus.WARN, "; ".join(warnings)
    return report.level, report.message

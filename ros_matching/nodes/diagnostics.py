"""The contents of /diagnostics: state, rates, timings and what is wrong, each warning with its remedy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from ros_matching.nodes.problems import ERRORS, Problem
from ros_matching.nodes.statistics import Window


@dataclass(frozen=True)
class Report:
    """What an active node says of itself where no problem is present: level, message, and figures by name."""

    level: bytes
    message: str
    values: Mapping[str, str]


def diagnostic_status(
    name: str, hardware_id: str, lifecycle_state: str, report: Report, problems: Mapping[Problem, str]
) -> DiagnosticStatus:
    """The status of a node: OK, WARN (works in part) or ERROR (nothing can come), the worst problems first."""
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


def rates(window: Window) -> dict[str, str]:
    """How often messages came, and results went out."""
    seconds = window.seconds if window.seconds > 0 else float("inf")
    return {
        "input rate Hz": f"{window.received / seconds:.1f}",
        "output rate Hz": f"{window.processed / seconds:.1f}",
    }


def timings(window: Window) -> dict[str, str]:
    """The latency and the time of each stage."""
    durations_ms = {"latency": window.latencies_ms, **window.stages_ms}
    return {
        f"{name} ms (mean, max)": f"{sum(values) / len(values):.1f}, {max(values):.1f}"
        for name, values in durations_ms.items()
        if values
    }


def resident_mib() -> float:
    """Memory of this process in MiB; NaN where the system has no /proc."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return float("nan")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _verdict(state: str, report: Report, problems: Mapping[Problem, str]) -> tuple[bytes, str]:
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

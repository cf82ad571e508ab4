"""The contents of /diagnostics: state, rates, timings and what is wrong, each warning with its remedy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from ros_matching.nodes.problems import ERRORS, Problem
from ros_matching.nodes.statistics import VoStatistics, Window
from ros_matching.tracking.result import TrackingResult, TrackingStatus

_LOST_REMEDY = "bring the camera back to what it saw last, or call ~/reset to start anew"


def diagnostic_status(
    name: str,
    hardware_id: str,
    lifecycle_state: str,
    statistics: VoStatistics,
    problems: Mapping[Problem, str],
) -> DiagnosticStatus:
    """The status of the node: OK, WARN (works in part) or ERROR (no pose can come), the worst problem in its message.

    It takes the window of ``statistics``: rates and timings are since the last call.
    """
    window, last = statistics.take_window(), statistics.last
    level, message = _verdict(lifecycle_state, last, problems)
    values = {"lifecycle state": lifecycle_state, **_counts(statistics, window), **_timings(window)}
    if last is not None:
        values |= _tracking(last)
    values["memory MiB"] = f"{resident_mib():.0f}"
    values |= {f"problem: {problem.value}": text for problem, text in problems.items()}
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def resident_mib() -> float:
    """Memory of this process in MiB; NaN where the system has no /proc."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return float("nan")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _verdict(state: str, last: TrackingResult | None, problems: Mapping[Problem, str]) -> tuple[bytes, str]:
    for problem, text in problems.items():
        if problem in ERRORS:
            return DiagnosticStatus.ERROR, text
    if state != "active":
        return (
            DiagnosticStatus.WARN,
            f"the node is {state}; bring it to active (ros2 lifecycle set, or the launch file)",
        )
    if problems:
        return DiagnosticStatus.WARN, next(iter(problems.values()))
    if last is None:
        return DiagnosticStatus.OK, "waiting for the first image"
    if last.status is TrackingStatus.LOST:
        return DiagnosticStatus.WARN, f"lost: {last.reason}; {_LOST_REMEDY}"
    return DiagnosticStatus.OK, last.status.value + (f": {last.reason}" if last.reason else "")


def _counts(statistics: VoStatistics, window: Window) -> dict[str, str]:
    rate = window.received / window.seconds if window.seconds > 0 else 0.0
    processed = window.processed / window.seconds if window.seconds > 0 else 0.0
    return {
        "input rate Hz": f"{rate:.1f}",
        "output rate Hz": f"{processed:.1f}",
        "frames received": str(statistics.received),
        "frames dropped": str(statistics.dropped),
        "frames tracked": str(statistics.tracked),
        "frames lost": str(statistics.lost),
        "frames refused or paused": str(statistics.refused),
    }


def _timings(window: Window) -> dict[str, str]:
    timings = {"latency": window.latencies_ms, **window.stages_ms}
    return {
        f"{name} ms (mean, max)": f"{sum(values) / len(values):.1f}, {max(values):.1f}"
        for name, values in timings.items()
        if values
    }


def _tracking(result: TrackingResult) -> dict[str, str]:
    counts = result.counts
    return {
        "tracking state": result.status.value,
        "reason": result.reason,
        "scale": result.scale.value,
        "keypoints": str(counts.keypoints),
        "matches": str(counts.matches),
        "inliers": str(counts.inliers),
        "landmarks": str(counts.landmarks),
        "keyframes": str(counts.keyframes),
        "maps begun": str(counts.maps),
        "parallax deg": f"{result.parallax_deg:.2f}",
    }

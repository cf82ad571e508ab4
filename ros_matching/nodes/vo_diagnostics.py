"""What ``vo_node`` says of itself on /diagnostics."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from ros_matching.nodes.diagnostics import Report, rates, timings
from ros_matching.nodes.vo_statistics import VoStatistics
from ros_matching.tracking.result import TrackingResult, TrackingStatus

_LOST_REMEDY = "bring the camera back to what it saw last, or call ~/reset to start anew"


def vo_report(statistics: VoStatistics) -> Report:
    """How the odometry is doing; rates and timings are since the last call."""
    window, last = statistics.take_window(), statistics.last
    counts = {
        "frames received": str(statistics.received),
        "frames missing": str(statistics.missing),
        "frames dropped": str(statistics.dropped),
        "frames tracked": str(statistics.tracked),
        "frames lost": str(statistics.lost),
        "frames refused or paused": str(statistics.refused),
        **{f"frames refused: {problem.value}": str(count) for problem, count in statistics.refusals.items()},
    }
    tracking = {} if last is None else _tracking(last)
    return Report(*_verdict(last), {**rates(window), **counts, **timings(window), **tracking})


def _verdict(last: TrackingResult | None) -> tuple[bytes, str]:
    if last is None:
        return DiagnosticStatus.OK, "waiting for the first image"
    if last.status is TrackingStatus.LOST:
        return DiagnosticStatus.WARN, f"lost: {last.reason}; {_LOST_REMEDY}"
    words = last.status.value + (f": {last.reason}" if last.reason else "")
    if last.status is TrackingStatus.TRACKING and last.scale_reason:
        return DiagnosticStatus.WARN, f"{words}, but the scale is {last.scale.value}: {last.scale_reason}"
    return DiagnosticStatus.OK, words


def _tracking(result: TrackingResult) -> dict[str, str]:
    counts = result.counts
    return {
        "tracking state": result.status.value,
        "reason": result.reason,
        "scale": result.scale.value,
        "scale source": result.scale_source,
        "scale uncertainty %": f"{100 * result.scale_sigma:.1f}",
        "scale reason": result.scale_reason,
        "keypoints": str(counts.keypoints),
        "matches": str(counts.matches),
        "inliers": str(counts.inliers),
        "landmarks": str(counts.landmarks),
        "keyframes": str(counts.keyframes),
        "maps begun": str(counts.maps),
        "map": str(result.map_id),
        "rotation only": str(result.rotation_only),
        "parallax deg": f"{result.parallax_deg:.2f}",
    }

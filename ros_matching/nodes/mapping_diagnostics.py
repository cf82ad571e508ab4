"""What ``mapping_node`` says of itself on /diagnostics."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from ros_matching.mapping import MappingResult
from ros_matching.nodes.diagnostics import Report, rates, timings
from ros_matching.nodes.mapping_statistics import MappingStatistics


def mapping_report(statistics: MappingStatistics, waiting: int, queue_length: int) -> Report:
    """How the mapping is doing; rates and timings are since the last call."""
    window, last = statistics.take_window(), statistics.last
    counts = {
        "keyframes received": str(statistics.received),
        "keyframes mapped": str(statistics.mapped),
        "keyframes refused": str(statistics.refused),
        "keyframes dropped": str(statistics.dropped),
        "keyframes missed": str(statistics.missed),
        "queue": f"{waiting} of {queue_length}",
        "maps begun anew": str(statistics.restarts),
    }
    message = "waiting for the first keyframe" if last is None else _message(last)
    mapping = {} if last is None else _mapping(last)
    return Report(DiagnosticStatus.OK, message, {**rates(window), **counts, **timings(window), **mapping})


def _message(last: MappingResult) -> str:
    return f"{last.status.value}: {last.reason}" if last.reason else f"{last.status.value} keyframe {last.keyframe_id}"


def _mapping(last: MappingResult) -> dict[str, str]:
    near, far = last.depth_range or (float("nan"), float("nan"))
    return {
        "keyframe": str(last.keyframe_id),
        "map": str(last.keyframe.map_id),
        "keyframe state": last.status.value,
        "reason": last.reason,
        "scale": last.keyframe.scale.value,
        "depth range": f"{near:.3g} to {far:.3g}",
        "source views": str(last.counts.sources),
        "points of the keyframe": str(last.counts.points),
        "points of the map": str(last.counts.map_points),
    }

"""Counts and timings of ``vo_node``, and its part of /diagnostics."""

from __future__ import annotations

from collections import Counter

from diagnostic_msgs.msg import DiagnosticStatus

from ros_matching.msg import VoStatus
from ros_matching.nodes.common.diagnostics import NodeReport, Statistics, rates, timings
from ros_matching.nodes.common.problems import Problem
from ros_matching.nodes.vo.stamp_order import ArrivalMeter
from ros_matching.odometry.result import TrackingResult, TrackingStatus

_LOST_REMEDY = "move the camera back to a mapped view, or call ~/reset to start a new map"


class VoStatistics(Statistics):
    """Counts of received, missing, refused, tracked and lost images."""

    def __init__(self) -> None:
        super().__init__()
        self.tracked = 0
        self.lost = 0
        self.refused = 0  # or paused
        self._refusals: Counter[Problem] = Counter()
        self._arrivals = ArrivalMeter()
        self.last: TrackingResult | None = None

    def count_stamp(self, stamp_ns: int) -> None:
        """Count the stamp of an arrived image."""
        with self._lock:
            self._arrivals.add(stamp_ns)

    def count_pause(self) -> None:
        """Ignore the gap between the last image and the next."""
        with self._lock:
            self._arrivals.pause()

    @property
    def missing(self) -> int:
        """Number of images that did not arrive, by the gaps between the stamps."""
        return self._arrivals.missing

    @property
    def recent_loss(self) -> tuple[int, int]:
        """Number of recent images that did not arrive, and number of recent images."""
        with self._lock:
            return self._arrivals.recent_loss

    def count_refusal(self, problem: Problem) -> None:
        """Count a refused image."""
        with self._lock:
            self._refusals[problem] += 1

    @property
    def refusals(self) -> dict[Problem, int]:
        """Number of refused images by reason."""
        with self._lock:
            return dict(self._refusals)

    def count_result(self, result: TrackingResult, was_tried: bool) -> None:
        """Count a result; ``was_tried`` is False if the image did not reach the tracker."""
        with self._lock:
            self.last = result
            self.refused += not was_tried
            self.tracked += was_tried and result.status is TrackingStatus.TRACKING
            self.lost += was_tried and result.status is TrackingStatus.LOST

    def fill(self, status: VoStatus) -> None:
        """Write the counts into a status message."""
        with self._lock:
            status.frames_received = self.received
            status.frames_missing = self._arrivals.missing
            status.frames_dropped = self.dropped
            status.frames_refused = self._refusals.total()
            status.frames_tracked = self.tracked
            status.frames_lost = self.lost


def vo_report(statistics: VoStatistics) -> NodeReport:
    """Return the report of the odometry; rates and timings are since the last call."""
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
    return NodeReport(*_verdict(last), {**rates(window), **counts, **timings(window), **tracking})


def _verdict(last: TrackingResult | None) -> tuple[bytes, str]:
    if last is None:
        return DiagnosticStatus.OK, "waiting for the first image"
    if last.status is TrackingStatus.LOST:
        return DiagnosticStatus.WARN, f"lost: {last.reason}; {_LOST_REMEDY}"
    if last.status is TrackingStatus.BRIDGED:
        return DiagnosticStatus.WARN, last.reason
    words = last.status.value + (f": {last.reason}" if last.reason else "")
    if last.status is TrackingStatus.TRACKING and last.scale_reason:
        return DiagnosticStatus.WARN, f"{words}, but the scale is {last.scale.value}: {last.scale_reason}"
    if last.calibration_doubt:
        return DiagnosticStatus.WARN, f"{words}, but {last.calibration_doubt}"
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
        "calibration doubt": result.calibration_doubt,
        "keypoints": str(counts.keypoints),
        "matches": str(counts.matches),
        "inliers": str(counts.inliers),
        "landmarks": str(counts.landmarks),
        "keyframes": str(counts.keyframes),
        "maps": str(counts.maps),
        "map": str(result.map_id),
        "rotation only": str(result.rotation_only),
        "parallax deg": f"{result.parallax_deg:.2f}",
    }

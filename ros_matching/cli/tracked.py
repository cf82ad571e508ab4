"""One frame through the tracker, offline, and the record of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ros_matching.datatypes import Frame
    from ros_matching.evaluation.run import FrameRecord
    from ros_matching.tracking import TrackingResult, VisualOdometry


def track_frame(odometry: VisualOdometry, frame: Frame) -> tuple[TrackingResult, FrameRecord]:
    """Track a frame, timed; what came of it, and the same as a record for the report."""
    from ros_matching.evaluation.run import FrameRecord, UnitRecord

    start = time.perf_counter()
    result = odometry.track(frame)
    latency_ms = 1e3 * (time.perf_counter() - start)
    told = result.with_scale_uncertainty(0.0)  # of an unknown unit, it stays in the unit
    return result, FrameRecord(
        index=frame.index,
        stamp_ns=frame.stamp_ns,
        status=result.status.value,
        world_from_camera=result.world_from_camera,
        reason=result.reason,
        latency_ms=latency_ms,
        stage_ms=result.stage_ms,
        maps=result.counts.maps,
        map_id=result.map_id,
        unit=UnitRecord(result.scale.value, result.scale_source, result.scale_sigma, result.scale_reason),
        covariance=told.covariance,
        previous_from_current=result.previous_from_current,
        relative_covariance=told.relative_covariance,
    )

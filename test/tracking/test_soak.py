"""Memory and time per frame do not grow; ``soak.py`` is the long version."""

from __future__ import annotations

from soak import Remembered, Trip, soak

from ros_matching.matching.classical import SiftConfig
from ros_matching.tracking import TrackingConfig, TrackingStatus


def test_memory_and_time_per_frame_do_not_grow():
    trip = Trip(lap=60, covered_every=70, covered=4, carried_every=150, carried=40)
    config = TrackingConfig(max_keyframes=6, window_keyframes=3, reinitialize_after=5)
    rows = list(soak(600, 75, trip, config, Remembered(SiftConfig(max_keypoints=150))))
    assert sum(row.statuses[TrackingStatus.TRACKING] for row in rows) > 400
    assert sum(row.statuses[TrackingStatus.LOST] for row in rows) > 20
    assert rows[-1].rss_mb < rows[3].rss_mb + 4
    early, late = ([row.ms for row in part] for part in (rows[2:5], rows[5:]))
    assert min(late) < 1.5 * max(early)

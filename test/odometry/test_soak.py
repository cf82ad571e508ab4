"""Memory and work per frame do not grow; ``soak.py`` is the long version."""

from __future__ import annotations

from call_count import count_calls
from soak import CachingMatcher, Schedule, soak

from ros_matching.atlas.config import TrackingConfig
from ros_matching.matching.classical import SiftConfig
from ros_matching.odometry.result import TrackingStatus


def test_memory_and_work_per_frame_do_not_grow():
    schedule = Schedule(lap=60, covered_every=70, covered=4, moved_every=150, moved=40)
    config = TrackingConfig(max_keyframes=6, window_keyframes=3, reinitialize_after=5)
    rows = list(soak(450, 75, schedule, config, CachingMatcher(SiftConfig(max_keypoints=150)), count_calls))
    assert sum(row.statuses[TrackingStatus.TRACKING] for row in rows) > 300
    assert sum(row.statuses[TrackingStatus.LOST] for row in rows) > 20
    assert rows[-1].rss_mb < rows[2].rss_mb + 4
    early, late = ([row.calls for row in part] for part in (rows[1:3], rows[3:]))
    assert min(late) < 1.5 * max(early)

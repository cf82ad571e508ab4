"""Fast, blurred rotations in a rendered room: tracked or reported as lost, without a change of the scale."""

from __future__ import annotations

import numpy as np
import pytest
from rendered_turn import BEFORE, frames, scale_ratios

from ros_matching.matching import load_matcher
from ros_matching.odometry.result import TrackingStatus
from ros_matching.visual_odometry import VisualOdometry


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [10, 17])
def test_a_fast_blurred_rotation_is_tracked_or_reported(degrees):
    matcher = load_matcher("sift")
    off, tracked, count = [], 0, 0
    for seed in (0, 1, 3):
        views = list(frames(seed, degrees))
        odometry = VisualOdometry(matcher)
        results = [odometry.track(frame) for frame in views]
        ratios = scale_ratios(results, np.stack([frame.true_world_from_camera for frame in views]))
        off.extend(np.abs(np.log2(ratios)) > 1)
        tracked += sum(r.status is TrackingStatus.TRACKING for r in results)
        count += len(results)
    assert tracked > 0.75 * count
    assert len(off) > 3 * (BEFORE - 5)
    assert np.mean(off) <= 0.1

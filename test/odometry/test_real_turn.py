"""Scale of the map in a fast blurred rotation of real video, 13 to 17 degrees per frame."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching import load_matcher
from ros_matching.geometry.se3 import invert
from ros_matching.io import open_source
from ros_matching.visual_odometry import VisualOdometry


def test_a_fast_rotation_does_not_change_the_scale(data_dir):
    if not (data_dir / "hololens_turn").is_dir():
        pytest.skip(f"no hololens_turn in {data_dir}")
    odometry = VisualOdometry(load_matcher(device="cpu"))
    ratios, before = [], None
    for frame in open_source(data_dir / "hololens_turn"):
        result = odometry.track(frame)
        if result.previous_from_current is not None and result.map_id == 1:
            true = invert(before) @ frame.true_world_from_camera
            ratios.append(np.linalg.norm(result.previous_from_current[:3, 3]) / np.linalg.norm(true[:3, 3]))
        before = frame.true_world_from_camera
    off = np.abs(np.log2(ratios / np.median(ratios))) > 1
    assert len(off) > 30
    # In the middle of the rotation the camera moves by 2 cm per frame, too little to measure
    assert np.mean(off) < 0.15
    last = np.median(ratios[-5:]) / np.median(ratios[:10])
    assert 0.7 < last < 1.4

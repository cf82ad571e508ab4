from dataclasses import replace

import numpy as np
from wall_world import CAMERA, WALL, pose, view

from ros_matching.mapping.config import MappingConfig
from ros_matching.mapping.view_selection import choose_views, depth_range, score_view, sparse_points

CONFIG = MappingConfig()
REFERENCE = view(0, pose(0.0))


def at_angle(number: int, degrees: float, **kwargs):
    return view(number, pose(WALL * np.tan(np.radians(degrees)), **kwargs))


def test_the_best_angle_is_preferred():
    candidates = [at_angle(1, 1.0), at_angle(2, 5.0), at_angle(3, 14.0)]
    assert choose_views(REFERENCE, candidates, 1, CONFIG) == ([1], "")
    wide = replace(CONFIG, best_parallax_deg=14.0)
    assert choose_views(REFERENCE, candidates, 1, wide) == ([2], "")


def test_a_second_view_is_chosen_for_other_points():
    right, also_right, left = at_angle(1, 8.0), at_angle(2, 8.5), at_angle(3, -9.0)
    rows, _ = choose_views(REFERENCE, [right, also_right, left], 3, CONFIG)
    assert 2 in rows[:2]  # not the two on the same side


def test_a_score_is_of_angle_and_overlap():
    points = sparse_points(REFERENCE)
    score = score_view(REFERENCE, points, at_angle(1, 5.0), CONFIG)
    assert 4 < score.parallax_deg < 5.1
    assert 0.8 < score.overlap < 1
    assert score_view(REFERENCE, points, view(2, pose(0.0, turn=np.pi)), CONFIG).overlap == 0


def test_no_candidate_no_view():
    rows, reason = choose_views(REFERENCE, [], 3, CONFIG)
    assert rows == []
    assert "at most 0 %" in reason


def test_very_many_points_are_thinned():
    assert len(sparse_points(view(0, pose(0.0), points=5000))) == 500
    assert len(sparse_points(view(0, pose(0.0), points=501))) > 200


def test_the_range_spans_the_sparse_points_but_for_a_few():
    keyframe = view(0, pose(0.0), points=400)
    depths = np.linspace(2.0, 6.0, 400)
    depths[:4], depths[-4:] = 0.01, 100.0
    config = replace(CONFIG, range_quantile=0.02, range_margin=0.1)
    (near, far), reason = depth_range(replace(keyframe, sparse_depths=depths), [], config)
    assert reason == ""
    assert 2.0 / 1.1 <= near < 2.0
    assert 6.0 < far <= 6.0 * 1.1


def test_source_points_inside_the_reference_count():
    near_by = view(1, pose(0.0, z=1.0), points=400)
    box = replace(near_by, sparse_depths=np.full(400, 0.5))  # 1.5 before the reference
    (near, _), _ = depth_range(REFERENCE, [box], CONFIG)
    assert near < 1.5
    behind = view(2, pose(0.0, turn=np.pi), points=400)
    (near, far), _ = depth_range(replace(REFERENCE, sparse_depths=np.linspace(3.9, 4.1, 100)), [behind], CONFIG)
    assert near > 3
    assert far < 5


def test_too_few_points_or_no_spread_are_no_range():
    few = replace(REFERENCE, sparse_points_px=np.full((5, 2), 50.0), sparse_depths=np.full(5, 2.0))
    found, reason = depth_range(few, [], CONFIG)
    assert found is None
    assert "got 5" in reason
    flat = replace(REFERENCE, sparse_depths=np.full(100, 2.0))
    found, reason = depth_range(flat, [], replace(CONFIG, range_margin=0.0))
    assert found is None
    assert "one depth" in reason
    assert CAMERA.width == 160

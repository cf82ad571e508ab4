from dataclasses import replace

import numpy as np
import pytest
from plane_views import CAMERA_FROM_WORLD, K, plane_depth

from ros_matching.datatypes import Camera, DepthMap
from ros_matching.errors import GeometryError
from ros_matching.geometry.se3 import invert
from ros_matching.mapping.config import ConsistencyConfig
from ros_matching.mapping.depth_pyramid import merge_levels
from ros_matching.networks.pbs_mvsnet.estimator import DepthPyramid

STRICT = ConsistencyConfig(min_consistent=3, max_depth_error=0.01)
COARSE = Camera(40, 30, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
FINE = COARSE.scaled(80, 60)
PLANE = (np.array([0.0, 0.0, 1.0]), 2.0)
SEEN_BY_ALL = (slice(10, 20), slice(13, 27))  # of the coarse map
FINE_SEEN = (slice(20, 40), slice(26, 54))


def true_map(camera: Camera, view: int, confidence: float) -> DepthMap:
    depth = plane_depth(*PLANE, CAMERA_FROM_WORLD[view])
    if camera is FINE:
        depth = depth.repeat(2, axis=0).repeat(2, axis=1)
    return DepthMap(depth, np.full(depth.shape, confidence), camera)


def pyramid(view: int, coarse_confidence: float = 0.95, fine_confidence: float = 0.3) -> DepthPyramid:
    """True depths at the coarse level, wrong ones at the fine level."""
    fine = true_map(FINE, view, fine_confidence)
    levels = (true_map(COARSE, view, coarse_confidence), replace(fine, depth=fine.depth * 1.3))
    return DepthPyramid(levels, invert(CAMERA_FROM_WORLD[view]))


SOURCES = [pyramid(view) for view in (1, 2, 3)]


def test_reliable_coarse_depth_replaces_unconfident_fine_depth():
    merged = merge_levels(pyramid(0), SOURCES, STRICT)
    np.testing.assert_allclose(merged.finest.depth[FINE_SEEN], 2.0)
    np.testing.assert_allclose(merged.finest.confidence[FINE_SEEN], 0.95)
    assert merged.levels[0] is not merged.finest
    np.testing.assert_allclose(merged.finest.depth[0, 0], 2.6)  # a corner that too few views see


def test_confident_fine_depth_stays():
    reference = pyramid(0)
    coarse, fine = reference.levels
    fine.confidence[:, :40] = 0.5
    merged = merge_levels(reference, SOURCES, STRICT).finest
    np.testing.assert_array_equal(merged.depth[:, :40], fine.depth[:, :40])
    np.testing.assert_allclose(merged.depth[20:40, 42:54], coarse.depth[10:20, 21:27].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(
    ("reference", "config"),
    [
        (pyramid(0, coarse_confidence=0.9), STRICT),  # not above the threshold
        (pyramid(0), replace(STRICT, min_consistent=4)),
        (pyramid(0), replace(STRICT, max_compared=2)),
    ],
)
def test_unreliable_coarse_depth_replaces_nothing(reference, config):
    np.testing.assert_array_equal(merge_levels(reference, SOURCES, config).finest.depth, reference.finest.depth)


def test_a_biased_coarse_depth_replaces_nothing():
    reference = pyramid(0)
    biased = replace(reference.levels[0], depth=1.02 * reference.levels[0].depth)
    merged = merge_levels(replace(reference, levels=(biased, reference.finest)), SOURCES, STRICT)
    np.testing.assert_array_equal(merged.finest.depth, reference.finest.depth)


def test_unknown_fine_depth_is_filled():
    reference = pyramid(0, fine_confidence=0.8)
    reference.finest.depth[25, 40] = np.nan
    merged = merge_levels(reference, SOURCES, STRICT).finest
    assert merged.depth[25, 40] == pytest.approx(2.0)
    assert merged.depth[25, 41] == pytest.approx(2.6)


def test_a_replacement_propagates_to_finer_levels():
    coarsest = true_map(COARSE, 0, 0.95)
    views = []
    for view in range(4):
        coarse, middle = pyramid(view).levels
        if view:
            middle = true_map(FINE, view, 0.95)
        finest_camera = FINE.scaled(160, 120)
        wrong = DepthMap(np.full((120, 160), 9.0), np.full((120, 160), 0.1), finest_camera)
        views.append(DepthPyramid((coarse, middle, wrong), invert(CAMERA_FROM_WORLD[view])))
    merged = merge_levels(views[0], views[1:], STRICT)
    assert merged.levels[0].depth is views[0].levels[0].depth
    np.testing.assert_allclose(merged.finest.depth[45:75, 60:100], coarsest.depth[15, 20], rtol=1e-6)


def test_odd_sizes_take_the_coarse_value_on_the_nearest_ray():
    fine = COARSE.scaled(79, 59)
    coarse_depth = np.arange(1200.0).reshape(30, 40) + 1
    levels = (
        DepthMap(coarse_depth, np.ones((30, 40)), COARSE),
        DepthMap(np.full((59, 79), np.nan), np.zeros((59, 79)), fine),
    )
    merged = merge_levels(DepthPyramid(levels, np.eye(4)), [], ConsistencyConfig(min_consistent=0)).finest
    v, u = np.mgrid[:59, :79]
    expected = COARSE.project(fine.unproject(np.column_stack([u.ravel(), v.ravel()])))
    nearest = np.rint(expected).astype(int).clip(0, (39, 29))
    np.testing.assert_array_equal(merged.depth.ravel(), coarse_depth[nearest[:, 1], nearest[:, 0]])


def test_pyramids_of_different_heights_are_refused():
    with pytest.raises(GeometryError, match="2 levels cannot be compared with one of 1"):
        merge_levels(pyramid(0), [DepthPyramid(pyramid(1).levels[:1], np.eye(4))], STRICT)

"""No finite input, however degenerate, makes an estimator raise, warn or return something that is not finite."""

import warnings

import numpy as np
import pytest
from geometry_ground_truth import CAMERA, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from ros_matching.geometry import se3
from ros_matching.geometry.bundle_adjustment import BundleProblem, bundle_adjust
from ros_matching.geometry.epipolar import weighted_eight_point
from ros_matching.geometry.essential import estimate_relative_pose, refine_relative_pose
from ros_matching.geometry.homography import decompose_homography, estimate_homography, estimate_rotation
from ros_matching.geometry.pnp import estimate_pnp

COUNTS = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 30])
PATTERNS = {
    "one place": lambda random, n: np.full((n, 2), random.uniform(0, 400)),
    "principal point": lambda random, n: np.tile([CAMERA.cx, CAMERA.cy], (n, 1)),
    "line": lambda random, n: np.outer(np.arange(n), [1.0, 2.0]),
    "horizontal line": lambda random, n: np.column_stack([random.uniform(0, 600, n), np.full(n, CAMERA.cy)]),
    "repeated places": lambda random, n: 100.0 * random.integers(0, 3, (n, 2)),
    "scattered": lambda random, n: random.uniform(0, 480, (n, 2)),
    "far outside": lambda random, n: random.uniform(-1e6, 1e6, (n, 2)),
}
CHANGES = {
    "none": lambda random, points: points,
    "shift": lambda random, points: points + 5.0,
    "zoom": lambda random, points: points * 1.1,
    "noise": lambda random, points: points + random.normal(size=points.shape),
    "chance": lambda random, points: random.uniform(0, 480, points.shape),
}


def finite(arrays) -> bool:
    return all(np.isfinite(array).all() for array in arrays)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seeds, COUNTS, st.sampled_from(list(PATTERNS)), st.sampled_from(list(CHANGES)))
def test_estimators_give_none_or_something_finite(seed, count, pattern, change):
    random = np.random.default_rng(seed)
    points0 = PATTERNS[pattern](random, count)
    points1 = CHANGES[change](random, points0)
    world = np.column_stack([points0, points1[:, :1] + 5.0]) * 0.01
    pose = se3.retract(np.eye(4), random.normal(size=6))
    weights = random.choice([0.0, 1.0], count)
    views = points0, points1, CAMERA, CAMERA
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for estimate in (
            estimate_relative_pose(*views),
            estimate_relative_pose(*views, weights=weights),
            refine_relative_pose(pose, *views, weights=weights),
        ):
            assert estimate is None or finite([estimate.camera1_from_camera0, estimate.covariance])
        for estimate in (
            estimate_pnp(world, points0, CAMERA),
            estimate_pnp(world, points0, CAMERA, initial=pose, weights=weights),
        ):
            assert estimate is None or finite([estimate.camera_from_world, estimate.covariance])
        matrix = weighted_eight_point(points0, points1, weights)
        assert matrix is None or finite([matrix])
        rotation = estimate_rotation(*views)
        assert rotation is None or finite(rotation)
        homography = estimate_homography(points0, points1)
        if homography is not None:
            assert finite(homography)
            for motion in decompose_homography(homography[0], *views, homography[1]):
                assert finite([motion.camera1_from_camera0])


@pytest.mark.parametrize(("observations", "weight"), [(0, 1.0), (20, 0.0)])
def test_a_bundle_without_any_say_stays_as_it_is(observations, weight):
    random = np.random.default_rng(0)
    problem = BundleProblem(
        camera_from_world=np.stack([np.eye(4), np.eye(4)]),
        points=random.uniform(1.0, 2.0, (10, 3)),
        camera_index=np.repeat([0, 1], 10)[:observations],
        point_index=np.tile(np.arange(10), 2)[:observations],
        points_px=random.uniform(0.0, 480.0, (observations, 2)),
        weights=np.full(observations, weight),
        fixed_cameras=np.array([True, False]),
        camera=CAMERA,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        result = bundle_adjust(problem)
    assert result.converged
    np.testing.assert_array_equal(result.camera_from_world, problem.camera_from_world)
    np.testing.assert_array_equal(result.points, problem.points)

import numpy as np
import pytest
from geometry_ground_truth import examples, numerical_jacobian, random_pose, seeds, vectors
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ros_matching.errors import GeometryError
from ros_matching.geometry import se3


@examples
@given(vectors(10.0))
def test_exponential_and_quaternion_agree_with_scipy(vector):
    rotation = se3.exp_so3(vector)
    expected = Rotation.from_rotvec(vector)
    np.testing.assert_allclose(rotation, expected.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(se3.rotation_from_quaternion(expected.as_quat()), rotation, atol=1e-12)
    quaternion = se3.quaternion_from_rotation(rotation)
    assert quaternion[3] >= 0
    assert abs(quaternion @ expected.as_quat()) == pytest.approx(1.0, abs=1e-12)


@examples
@given(vectors(1.0), st.sampled_from([0.0, 1e-12, 1e-9, 1e-7, 1e-5, 1e-3, 1.0, np.pi - 1e-3, np.pi - 1e-9, np.pi]))
def test_logarithm_inverts_exponential_up_to_180_degrees(axis, angle):
    length = np.linalg.norm(axis)
    vector = axis / length * angle if length > 1e-3 else np.array([0.0, 0.0, angle])
    recovered = se3.log_so3(se3.exp_so3(vector))
    if angle > np.pi - 1e-6 and recovered @ vector < 0:  # 180 degrees in either direction are one rotation
        recovered = -recovered
    np.testing.assert_allclose(recovered, vector, atol=1e-8 if angle > 3 else 1e-12)


def test_batches_equal_single_calls():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(2, 5, 3))
    rotations = se3.exp_so3(vectors)
    poses = se3.pose_from(rotations, random.normal(size=(2, 5, 3)))
    deltas = random.normal(size=(2, 5, 6))
    for index in np.ndindex(2, 5):
        np.testing.assert_allclose(rotations[index], se3.exp_so3(vectors[index]))
        np.testing.assert_allclose(se3.log_so3(rotations)[index], se3.log_so3(rotations[index]))
        np.testing.assert_allclose(se3.invert(poses)[index], np.linalg.inv(poses[index]), atol=1e-12)
        np.testing.assert_allclose(se3.retract(poses, deltas)[index], se3.retract(poses[index], deltas[index]))
        assert se3.rotation_angle_deg(poses)[index] == pytest.approx(se3.rotation_angle_deg(rotations[index]))


@examples
@given(seeds)
def test_transform_composes_and_inverts(seed):
    random = np.random.default_rng(seed)
    a_from_b, b_from_c = random_pose(random, 2.0, 3.0), random_pose(random, 2.0, 3.0)
    points = random.normal(size=(7, 3))
    through = se3.transform(a_from_b, se3.transform(b_from_c, points))
    np.testing.assert_allclose(se3.transform(a_from_b @ b_from_c, points), through, atol=1e-12)
    np.testing.assert_allclose(se3.transform(se3.invert(a_from_b), se3.transform(a_from_b, points)), points, atol=1e-12)


@examples
@given(seeds)
def test_local_undoes_retract(seed):
    random = np.random.default_rng(seed)
    pose = random_pose(random, 2.0, 3.0)
    delta = random.uniform(-1.5, 1.5, 6)
    np.testing.assert_allclose(se3.local(pose, se3.retract(pose, delta)), delta, atol=1e-9)


@examples
@given(seeds, st.floats(0.0, 1.0))
def test_interpolation_has_constant_speed(seed, fraction):
    random = np.random.default_rng(seed)
    pose0 = random_pose(random, 0.5, 2.0)
    pose1 = se3.retract(pose0, random.uniform(-1.0, 1.0, 6))
    between = se3.interpolate(pose0, pose1, fraction)
    whole, part = se3.local(pose0, pose1), se3.local(pose0, between)
    np.testing.assert_allclose(part, fraction * whole, atol=1e-9)
    np.testing.assert_allclose(se3.interpolate(pose0, pose1, np.array([0.0, 1.0])), [pose0, pose1], atol=1e-9)


def test_angle_between_is_exact_for_small_and_large_angles_and_unknown_for_no_direction():
    for angle in (1e-9, 1e-4, 1.0, np.pi / 2, np.pi - 1e-6):
        other = np.array([np.cos(angle), np.sin(angle), 0.0]) * 3.0
        assert np.radians(se3.angle_between_deg(np.array([2.0, 0.0, 0.0]), other)) == pytest.approx(angle, rel=1e-9)
    assert np.isnan(se3.angle_between_deg(np.zeros(3), np.ones(3)))


@pytest.mark.parametrize("quaternion", [np.zeros(4), np.array([0.0, np.nan, 0.0, 1.0])])
def test_a_quaternion_without_a_rotation_raises(quaternion):
    with pytest.raises(GeometryError, match="x y z w"):
        se3.rotation_from_quaternion(quaternion)


def random_covariance(random: np.random.Generator) -> np.ndarray:
    factor = random.normal(size=(6, 6))
    return factor @ factor.T


@examples
@given(seeds)
def test_covariances_of_inverse_product_and_relative_pose_follow_their_derivatives(seed):
    random = np.random.default_rng(seed)
    a, b = random_pose(random, 1.0, 2.0), random_pose(random, 1.0, 2.0)
    cov_a, cov_b = random_covariance(random), random_covariance(random)

    def check(covariance, function):
        value = function(np.zeros(6), np.zeros(6))
        by_a = numerical_jacobian(lambda d: se3.local(value, function(d, np.zeros(6))), 6)
        by_b = numerical_jacobian(lambda d: se3.local(value, function(np.zeros(6), d)), 6)
        np.testing.assert_allclose(covariance, by_a @ cov_a @ by_a.T + by_b @ cov_b @ by_b.T, rtol=1e-6, atol=1e-6)

    check(se3.invert_covariance(a, cov_a), lambda da, db: se3.invert(se3.retract(a, da)))
    check(se3.compose_covariance(a, cov_a, b, cov_b), lambda da, db: se3.retract(a, da) @ se3.retract(b, db))
    check(
        se3.relative_covariance(a, cov_a, b, cov_b),
        lambda da, db: se3.invert(se3.retract(a, da)) @ se3.retract(b, db),
    )


def test_covariances_agree_with_monte_carlo():
    random = np.random.default_rng(3)
    a, b = random_pose(random, 1.0, 2.0), random_pose(random, 1.0, 2.0)
    cov_a, cov_b = 1e-4 * random_covariance(random), 1e-4 * random_covariance(random)
    draw_a = se3.retract(a, random.multivariate_normal(np.zeros(6), cov_a, 40000))
    draw_b = se3.retract(b, random.multivariate_normal(np.zeros(6), cov_b, 40000))
    for mean, draws, predicted in (
        (se3.invert(a), se3.invert(draw_a), se3.invert_covariance(a, cov_a)),
        (a @ b, draw_a @ draw_b, se3.compose_covariance(a, cov_a, b, cov_b)),
    ):
        sampled = np.cov(se3.local(mean, draws).T)
        assert np.linalg.norm(sampled - predicted) < 0.03 * np.linalg.norm(predicted)

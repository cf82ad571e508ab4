from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ros_matching.errors import EvaluationError
from ros_matching.evaluation import ALIGNMENTS
from ros_matching.evaluation.trajectory.trajectory_errors import evaluate_trajectory
from ros_matching.io.trajectory import Trajectory

AXES = np.concatenate([np.eye(3), -np.eye(3)])


def similar(trajectory: Trajectory, scale: float, rotvec: list[float], shift: list[float]) -> Trajectory:
    """The same camera motion in another world with another unit."""
    rotation = Rotation.from_rotvec(rotvec).as_matrix()
    poses = trajectory.world_from_camera.copy()
    poses[:, :3, :3] = rotation @ poses[:, :3, :3]
    poses[:, :3, 3] = scale * poses[:, :3, 3] @ rotation.T + shift
    return Trajectory(trajectory.stamps_ns, poses)


def at_positions(positions: np.ndarray) -> Trajectory:
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    poses[:, :3, 3] = positions
    return Trajectory(100_000_000 * np.arange(len(positions), dtype=np.int64), poses)


def with_motion_errors(trajectory: Trajectory, error: np.ndarray) -> Trajectory:
    """The trajectory whose every step ends with the same wrong motion (4, 4)."""
    poses = [trajectory.world_from_camera[0]]
    for previous, current in zip(trajectory.world_from_camera[:-1], trajectory.world_from_camera[1:], strict=True):
        poses.append(poses[-1] @ np.linalg.inv(previous) @ current @ error)
    return Trajectory(trajectory.stamps_ns, np.array(poses))


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scale=st.floats(0.01, 100),
    rotvec=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    shift=st.lists(st.floats(-50, 50), min_size=3, max_size=3),
)
def test_a_similar_trajectory_has_no_error_and_the_right_scale(truth, scale, rotvec, shift):
    report = evaluate_trajectory(similar(truth, scale, rotvec, shift), truth)
    assert report.scale == pytest.approx(1 / scale, rel=1e-6)
    assert report.ate_rmse == pytest.approx(0, abs=1e-6)
    assert report.rpe_trans == pytest.approx(0, abs=1e-6)
    assert report.rpe_rot_deg == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(report.aligned.world_from_camera, truth.world_from_camera, atol=1e-5)


def test_se3_alignment_does_not_forgive_a_wrong_scale(truth):
    estimate = similar(truth, 0.5, [0.3, -0.2, 1.0], [1, 2, 3])
    report = evaluate_trajectory(estimate, truth, alignment="se3")
    centred = truth.positions - truth.positions.mean(axis=0)
    assert report.scale == 1.0
    assert report.ate_rmse == pytest.approx(0.5 * np.sqrt(np.mean(np.sum(centred**2, axis=1))))


def test_scale_alignment_leaves_the_rotation_alone(truth):
    report = evaluate_trajectory(similar(truth, 4.0, [0, 0, 0], [0, 0, 0]), truth, alignment="scale")
    assert report.scale == pytest.approx(0.25)
    assert report.ate_rmse == pytest.approx(0, abs=1e-9)


def test_ate_of_a_known_offset_without_alignment(truth):
    report = evaluate_trajectory(similar(truth, 1.0, [0, 0, 0], [3, 0, 4]), truth, alignment="none")
    assert report.ate_rmse == pytest.approx(5)
    assert report.path_length == pytest.approx(np.linalg.norm(np.diff(truth.positions, axis=0), axis=1).sum())
    assert report.ate_percent == pytest.approx(500 / report.path_length)
    np.testing.assert_allclose(report.errors, 5)


def test_ate_where_the_best_similarity_is_known_in_closed_form():
    # By symmetry the best similarity neither turns nor moves: only the scale s is left, and least squares gives it.
    stretch = 1.3
    estimate = AXES * np.array([stretch, 1, 1])
    scale = (2 * stretch + 4) / (2 * stretch**2 + 4)
    report = evaluate_trajectory(at_positions(estimate), at_positions(AXES))
    assert report.scale == pytest.approx(scale)
    assert report.ate_rmse == pytest.approx(np.sqrt((2 * (scale * stretch - 1) ** 2 + 4 * (scale - 1) ** 2) / 6))


@pytest.mark.parametrize("angle_deg", [0.0, 0.5, 10.0])
def test_rpe_of_a_known_error_in_every_step(truth, angle_deg):
    error = np.eye(4)
    error[:3, :3] = Rotation.from_rotvec([0, angle_deg, 0], degrees=True).as_matrix()
    error[:3, 3] = [0.03, 0.0, 0.04]
    report = evaluate_trajectory(with_motion_errors(truth, error), truth, alignment="se3")
    assert report.rpe_pairs == len(truth) - 1
    assert report.rpe_trans == pytest.approx(0.05)
    assert report.rpe_rot_deg == pytest.approx(angle_deg, abs=1e-6)


def test_rpe_is_in_the_unit_of_the_ground_truth(truth):
    error = np.eye(4)
    error[:3, 3] = [0.02, 0, 0]
    exact = evaluate_trajectory(with_motion_errors(truth, error), truth)
    shrunk = evaluate_trajectory(similar(with_motion_errors(truth, error), 0.1, [1, 0, 0], [5, 0, 0]), truth)
    assert shrunk.rpe_trans == pytest.approx(exact.rpe_trans)


def test_rpe_leaves_out_the_steps_over_a_lost_stretch(truth):
    tracked = np.r_[0:20, 35:60]
    estimate = Trajectory(truth.stamps_ns[tracked], truth.world_from_camera[tracked].copy())
    estimate.world_from_camera[20:, :3, 3] += [1, 0, 0]  # the second stretch is somewhere else
    report = evaluate_trajectory(estimate, truth, alignment="none", segment_starts=[0, 20])
    assert report.rpe_pairs == 19 + 24
    assert report.rpe_trans == pytest.approx(0, abs=1e-9)
    assert report.ate_rmse == pytest.approx(np.sqrt(25 / 45))
    spanning = evaluate_trajectory(estimate, truth, alignment="none")
    assert spanning.rpe_trans == pytest.approx(1 / np.sqrt(44))


def test_two_segments_share_one_scale(truth):
    tracked = np.r_[0:25, 30:60]
    poses = truth.world_from_camera[tracked].copy()
    poses[25:, :3, 3] *= 2
    estimate = Trajectory(truth.stamps_ns[tracked], poses)
    assert evaluate_trajectory(estimate, truth, segment_starts=[0, 25]).ate_percent > 1


def test_stamps_are_associated_with_the_nearest(make_truth: Callable[..., Trajectory]):
    dense = make_truth(601, period_ns=5_000_000)
    rng = np.random.default_rng(3)
    picked = np.arange(4, 600, 10)
    jitter_ns = rng.integers(-2_000_000, 2_000_000, len(picked))
    estimate = Trajectory(dense.stamps_ns[picked] + jitter_ns, dense.world_from_camera[picked])
    for longer, shorter in ((dense, estimate), (estimate, dense)):
        report = evaluate_trajectory(shorter, longer, alignment="none", max_difference_s=0.0021)
        assert report.matched == len(picked)
        assert report.ate_rmse == pytest.approx(0, abs=1e-12)


def test_frames_without_ground_truth_are_left_out(truth):
    known = Trajectory(truth.stamps_ns[10:30], truth.world_from_camera[10:30])
    report = evaluate_trajectory(truth, known)
    assert report.matched == 20
    np.testing.assert_array_equal(report.aligned.stamps_ns, known.stamps_ns)


def test_other_clocks_are_named_in_the_error(truth):
    late = Trajectory(truth.stamps_ns + 10**12, truth.world_from_camera)
    with pytest.raises(EvaluationError, match=r"only 0 of 60 .* 1700000000\.123 to .* 1700001000\.123 to .*clock"):
        evaluate_trajectory(truth, late)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_poses_are_refused(truth, count):
    few = Trajectory(truth.stamps_ns[:count], truth.world_from_camera[:count])
    with pytest.raises(EvaluationError, match="at least 3 poses"):
        evaluate_trajectory(few, truth)
    with pytest.raises(EvaluationError, match="at least 3 poses"):
        evaluate_trajectory(truth, few)


def turning_along(positions: np.ndarray) -> Trajectory:
    """Cameras at positions, whose orientation changes on the way."""
    trajectory = at_positions(positions)
    angles = np.linspace(0, 1.5, len(positions))
    trajectory.world_from_camera[:, :3, :3] = Rotation.from_rotvec(np.outer(angles, [0.2, 1.0, -0.4])).as_matrix()
    return trajectory


@pytest.mark.parametrize("direction", [[0, 0, 1], [1, 0, 0], [0.3, -0.5, 2.0]])
@pytest.mark.parametrize("offset", [0.0, 4.5e5])  # in metres of a national grid
def test_an_exact_line_is_aligned_by_direction_scale_offset_and_orientations(direction, offset):
    distances = np.linspace(0, 9, 25) ** 1.5
    truth = turning_along(np.outer(distances, direction) + offset)
    estimate = similar(truth, 0.2, [0.4, -1.1, 0.7], [3, 2, 1])
    report = evaluate_trajectory(estimate, truth)
    assert report.scale == pytest.approx(5.0)
    assert report.ate_rmse == pytest.approx(0, abs=1e-6)
    assert "line" in report.alignment_note
    np.testing.assert_allclose(report.aligned.world_from_camera, truth.world_from_camera, atol=1e-5)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_line_driven_the_other_way_round_is_turned_by_half_a_turn(flipped):
    truth = turning_along(np.outer(np.arange(8.0), [1, 0, 0]))
    estimate = similar(truth, 1.0, [0, np.pi if flipped else 0, 0], [0, 0, 0])
    report = evaluate_trajectory(estimate, truth, alignment="se3")
    np.testing.assert_allclose(report.aligned.world_from_camera, truth.world_from_camera, atol=1e-9)


@pytest.mark.parametrize("alignment", ["sim3", "se3"])
def test_errors_off_a_line_do_not_depend_on_the_free_rotation(alignment):
    along = np.linspace(0, 20, 21)
    truth = turning_along(np.outer(along, [0, 0, 1]))
    # Off the line to all sides in turns: the best alignment leaves this error as it is.
    off = 0.1 * np.column_stack([np.cos(np.pi * np.arange(21)), np.sin(np.pi / 2 * np.arange(21)), np.zeros(21)])
    off -= off.mean(axis=0)
    off -= np.outer(along - 10, (along - 10) @ off) / np.sum((along - 10) ** 2)
    estimate = similar(turning_along(truth.positions + off), 1.0, [0.3, 0.2, -2.0], [1, 2, 3])
    report = evaluate_trajectory(estimate, truth, alignment=alignment)
    expected = np.sqrt(np.mean(np.sum(off**2, axis=1)))
    assert report.ate_rmse == pytest.approx(expected, rel=1e-3)
    assert "line" in report.alignment_note
    swapped = evaluate_trajectory(truth, estimate, alignment="se3")
    assert swapped.ate_rmse == pytest.approx(expected, rel=1e-3)


def test_a_planar_arc_is_determined_and_has_no_note():
    angle = np.linspace(0, 2, 30)
    truth = turning_along(np.column_stack([np.cos(angle), np.zeros(30), np.sin(angle)]))
    report = evaluate_trajectory(similar(truth, 3.0, [1, 2, 0.5], [9, 9, 9]), truth)
    assert report.alignment_note == ""
    np.testing.assert_allclose(report.aligned.world_from_camera, truth.world_from_camera, atol=1e-8)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_the_unit_of_an_estimate_may_be_any(truth, unit):
    report = evaluate_trajectory(similar(truth, unit, [1, 0, 0], [0, 0, 0]), truth)
    assert report.scale == pytest.approx(1 / unit)
    assert report.ate_rmse == pytest.approx(0, abs=1e-6)
    assert report.alignment_note == ""


def test_the_error_of_a_static_estimate_is_the_spread_of_the_ground_truth(truth):
    still = Trajectory(truth.stamps_ns, at_positions(np.full((60, 3), 0.1)).world_from_camera)
    spread = np.sqrt(np.mean(np.sum((truth.positions - truth.positions.mean(axis=0)) ** 2, axis=1)))
    for alignment in ("sim3", "se3"):
        report = evaluate_trajectory(still, truth, alignment=alignment)
        assert report.ate_rmse == pytest.approx(spread)
        assert "one point" in report.alignment_note
        assert np.isnan(report.scale) == (alignment == "sim3")
    assert "scale" in evaluate_trajectory(still, truth, alignment="scale").alignment_note


def test_static_ground_truth_has_no_scale(truth):
    still = Trajectory(truth.stamps_ns, at_positions(np.full((60, 3), 0.1)).world_from_camera)
    for alignment in ("sim3", "scale"):
        with pytest.raises(EvaluationError, match=r"scale .* not defined"):
            evaluate_trajectory(truth, still, alignment=alignment)
    report = evaluate_trajectory(truth, still, alignment="se3")
    assert report.path_length == pytest.approx(0)
    assert report.ate_rmse > 0.5
    assert "one point" in report.alignment_note


def test_cameras_that_turn_on_one_spot_are_aligned_by_their_orientations():
    truth = turning_along(np.tile([1.0, 2.0, 3.0], (10, 1)))
    for alignment in ("sim3", "se3"):
        report = evaluate_trajectory(similar(truth, 1.0, [0.3, -0.2, 1.0], [1, 2, 3]), truth, alignment=alignment)
        np.testing.assert_allclose(report.aligned.world_from_camera, truth.world_from_camera, atol=1e-9)


def test_positions_without_anything_in_common_give_no_scale():
    truth = at_positions(np.outer([-1.0, 1, 1, -1], [1, 0, 0]))
    estimate = at_positions(np.outer([-1.0, -1, 1, 1], [1, 0, 0]))
    with pytest.raises(EvaluationError, match="nothing in common"):
        evaluate_trajectory(estimate, truth)
    assert evaluate_trajectory(estimate, truth, alignment="se3").ate_rmse == pytest.approx(np.sqrt(2))


def test_without_motion_there_is_no_ate_percent():
    still = at_positions(np.zeros((5, 3)))
    report = evaluate_trajectory(still, still, alignment="none")
    assert report.ate_rmse == 0
    assert report.path_length == 0
    assert np.isnan(report.ate_percent)


def test_an_unknown_alignment_is_refused(truth):
    with pytest.raises(EvaluationError, match=f"one of {', '.join(ALIGNMENTS)}, got 'sim2'"):
        evaluate_trajectory(truth, truth, alignment="sim2")


def test_the_input_is_left_as_it_was(truth):
    estimate = similar(truth, 0.5, [0.3, -0.2, 1.0], [1, 2, 3])
    before = estimate.world_from_camera.copy()
    evaluate_trajectory(estimate, truth)
    np.testing.assert_array_equal(estimate.world_from_camera, before)


def test_without_two_frames_in_a_row_there_is_no_rpe(truth):
    estimate = Trajectory(truth.stamps_ns[::2], truth.world_from_camera[::2])
    report = evaluate_trajectory(estimate, truth, segment_starts=range(len(estimate)))
    assert report.rpe_pairs == 0
    assert np.isnan(report.rpe_trans)
    assert np.isnan(report.rpe_rot_deg)
    assert report.ate_rmse == pytest.approx(0, abs=1e-9)

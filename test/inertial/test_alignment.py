"""Alignment of keyframes with an IMU, against the exact motion; and what it does not claim."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from inertial_world import FIRST_STAMP_NS, Motion

from ros_matching.geometry.se3 import angle_between_deg, exp_so3, invert
from ros_matching.inertial.alignment import Alignment, align
from ros_matching.inertial.alignment_states import AlignmentInput
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.motion_state import MotionState
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA, IMU_GRADES

pytest.importorskip("gtsam")

METRES, DEPTH_M = 2.5, 3.0  # of one map unit, and typical depth
GRADE = IMU_GRADES["consumer"]
CONFIG = ImuConfig(
    gyroscope_noise=GRADE.noise.gyroscope,
    accelerometer_noise=GRADE.noise.accelerometer,
    gyroscope_walk=GRADE.noise.gyroscope_walk,
    accelerometer_walk=GRADE.noise.accelerometer_walk,
)


def seen_poses(poses: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Poses by images: the relative ones have noise, which accumulates."""
    rng, seen = np.random.default_rng(seed), [poses[0]]
    for before, after in pairwise(poses):
        motion = invert(before) @ after
        std = noise * np.hypot(0.001 * DEPTH_M, 0.005 * np.linalg.norm(motion[:3, 3]))
        motion[:3, :3] = motion[:3, :3] @ exp_so3(0.001 * noise * rng.standard_normal(3))
        motion[:3, 3] += std * rng.standard_normal(3)
        seen.append(seen[-1] @ motion)
    return np.stack(seen)


def aligned(
    motion: Motion,
    grade: str = "consumer",
    noise: float = 1.0,
    stamps: list[int] | None = None,
    first: MotionState | None = None,
) -> Alignment | None:
    from ros_matching.inertial.preintegration import preintegrate

    stamps = motion.stamps_ns(3).tolist() if stamps is None else stamps
    buffer, poses = ImuBuffer.of(motion.samples(grade)), seen_poses(motion.poses(stamps), noise, motion.seed)
    return align(
        AlignmentInput(
            stamps,
            poses[:, :3, :3] @ IMU_FROM_CAMERA[:3, :3].T,
            poses[:, :3, 3] / METRES,
            [preintegrate(buffer.between(*span), np.zeros(6), CONFIG.noise) for span in pairwise(stamps)],
            DEPTH_M / METRES,
            IMU_FROM_CAMERA[:3, 3],
            np.zeros(6),
            np.repeat([CONFIG.accelerometer_bias, CONFIG.gyroscope_bias], 3),
            first,
        ),
        CONFIG,
    )


def test_without_noise_it_is_exact() -> None:
    motion = Motion()
    found = aligned(motion, "none", noise=0.0)
    state = found.state
    assert state.log_scale == pytest.approx(np.log(METRES), abs=1e-3)
    assert angle_between_deg(state.down, np.array([0, 0, -1.0])) < 0.05
    assert np.abs(state.bias).max() < 2e-3
    ends = motion.poses(np.array([state.stamp_ns - 200_000, state.stamp_ns])) @ invert(IMU_FROM_CAMERA)
    assert np.allclose(state.velocity, (ends[1, :3, 3] - ends[0, :3, 3]) / 2e-4, atol=0.01)


@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_scale_gravity_and_biases_have_the_stated_uncertainty(noise: float) -> None:
    squares, tilts = [], []
    for seed in range(10):
        found = aligned(Motion(seed=seed), noise=noise)
        error = found.state.log_scale - np.log(METRES)
        assert abs(error) < 0.02
        squares.append((error / found.state.log_scale_std) ** 2)
        tilts.append(float(angle_between_deg(found.state.down, np.array([0, 0, -1.0]))))
        assert found.noise == pytest.approx(noise, rel=0.35)
    assert 0.3 < np.mean(squares) < 2.5
    assert np.mean(tilts) < 0.6


def test_the_bias_of_the_gyroscope_is_found() -> None:
    motion = Motion(seed=5)
    exact, samples = motion.samples(), motion.samples("consumer")
    bias = (samples.gyroscope - exact.gyroscope).mean(axis=0)
    assert np.abs(bias).max() > 0.005
    assert np.abs(aligned(motion).state.bias[3:] - bias).max() < 0.001


@pytest.mark.parametrize("velocity", [(1.0, 0.0, 0.0), (0.0, 0.0, 0.0)])
@pytest.mark.parametrize("radians", [0.0, 0.15])
def test_constant_velocity_claims_no_scale(velocity: tuple[float, float, float], radians: float) -> None:
    for seed in range(6):
        motion = Motion(metres=0.0, radians=radians, velocity=velocity, seed=seed)
        found = aligned(motion)
        assert found is None or found.state.log_scale_std > 0.15


def known_state(motion: Motion, stamp_ns: int, stds: np.ndarray) -> MotionState:
    """The true state of motion at a stamp with random errors of ``stds`` (11,)."""
    exact, samples = motion.samples(), motion.samples("consumer")
    near = np.abs(samples.stamps_ns - stamp_ns) < 500_000_000
    bias = np.concatenate(
        [
            (samples.accelerometer - exact.accelerometer)[near].mean(axis=0),
            (samples.gyroscope - exact.gyroscope)[near].mean(axis=0),
        ]
    )
    ends = motion.poses(np.array([stamp_ns - 100_000, stamp_ns + 100_000])) @ invert(IMU_FROM_CAMERA)
    error = np.random.default_rng(motion.seed).standard_normal(11) * stds
    down = np.array([error[9], error[10], -1.0])
    velocity = (ends[1, :3, 3] - ends[0, :3, 3]) / 2e-4
    return MotionState(
        stamp_ns,
        down / np.linalg.norm(down),
        velocity + error[:3],
        bias + error[3:9],
        np.diag(np.square(stds)),
        0.0,
        0.01,
    )


def test_a_known_state_at_the_start_shows_the_scale_sooner_with_the_stated_uncertainty() -> None:
    """Half a second and four keyframes, as after a loss: without it the uncertainty is three times as large."""
    stds, ratios, squares = np.array([0.02] * 3 + [0.02] * 3 + [0.001] * 3 + [0.003] * 2), [], []
    for seed in range(8):
        motion = Motion(seed=seed)
        stamps = (FIRST_STAMP_NS + 4_000_000_000 + np.arange(4) * 166_000_000).tolist()
        alone = aligned(motion, stamps=stamps)
        known = aligned(motion, stamps=stamps, first=known_state(motion, stamps[0], stds)).state
        ratios.append(known.log_scale_std / (1.0 if alone is None else alone.state.log_scale_std))
        squares.append(((known.log_scale - np.log(METRES)) / known.log_scale_std) ** 2)
    assert np.median(ratios) < 0.5
    assert 0.1 < np.mean(squares) < 2.5

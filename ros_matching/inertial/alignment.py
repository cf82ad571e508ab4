"""Visual-inertial alignment: gravity, scale, velocities and biases from poses of keyframes and IMU samples.

Qin, Li and Shen, "VINS-Mono", TRO 2018, and Campos et al., "Inertial-only optimization for visual-inertial
initialization", ICRA 2020, have the two steps: a linear solution for velocities, gravity and scale, then a nonlinear
refinement. Here the refinement is the maximum a posteriori estimate of all states with noisy relative poses of images:

    s (c_j - c_i) + R_i l - R_j l = v_i dt + g dt^2 / 2 + R_i dp,   v_j = v_i + g dt + R_i dv,   R_j = R_i dR

for consecutive keyframes i, j with camera centres c in map units, rotations R of the IMU, camera position l in the
IMU, and the preintegrated dR, dp, dv. The relative poses by images have noise in map units, so that noise does not
look like acceleration of a small scale. The standard deviation of the scale, of the inverse Hessian, is the test of
observability: at constant velocity any scale fits, with the accelerometer's bias and gravity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ros_matching.geometry.se3 import exp_so3, log_so3, skew
from ros_matching.inertial.alignment_states import NODE, SHARED, AlignmentInput, AlignmentStates, tangents
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.linear_alignment import ROTATION_STD, linear_solution
from ros_matching.inertial.motion_state import MotionState
from ros_matching.inertial.preintegration import Preintegration

# Noise of the translations by images: in typical depths, and as a fraction of the length
_TRANSLATION_STD, _TRANSLATION_FRACTION = 0.001, 0.005
_FIXED_STD = 1e-6  # of the first pose
_SCALE_PRIOR_STD = 5.0  # of the log scale about the linear solution
_CAUCHY = 3.0  # standard deviations from which a relative pose by images counts less
_LEAST_VARIANCE = 1e-12  # of the known state of the first keyframe, which has an inverse so
_ITERATIONS = 12
_CONVERGED = 1e-4  # largest step of the log scale and of angles
_NOISE_ROUNDS = 3
_LEAST_NOISE, _MOST_NOISE = 0.15, 30.0  # factor on the standard deviations by images


@dataclass(frozen=True, eq=False)
class Alignment:
    """Result: the state at the last keyframe, and how well the data fit.

    ``fit`` is the root of the squared residuals per degree of freedom with the assumed noise, ``noise`` the factor by
    which the noise of images was adapted.
    """

    state: MotionState
    fit: float
    noise: float


def align(given: AlignmentInput, config: ImuConfig, noise: float = 1.0) -> Alignment | None:
    """Estimate the state; ``None`` if no scale fits. ``noise`` is the factor of an earlier alignment."""
    problem = _Problem(given, config)
    start = linear_solution(given, config)
    if start is None:
        return None
    for _ in range(_NOISE_ROUNDS):
        solution = problem.refined(start, noise)
        if solution is None:
            return None
        start, fit = solution.states, solution.fit
        adapted = float(np.clip(noise * fit, _LEAST_NOISE, _MOST_NOISE))
        if abs(np.log(adapted / noise)) < 0.05:
            break
        noise = adapted
    return Alignment(problem.state(solution), solution.fit, noise)


@dataclass(frozen=True, eq=False)
class _Solution:
    states: AlignmentStates
    covariance: np.ndarray  # of the last keyframe's velocity and the shared parameters (12, 12)
    fit: float


class _Problem:
    """The least-squares problem of one alignment."""

    def __init__(self, given: AlignmentInput, config: ImuConfig) -> None:
        self._given, self._config = given, config
        parts = given.preintegrations
        self._dt = np.array([part.seconds for part in parts])
        self._rotation = np.stack([part.rotation for part in parts])
        self._position = np.stack([part.position for part in parts])
        self._velocity = np.stack([part.velocity for part in parts])
        self._jacobian = np.stack([part.jacobian for part in parts])
        self._bias0 = np.stack([part.bias for part in parts])
        self._whitening = np.linalg.inv(np.linalg.cholesky(self._covariances(parts)))
        before, after = given.rotations[:-1], given.rotations[1:]
        self._seen_rotation = np.swapaxes(before, 1, 2) @ after
        self._seen_motion = np.einsum("nji,nj->ni", before, np.diff(given.centers, axis=0))
        lengths = np.linalg.norm(self._seen_motion, axis=1)
        self._motion_std = np.hypot(_TRANSLATION_STD * given.depth, _TRANSLATION_FRACTION * lengths)

    def _covariances(self, parts: Sequence[Preintegration]) -> np.ndarray:
        """Covariances (M, 9, 9) of white noise, and of the biases' walk over half the time of all keyframes."""
        covariances = np.stack([part.covariance for part in parts])
        half_s = 0.5 * float(self._dt.sum())
        rate = self._config.gyroscope_walk**2 * half_s
        force = self._config.accelerometer_walk**2 * half_s
        for axis in range(3):
            covariances[:, axis, axis] += rate * self._dt**2 + 1e-12
            covariances[:, 3 + axis, 3 + axis] += 0.25 * force * self._dt**4 + 1e-12
            covariances[:, 6 + axis, 6 + axis] += force * self._dt**2 + 1e-12
        return covariances

    def refined(self, start: AlignmentStates, noise: float) -> _Solution | None:
        """Minimise by Levenberg-Marquardt."""
        states, damping = start, 1e-6
        hessian, gradient, cost = self._normal_equations(states, noise)
        for _ in range(_ITERATIONS):
            step = _solved(hessian, gradient, damping)
            if step is None:
                return None
            step[-1] = np.clip(step[-1], -1.0, 1.0)
            moved = states.moved(step)
            equations = self._normal_equations(moved, noise)
            if equations[2] < cost * (1 + 1e-12):
                small = np.abs(step[-SHARED:]).max() < _CONVERGED
                states, damping = moved, max(0.1 * damping, 1e-9)
                hessian, gradient, cost = equations
                if small:
                    break
            elif damping > 1e6:
                break
            else:
                damping *= 30
        size = len(hessian)
        try:
            factor = cho_factor(hessian)
        except (LinAlgError, ValueError):
            return None
        columns = np.eye(size)[:, size - SHARED - 3 :]
        covariance = cho_solve(factor, columns)[size - SHARED - 3 :]
        freedom = 6 * len(self._dt) - 3  # residuals less the states that they determine
        return _Solution(states, covariance, float(np.sqrt(cost / max(freedom - 6, 1))))

    def state(self, solution: _Solution) -> MotionState:
        """Return the state at the last keyframe, with the covariance scaled by a bad fit."""
        states, covariance = solution.states, solution.covariance * max(solution.fit, 1.0) ** 2
        return MotionState(
            int(self._given.stamps_ns[-1]),
            states.down,
            states.velocities[-1],
            states.bias,
            covariance[:-1, :-1],
            states.log_scale,
            float(np.sqrt(covariance[-1, -1])),
        )

    def _normal_equations(self, states: AlignmentStates, noise: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Return Hessian, gradient and cost. Blocks: the states of two keyframes (18), then the shared ones (9)."""
        residual, jacobian = self._residuals(states, noise)
        blocks = np.einsum("nri,nrj->nij", jacobian, jacobian, optimize=True)
        gradients = np.einsum("nri,nr->ni", jacobian, residual)
        size = NODE * len(states.centers) + SHARED
        hessian, gradient = np.zeros((size, size)), np.zeros(size)
        for k in range(len(blocks)):
            node = slice(NODE * k, NODE * k + 18)
            hessian[node, node] += blocks[k, :18, :18]
            hessian[node, -SHARED:] += blocks[k, :18, 18:]
            hessian[-SHARED:, node] += blocks[k, 18:, :18]
            gradient[node] += gradients[k, :18]
        hessian[-SHARED:, -SHARED:] += blocks[:, 18:, 18:].sum(axis=0)
        gradient[-SHARED:] += gradients[:, 18:].sum(axis=0)
        cost = float(np.sum(residual**2))
        # Fix the first pose; priors of the biases and of the scale
        rows = np.arange(6)
        hessian[rows, rows] += _FIXED_STD**-2.0
        first = np.concatenate(
            [
                log_so3(self._given.rotations[0].T @ states.rotations[0]),
                states.centers[0] - self._given.centers[0],
            ]
        )
        gradient[:6] += first * _FIXED_STD**-2.0
        prior = (states.bias - self._given.bias) / self._given.bias_std**2
        shared = size - SHARED
        hessian[shared + rows, shared + rows] += self._given.bias_std**-2.0
        gradient[shared : shared + 6] += prior
        cost += float(prior @ (states.bias - self._given.bias))
        hessian[-1, -1] += _SCALE_PRIOR_STD**-2.0
        if self._given.first is not None:
            cost += self._add_known_state(hessian, gradient, states, self._given.first)
        return hessian, gradient, cost

    def _add_known_state(
        self, hessian: np.ndarray, gradient: np.ndarray, states: AlignmentStates, first: MotionState
    ) -> float:
        """Add the known state of the first keyframe; returns its cost."""
        shared = len(hessian) - SHARED
        columns = np.concatenate([np.arange(6, 9), np.arange(shared, shared + 8)])  # velocity, biases, gravity
        error = np.concatenate(
            [
                states.velocities[0] - first.velocity,
                states.bias - first.bias,
                tangents(states.down).T @ (states.down - first.down),
            ]
        )
        # The covariance of gravity is along the tangents of the known direction
        turned = np.eye(11)
        turned[9:, 9:] = tangents(states.down).T @ tangents(first.down)
        information = np.linalg.inv(turned @ first.covariance @ turned.T + _LEAST_VARIANCE * np.eye(11))
        hessian[np.ix_(columns, columns)] += information
        gradient[columns] += information @ error
        return float(error @ information @ error)

    def _residuals(self, states: AlignmentStates, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """Whitened residuals (M, 15) and their derivatives (M, 15, 27)."""
        given, dt = self._given, self._dt[:, None]
        scale, gravity = np.exp(states.log_scale), self._config.gravity_m_s2
        r_i, r_j = states.rotations[:-1], states.rotations[1:]
        back = np.swapaxes(r_i, 1, 2)
        change = states.bias - self._bias0
        correction = np.einsum("nij,nj->ni", self._jacobian, change)
        by_down = gravity * tangents(states.down)
        step = np.diff(states.centers, axis=0)
        residual, jacobian = np.zeros((len(dt), 15)), np.zeros((len(dt), 15, 27))
        # Rotation by the gyroscope
        predicted = self._rotation @ exp_so3(correction[:, :3])
        turned = np.swapaxes(r_j, 1, 2) @ r_i
        residual[:, :3] = log_so3(np.swapaxes(predicted, 1, 2) @ back @ r_j)
        jacobian[:, :3, :3], jacobian[:, :3, 9:12] = -turned, np.eye(3)
        jacobian[:, :3, 18:24] = -self._jacobian[:, :3]
        # Position
        arm = r_j @ given.lever
        moved = scale * step - arm - states.velocities[:-1] * dt - 0.5 * gravity * states.down * dt**2
        local = np.einsum("nij,nj->ni", back, moved)
        residual[:, 3:6] = local + given.lever - self._position - correction[:, 3:6]
        jacobian[:, 3:6, :3] = skew(local)
        jacobian[:, 3:6, 9:12] = back @ r_j @ skew(given.lever)
        jacobian[:, 3:6, 3:6], jacobian[:, 3:6, 12:15] = -scale * back, scale * back
        jacobian[:, 3:6, 6:9] = -dt[:, :, None] * back
        jacobian[:, 3:6, 18:24] = -self._jacobian[:, 3:6]
        jacobian[:, 3:6, 24:26] = -0.5 * dt[:, :, None] ** 2 * (back @ by_down)
        jacobian[:, 3:6, 26] = scale * np.einsum("nij,nj->ni", back, step)
        # Velocity
        gained = np.diff(states.velocities, axis=0) - gravity * states.down * dt
        local = np.einsum("nij,nj->ni", back, gained)
        residual[:, 6:9] = local - self._velocity - correction[:, 6:]
        jacobian[:, 6:9, :3] = skew(local)
        jacobian[:, 6:9, 6:9], jacobian[:, 6:9, 15:18] = -back, back
        jacobian[:, 6:9, 18:24] = -self._jacobian[:, 6:]
        jacobian[:, 6:9, 24:26] = -dt[:, :, None] * (back @ by_down)
        residual[:, :9] = np.einsum("nij,nj->ni", self._whitening, residual[:, :9])
        jacobian[:, :9] = self._whitening @ jacobian[:, :9]
        # Relative pose by images
        rotation_weight, motion_weight = 1 / (noise * ROTATION_STD), 1 / (noise * self._motion_std)
        residual[:, 9:12] = rotation_weight * log_so3(np.swapaxes(self._seen_rotation, 1, 2) @ back @ r_j)
        jacobian[:, 9:12, :3], jacobian[:, 9:12, 9:12] = -rotation_weight * turned, rotation_weight * np.eye(3)
        local = np.einsum("nij,nj->ni", back, step)
        residual[:, 12:] = motion_weight[:, None] * (local - self._seen_motion)
        jacobian[:, 12:, :3] = motion_weight[:, None, None] * skew(local)
        jacobian[:, 12:, 3:6] = -motion_weight[:, None, None] * back
        jacobian[:, 12:, 12:15] = motion_weight[:, None, None] * back
        # Poses by images have outliers (Cauchy's loss, by reweighting)
        robust = 1 / np.sqrt(1 + np.sum(residual[:, 9:] ** 2, axis=1) / (6 * _CAUCHY**2))
        residual[:, 9:] *= robust[:, None]
        jacobian[:, 9:] *= robust[:, None, None]
        return residual, jacobian


def _solved(hessian: np.ndarray, gradient: np.ndarray, damping: float) -> np.ndarray | None:
    damped = hessian.copy()
    damped[np.diag_indices_from(damped)] *= 1 + damping
    try:
        return -cho_solve(cho_factor(damped), gradient)
    except (LinAlgError, ValueError):
        return None

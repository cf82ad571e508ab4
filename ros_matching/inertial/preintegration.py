"""Preintegration of IMU samples between two images by GTSAM (https://gtsam.org), the optional extra ``imu``.

Forster et al., "On-Manifold Preintegration for Real-Time Visual-Inertial Odometry", TRO 2017. With gravity g along
the world's -z axis, the states i and j of the IMU obey

    R_j = R_i dR,   v_j = v_i + g dt + R_i dv,   p_j = p_i + v_i dt + g dt^2 / 2 + R_i dp.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ros_matching.datatypes import ImuNoise, ImuSamples
from ros_matching.errors import MissingDependencyError
from ros_matching.geometry.se3 import exp_so3, log_so3

_STEP = 1e-4  # of a bias, for its derivatives: the correction of GTSAM is linear in the biases


@dataclass(frozen=True, eq=False)
class Preintegration:
    """Change of rotation (3, 3), velocity (3,) and position (3,) of the IMU over ``seconds``, in its first axes.

    ``bias`` (6,), of accelerometer and gyroscope, was subtracted. ``jacobian`` (9, 6) are the derivatives of (rotation,
    position, velocity) by the biases, ``covariance`` (9, 9) that of the white noise, in the same order; rotations are
    perturbed on the right.
    """

    seconds: float
    rotation: np.ndarray
    position: np.ndarray
    velocity: np.ndarray
    bias: np.ndarray
    jacobian: np.ndarray
    covariance: np.ndarray


def preintegrate(samples: ImuSamples, bias: np.ndarray, noise: ImuNoise) -> Preintegration:
    """Integrate at least two samples with ``bias`` (6,) of accelerometer and gyroscope.

    Rates and forces are averaged over each step. Raises ``MissingDependencyError`` without GTSAM.
    """
    gtsam = require_gtsam()
    parameters = gtsam.PreintegrationParams.MakeSharedU(0.0)
    parameters.setAccelerometerCovariance(noise.accelerometer**2 * np.eye(3))
    parameters.setGyroscopeCovariance(noise.gyroscope**2 * np.eye(3))
    parameters.setIntegrationCovariance(1e-12 * np.eye(3))
    measured = gtsam.PreintegratedImuMeasurements(parameters, gtsam.imuBias.ConstantBias(bias[:3], bias[3:]))
    seconds = np.diff(samples.stamps_ns) * 1e-9
    rates = 0.5 * (samples.gyroscope[1:] + samples.gyroscope[:-1])
    # Mean along the axes at the start of each step
    turned = exp_so3((rates - bias[3:]) * seconds[:, None])
    forces = 0.5 * (samples.accelerometer[:-1] + np.einsum("nij,nj->ni", turned, samples.accelerometer[1:] - bias[:3]))
    forces += 0.5 * bias[:3]
    for force, rate, step_s in zip(forces, rates, seconds.tolist(), strict=True):
        measured.integrateMeasurement(force, rate, step_s)

    def predicted(change: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        moved = bias + change
        state = measured.predict(gtsam.NavState(), gtsam.imuBias.ConstantBias(moved[:3], moved[3:]))
        return state.attitude().matrix(), state.position(), state.velocity()

    rotation, position, velocity = predicted(np.zeros(6))
    jacobian = np.zeros((9, 6))
    for column in range(6):
        moved = predicted(_STEP * np.eye(6)[column])
        jacobian[:3, column] = log_so3(rotation.T @ moved[0]) / _STEP
        jacobian[3:6, column] = (moved[1] - position) / _STEP
        jacobian[6:, column] = (moved[2] - velocity) / _STEP
    return Preintegration(
        float(seconds.sum()), rotation, position, velocity, bias.copy(), jacobian, np.array(measured.preintMeasCov())
    )


def require_gtsam() -> ModuleType:
    """Return GTSAM; raises ``MissingDependencyError`` if it is not installed."""
    try:
        import gtsam
    except ImportError as error:
        raise MissingDependencyError(
            "the scale by an IMU needs GTSAM, which is not installed; pip install 'ros_matching[imu]' "
            "(or gtsam; it has wheels for Python 3.11 or newer on Linux and macOS, none for Windows)"
        ) from error
    return gtsam

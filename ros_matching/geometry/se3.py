"""Rotations and rigid transforms: exponential and logarithm, quaternions, and how covariances travel.

Perturbations follow ``datatypes``: a transform moves by ``delta = (dt, dr)``, translation first, to
``t = t_hat + dt`` and ``R = Exp(dr) @ R_hat``. Leading dimensions are batch dimensions throughout.
"""

from __future__ import annotations

import numpy as np

from ros_matching.errors import GeometryError

_SMALL_ANGLE = 1e-6  # below it the Taylor series is exact to machine precision


def skew(vector: np.ndarray) -> np.ndarray:
    """The matrices (..., 3, 3) with ``skew(v) @ w == cross(v, w)`` of vectors (..., 3)."""
    vector = np.asarray(vector, dtype=np.float64)
    matrix = np.zeros((*vector.shape, 3))
    matrix[..., 2, 1], matrix[..., 0, 2], matrix[..., 1, 0] = vector[..., 0], vector[..., 1], vector[..., 2]
    return matrix - np.swapaxes(matrix, -1, -2)


def exp_so3(rotation_vector: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) of rotation vectors (..., 3) in radians (Rodrigues' formula)."""
    vector = np.asarray(rotation_vector, dtype=np.float64)
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    small = angle < _SMALL_ANGLE
    safe = np.where(small, 1.0, angle)
    sine = np.where(small, 1.0 - angle**2 / 6.0, np.sin(safe) / safe)
    cosine = np.where(small, 0.5 - angle**2 / 24.0, 2.0 * (np.sin(safe / 2.0) / safe) ** 2)
    cross = skew(vector)
    return np.eye(3) + sine * cross + cosine * (cross @ cross)


def log_so3(rotation: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3) of rotations (..., 3, 3), of length 0 to pi; the inverse of ``exp_so3``."""
    quaternion = quaternion_from_rotation(rotation)
    vector, real = quaternion[..., :3], quaternion[..., 3:]
    sine = np.linalg.norm(vector, axis=-1, keepdims=True)
    small = sine < _SMALL_ANGLE
    factor = np.where(small, 2.0 + sine**2 / 3.0, 2.0 * np.arctan2(sine, real) / np.where(small, 1.0, sine))
    return factor * vector


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) as ``x y z w`` with ``w >= 0`` of rotations (..., 3, 3) (Shepperd 1978)."""
    r = np.asarray(rotation, dtype=np.float64)
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    x_w, y_w, z_w = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    x_y, x_z, y_z = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    # Row i is the quaternion times four times its component i: the row of the largest one is well conditioned.
    rows = [
        [1 + xx - yy - zz, x_y, x_z, x_w],
        [x_y, 1 - xx + yy - zz, y_z, y_w],
        [x_z, y_z, 1 - xx - yy + zz, z_w],
        [x_w, y_w, z_w, 1 + xx + yy + zz],
    ]
    table = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    largest = np.argmax(np.diagonal(table, axis1=-2, axis2=-1), axis=-1)[..., None, None]
    quaternion = np.take_along_axis(table, largest, axis=-2)[..., 0, :]
    quaternion = np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    return quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)


def rotation_from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) of quaternions (..., 4) as ``x y z w``, which need not be of unit length.

    A quaternion of length zero or not finite has no rotation and raises ``GeometryError``.
    """
    q = np.asarray(quaternion, dtype=np.float64)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    if not np.all(np.isfinite(length) & (length > 1e-9)):
        raise GeometryError(f"a rotation needs finite quaternions of length above zero (x y z w), got {q.tolist()}")
    q = q / length
    cross = skew(q[..., :3])
    return np.eye(3) + 2.0 * (q[..., 3, None, None] * cross + cross @ cross)


def pose_from(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Transforms (..., 4, 4) of rotations (..., 3, 3) and translations (..., 3)."""
    rotation, translation = np.asarray(rotation), np.asarray(translation)
    pose = np.zeros((*np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1]), 4, 4))
    pose[..., :3, :3] = rotation
    pose[..., :3, 3] = translation
    pose[..., 3, 3] = 1.0
    return pose


def scaled(transform: np.ndarray, factor: float) -> np.ndarray:
    """Transforms (..., 4, 4) after all lengths were multiplied by ``factor``."""
    return pose_from(transform[..., :3, :3], factor * transform[..., :3, 3])


def invert(transform: np.ndarray) -> np.ndarray:
    """``b_from_a`` of ``a_from_b``, both (..., 4, 4)."""
    rotation = np.swapaxes(transform[..., :3, :3], -1, -2)
    return pose_from(rotation, -(rotation @ transform[..., :3, 3:])[..., 0])


def orthonormalized(transform: np.ndarray) -> np.ndarray:
    """The rigid transform (4, 4) nearest to one whose rotation has rounding errors.

    ``invert`` takes the transpose of the rotation, which doubles such an error; in a chain of products it grows.
    """
    u, _, vt = np.linalg.svd(transform[:3, :3])
    return pose_from(u @ vt, transform[:3, 3])


def transform(a_from_b: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., N, 3) of frame b in frame a, by ``a_from_b`` (..., 4, 4)."""
    return points @ np.swapaxes(a_from_b[..., :3, :3], -1, -2) + a_from_b[..., None, :3, 3]


def rotation_angle_deg(rotation: np.ndarray) -> np.ndarray:
    """The angle, 0 to 180 degrees, of rotations (..., 3, 3) or of the rotations of transforms (..., 4, 4)."""
    return np.degrees(np.linalg.norm(log_so3(np.asarray(rotation)[..., :3, :3]), axis=-1))


def angle_between_deg(vector0: np.ndarray, vector1: np.ndarray) -> np.ndarray:
    """The angle, 0 to 180 degrees, between vectors (..., 3); NaN where one has no direction."""
    vector0, vector1 = np.broadcast_arrays(vector0, vector1)
    sine = np.linalg.norm(np.cross(vector0, vector1), axis=-1)
    cosine = np.sum(vector0 * vector1, axis=-1)
    angle = np.degrees(np.arctan2(sine, cosine))  # accurate for all angles, unlike arccos
    return np.where((sine == 0) & (cosine == 0), np.nan, angle)


def interpolate(transform0: np.ndarray, transform1: np.ndarray, fraction: float | np.ndarray) -> np.ndarray:
    """Transforms (..., 4, 4) on the way from ``transform0`` (fraction 0) to ``transform1`` (fraction 1).

    The translation moves on a straight line, the rotation about one axis at constant speed.
    """
    fraction = np.asarray(fraction, dtype=np.float64)[..., None]
    delta = local(transform0, transform1)
    return retract(transform0, fraction * delta)


def retract(transform_hat: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """The transforms (..., 4, 4) that are ``delta`` (..., 6), as ``(dt, dr)``, away from ``transform_hat``."""
    delta = np.asarray(delta, dtype=np.float64)
    rotation = exp_so3(delta[..., 3:]) @ transform_hat[..., :3, :3]
    return pose_from(rotation, transform_hat[..., :3, 3] + delta[..., :3])


def local(transform_hat: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """The ``delta`` (..., 6) with ``retract(transform_hat, delta) == transform``."""
    rotation = transform[..., :3, :3] @ np.swapaxes(transform_hat[..., :3, :3], -1, -2)
    translation = transform[..., :3, 3] - transform_hat[..., :3, 3]
    return np.concatenate(np.broadcast_arrays(translation, log_so3(rotation)), axis=-1)


def invert_covariance(a_from_b: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The covariance (6, 6) of ``b_from_a``, given that of ``a_from_b``, to first order."""
    rotation, translation = a_from_b[:3, :3], a_from_b[:3, 3]
    jacobian = np.zeros((6, 6))
    jacobian[:3, :3] = jacobian[3:, 3:] = -rotation.T
    jacobian[:3, 3:] = -rotation.T @ skew(translation)
    return jacobian @ covariance @ jacobian.T


def compose_covariance(
    a_from_b: np.ndarray, covariance_ab: np.ndarray, b_from_c: np.ndarray, covariance_bc: np.ndarray
) -> np.ndarray:
    """The covariance (6, 6) of ``a_from_b @ b_from_c``, whose errors are independent, to first order."""
    rotation = a_from_b[:3, :3]
    left, right = np.eye(6), np.zeros((6, 6))
    left[:3, 3:] = -skew(rotation @ b_from_c[:3, 3])
    right[:3, :3] = right[3:, 3:] = rotation
    return left @ covariance_ab @ left.T + right @ covariance_bc @ right.T


def relative_covariance(
    world_from_a: np.ndarray, covariance_a: np.ndarray, world_from_b: np.ndarray, covariance_b: np.ndarray
) -> np.ndarray:
    """The covariance (6, 6) of ``a_from_b`` of two poses in the world whose errors are independent.

    Poses of one map share part of their error, so this overstates it there.
    """
    a_from_world = invert(world_from_a)
    return compose_covariance(a_from_world, invert_covariance(world_from_a, covariance_a), world_from_b, covariance_b)


def step_from_world(camera_from_world: np.ndarray) -> np.ndarray:
    """Return the orthogonal D (6, 6) from the error ``(dt, dr)`` of world_from_camera to the step of the camera."""
    rotation = np.zeros((6, 6))
    rotation[:3, :3] = rotation[3:, 3:] = -camera_from_world[:3, :3]
    return rotation

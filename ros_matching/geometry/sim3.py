"""Similarity transforms, Sim(3), as matrices (4, 4) ``[s R, t; 0, 1]``; ``se3.transform`` applies them to points.

``a_from_b`` has the scale s of one unit of frame b in units of frame a. Perturbations extend those of ``se3``:
``delta = (dt, dr, ds)`` moves a similarity to ``t = t_hat + dt``, ``R = Exp(dr) @ R_hat``, ``s = exp(ds) * s_hat``.
"""

from __future__ import annotations

import numpy as np

from ros_matching.geometry.se3 import exp_so3, log_so3, pose_from, skew


def similarity_from(pose: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """Similarities (..., 4, 4) of rigid transforms (..., 4, 4) with scales (...)."""
    scale = np.asarray(scale, dtype=np.float64)[..., None, None]
    return pose_from(scale * pose[..., :3, :3], pose[..., :3, 3])


def scale_of(similarity: np.ndarray) -> np.ndarray:
    """Scales (...) of similarities (..., 4, 4)."""
    return np.cbrt(np.linalg.det(similarity[..., :3, :3]))


def rigid_part(similarity: np.ndarray) -> np.ndarray:
    """Rigid transforms (..., 4, 4) with the rotation and translation of similarities (..., 4, 4)."""
    return pose_from(similarity[..., :3, :3] / scale_of(similarity)[..., None, None], similarity[..., :3, 3])


def invert_similarity(similarity: np.ndarray) -> np.ndarray:
    """``b_from_a`` of ``a_from_b``, both (..., 4, 4)."""
    scale = scale_of(similarity)[..., None, None]
    back = np.swapaxes(similarity[..., :3, :3], -1, -2) / scale**2
    return pose_from(back, -(back @ similarity[..., :3, 3:])[..., 0])


def retract_similarity(similarity: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """The similarity (4, 4) that is ``delta`` (7,), as ``(dt, dr, ds)``, away from another."""
    turned = np.exp(delta[6]) * (exp_so3(delta[3:6]) @ similarity[:3, :3])
    return pose_from(turned, similarity[:3, 3] + delta[:3])


def local_similarity(similarity_hat: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """The ``delta`` (..., 7) with ``retract_similarity(similarity_hat, delta) == similarity``."""
    scale_hat, scale = scale_of(similarity_hat)[..., None], scale_of(similarity)[..., None]
    rotation = similarity[..., :3, :3] @ np.swapaxes(similarity_hat[..., :3, :3], -1, -2)
    rotation = rotation / (scale * scale_hat)[..., None]
    translation = similarity[..., :3, 3] - similarity_hat[..., :3, 3]
    return np.concatenate([translation, log_so3(rotation), np.log(scale / scale_hat)], axis=-1)


def compose_similarity_covariance(
    a_from_b: np.ndarray, covariance_ab: np.ndarray, b_from_c: np.ndarray, covariance_bc: np.ndarray
) -> np.ndarray:
    """The covariance (7, 7) of ``a_from_b @ b_from_c``, whose errors are independent, to first order."""
    arm = a_from_b[:3, :3] @ b_from_c[:3, 3]
    left, right = np.eye(7), np.eye(7)
    left[:3, 3:6], left[:3, 6] = -skew(arm), arm
    right[:3, :3] = a_from_b[:3, :3]
    right[3:6, 3:6] = a_from_b[:3, :3] / scale_of(a_from_b)
    return left @ covariance_ab @ left.T + right @ covariance_bc @ right.T


def invert_similarity_covariance(a_from_b: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The covariance (7, 7) of ``b_from_a``, given that of ``a_from_b``, to first order."""
    back, translation = invert_similarity(a_from_b)[:3, :3], a_from_b[:3, 3]
    jacobian = -np.eye(7)
    jacobian[:3, :3] = -back
    jacobian[:3, 3:6], jacobian[:3, 6] = -back @ skew(translation), back @ translation
    jacobian[3:6, 3:6] = -back * scale_of(a_from_b)
    return jacobian @ covariance @ jacobian.T


def align_points(points_a: np.ndarray, points_b: np.ndarray) -> np.ndarray:
    """The similarity ``a_from_b`` (4, 4) of least squares between points (N, 3), at least three not on a line.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.
    """
    mean_a, mean_b = points_a.mean(axis=0), points_b.mean(axis=0)
    from_mean_a, from_mean_b = points_a - mean_a, points_b - mean_b
    u, singular, vt = np.linalg.svd(from_mean_a.T @ from_mean_b / len(points_a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    scale = (singular @ signs) / np.maximum((from_mean_b**2).sum() / len(points_b), 1e-300)
    rotation = scale * (u * signs) @ vt
    return pose_from(rotation, mean_a - rotation @ mean_b)

"""Alignment of an estimated trajectory to ground truth, also for degenerate positions.

Umeyama's closed form (PAMI 1991, computed by evo) needs positions that span a plane. On an exact straight line the
rotation about the line is free, on one point the whole rotation. Neither changes a position error, so the free part is
determined by the camera orientations, and ``Alignment.note`` states this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.errors import EvaluationError
from ros_matching.geometry.se3 import exp_so3, pose_from

# Singular values of the covariance of two point sets are products of lengths: this is 1e-6 of a length, squared.
_RANK_TOLERANCE = 1e-12
# A spread below this fraction of the coordinates is rounding.
_POINT_TOLERANCE = 1e-12

_BY_ORIENTATION = "chosen by the camera orientations"
ON_A_LINE = f"the positions lie on one straight line; the rotation about it was {_BY_ORIENTATION}"
ON_A_POINT = f"the positions lie on one point; the rotation was {_BY_ORIENTATION}"
UNRELATED = f"estimated and true positions have nothing in common; the rotation was {_BY_ORIENTATION}"
NO_SCALE = "the estimate stands still, so that its scale is not determined"


@dataclass(frozen=True)
class Alignment:
    """Ground-truth coordinates ``scale * rotation @ p + translation`` of the estimate's points p.

    ``scale`` is NaN if the estimate does not determine it (then lengths are unchanged). ``note`` names what was not
    determined, and is empty otherwise.
    """

    rotation: np.ndarray
    translation: np.ndarray
    scale: float
    note: str = ""

    def apply(self, world_from_camera: np.ndarray) -> np.ndarray:
        """Return poses (N, 4, 4) of the estimate in ground-truth coordinates."""
        scale = self.scale if np.isfinite(self.scale) else 1.0
        positions = scale * world_from_camera[:, :3, 3] @ self.rotation.T + self.translation
        return pose_from(self.rotation @ world_from_camera[:, :3, :3], positions)


def align(estimate: np.ndarray, truth: np.ndarray, *, with_scale: bool) -> Alignment:
    """Return the least-squares alignment of the positions of poses (N, 4, 4) to those of others, row by row.

    Raises ``EvaluationError`` if the scale is requested and the best one is zero: the ground truth does not move while
    the estimate does, or the two are unrelated.
    """
    centre, true_centre = estimate[:, :3, 3].mean(axis=0), truth[:, :3, 3].mean(axis=0)
    offsets, true_offsets = estimate[:, :3, 3] - centre, truth[:, :3, 3] - true_centre
    spread, true_spread = _spread(offsets, centre), _spread(true_offsets, true_centre)
    if with_scale and spread > 0 and true_spread == 0:
        raise _no_scale("the ground truth stands still and the estimate moves")
    if spread == 0 or true_spread == 0:
        rotation = _rotation_of_orientations(estimate, truth)
        scale = float("nan") if with_scale else 1.0
        note = f"{ON_A_POINT}; {NO_SCALE}" if with_scale else ON_A_POINT
    else:
        rotation, relative_scale, note = _align_shapes(offsets / spread, true_offsets / true_spread, estimate, truth)
        if with_scale and relative_scale <= 0:
            raise _no_scale("estimated and true positions have nothing in common")
        scale = relative_scale * true_spread / spread if with_scale else 1.0
    used = scale if np.isfinite(scale) else 1.0
    return Alignment(rotation, true_centre - used * rotation @ centre, scale, note)


def _align_shapes(
    points: np.ndarray, true_points: np.ndarray, estimate: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, float, str]:
    """Return rotation, scale and note for centred points (N, 3) of unit spread."""
    from evo.core.geometry import umeyama_alignment

    covariance = true_points.T @ points / len(points)
    u, singular_values, vt = np.linalg.svd(covariance)
    if singular_values[1] > _RANK_TOLERANCE * singular_values[0]:
        rotation, _, scale = umeyama_alignment(points.T, true_points.T, with_scale=True)
        return rotation, float(scale), ""
    if singular_values[0] <= _RANK_TOLERANCE:
        return _rotation_of_orientations(estimate, truth), 0.0, UNRELATED
    direction = u[:, 0]
    onto_line = _shortest_rotation(vt[0], direction)
    rotation = _rotation_about(direction, onto_line @ estimate[:, :3, :3], truth[:, :3, :3]) @ onto_line
    return rotation, float(singular_values[0]), ON_A_LINE


def _no_scale(reason: str) -> EvaluationError:
    return EvaluationError(
        f"the scale of the alignment is not defined, as {reason}; use alignment 'se3' or 'none', or a longer piece"
    )


def _spread(offsets: np.ndarray, centre: np.ndarray) -> float:
    """Return the RMS distance from the centre; 0 within the rounding of the coordinates."""
    spread = float(np.sqrt(np.mean(np.sum(offsets**2, axis=1))))
    return spread if spread > _POINT_TOLERANCE * np.linalg.norm(centre) else 0.0


def _rotation_of_orientations(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) that aligns camera orientations to the true ones (chordal mean)."""
    u, _, vt = np.linalg.svd(np.sum(truth[:, :3, :3] @ np.swapaxes(estimate[:, :3, :3], 1, 2), axis=0))
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt


def _shortest_rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) by the smallest angle from one unit vector to another."""
    axis, cosine = np.cross(start, end), float(np.dot(start, end))
    sine = float(np.linalg.norm(axis))
    if sine < 1e-12:  # parallel, or opposite: a rotation by 180 degrees about any perpendicular axis
        perpendicular = np.cross(start, np.eye(3)[np.argmin(np.abs(start))])
        return np.eye(3) if cosine > 0 else exp_so3(np.pi * perpendicular / np.linalg.norm(perpendicular))
    return exp_so3(axis / sine * np.arctan2(sine, cosine))


def _rotation_about(axis: np.ndarray, rotations: np.ndarray, true_rotations: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) about a unit axis that aligns rotations (N, 3, 3) to the true ones.

    The trace of R(angle) M is a + b cos(angle) + c sin(angle), with its maximum at atan2(c, b).
    """
    m = np.sum(rotations @ np.swapaxes(true_rotations, 1, 2), axis=0)
    sine_part = float(axis @ np.array([m[1, 2] - m[2, 1], m[2, 0] - m[0, 2], m[0, 1] - m[1, 0]]))
    cosine_part = float(np.trace(m) - axis @ m @ axis)
    return exp_so3(np.arctan2(sine_part, cosine_part) * axis)

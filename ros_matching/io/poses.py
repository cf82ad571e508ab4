"""Poses as files give them: few digits, so they are checked and brought back to exact rigid transforms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ros_matching.errors import SourceError
from ros_matching.geometry.se3 import pose_from, rotation_from_quaternion
from ros_matching.io.text import COMMAS_OR_SPACES, read_table

_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def swap_opengl(world_from_camera: np.ndarray) -> np.ndarray:
    """Poses (..., 4, 4) of cameras with OpenGL's axes from those with ours (y down, z forward), or the other way."""
    return world_from_camera @ _FLIP


# Files hold six or seven digits, and fused poses drift from orthonormal: larger errors are not rotations.
RIGID_TOLERANCE = 1e-2


def rigid_transforms(matrices: np.ndarray, where: Callable[[int], str]) -> np.ndarray:
    """The rigid transforms (N, 4, 4) nearest to ``matrices``; one that is not finite comes out as all NaN (unknown).

    The nearest rotation in the Frobenius norm is U V^T of the singular value decomposition. Raises ``SourceError``,
    with the position ``where(row)``, for a matrix whose rotation is not orthonormal within ``RIGID_TOLERANCE``.
    """
    known = np.isfinite(matrices).all(axis=(1, 2))
    rotations = matrices[known, :3, :3]
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers that belong to no rotation
        gram = rotations @ rotations.transpose(0, 2, 1)
        good = np.abs(gram - np.eye(3)).max(axis=(1, 2), initial=0.0) <= RIGID_TOLERANCE
        good &= np.linalg.det(rotations) > 0
    good &= np.abs(matrices[known, 3] - (0.0, 0.0, 0.0, 1.0)).max(axis=1, initial=0.0) <= RIGID_TOLERANCE
    if not good.all():
        row = int(np.flatnonzero(known)[~good][0])
        raise SourceError(
            f"{where(row)}: expected a rigid transform (orthonormal rotation of determinant 1, last row 0 0 0 1), "
            f"got {matrices[row].tolist()}"
        )
    u, _, vt = np.linalg.svd(rotations)
    result = np.full((len(matrices), 4, 4), np.nan)
    result[known] = pose_from(u @ vt, matrices[known, :3, 3])
    return result


def poses_from_quaternions(values: np.ndarray, where: Callable[[int], str]) -> np.ndarray:
    """Poses (N, 4, 4) of ``x y z qx qy qz qw`` (N, 7).

    Raises ``SourceError``, with the position ``where(row)``, for values that are not finite or no unit quaternion.
    """
    good = np.isfinite(values).all(axis=1)
    with np.errstate(over="ignore"):
        good[good] = np.abs(np.linalg.norm(values[good, 3:], axis=1) - 1) <= RIGID_TOLERANCE
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise SourceError(
            f"{where(row)}: expected a finite position and unit quaternion (x y z qx qy qz qw), got "
            f"{values[row].tolist()}"
        )
    return pose_from(rotation_from_quaternion(values[:, 3:]), values[:, :3])


def read_matrices(path: Path, columns: int | None = None) -> np.ndarray:
    """Poses (N, 4, 4) of a file with one row-major matrix a line: 16 numbers, or KITTI's 12. NaN lines stay NaN.

    ``columns`` is 12 or 16, or ``None`` for either.
    """
    if columns is None:
        cells = read_table(path, 1, "a pose: a row-major matrix", separator=COMMAS_OR_SPACES, is_ragged=True).rows[0]
        columns = 12 if len(cells) == 12 else 16
    meaning = f"a pose: a row-major {columns // 4}x4 matrix"
    table = read_table(path, columns, meaning, separator=COMMAS_OR_SPACES)
    matrices = np.tile(np.eye(4), (len(table), 1, 1))
    matrices[:, : columns // 4] = table.numbers().reshape(-1, columns // 4, 4)
    return rigid_transforms(matrices, table.where)


def pose_or_none(pose: np.ndarray) -> np.ndarray | None:
    """The pose, or ``None`` when it is unknown (NaN)."""
    return pose if np.isfinite(pose).all() else None


def read_pose(path: Path) -> np.ndarray | None:
    """The pose of a file with one 4x4 matrix, or ``None`` when it is unknown (NaN). Raises ``SourceError``."""
    table = read_table(path, 4, "a row of a 4x4 pose")
    if len(table) != 4:
        raise SourceError(f"{path}: expected a 4x4 pose, got {len(table)} rows; is the file cut off?")
    return pose_or_none(rigid_transforms(table.numbers()[None], lambda _: str(path))[0])

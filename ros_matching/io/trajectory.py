"""Trajectories and their files: TUM, EuRoC (both with stamps) and KITTI (without)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ros_matching.errors import DataTypeError, SourceError
from ros_matching.geometry.se3 import interpolate, quaternion_from_rotation
from ros_matching.io.poses import pose_or_none, poses_from_quaternions, read_matrices
from ros_matching.io.text import COMMAS_OR_SPACES, TextTable, read_table, write_lines

_LOGGER = logging.getLogger(__name__)
KITTI_PERIOD_NS = 100_000_000  # KITTI's cameras run at 10 Hz
_NS = 1_000_000_000


@dataclass(frozen=True)
class Trajectory:
    """Camera poses over time: ``stamps_ns`` (N,) int64 and ``world_from_camera`` (N, 4, 4)."""

    stamps_ns: np.ndarray
    world_from_camera: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.stamps_ns)
        if self.stamps_ns.shape != (count,) or self.stamps_ns.dtype.kind not in "iu":
            raise DataTypeError(
                f"Trajectory.stamps_ns must be (N,) integers, got {self.stamps_ns.shape} {self.stamps_ns.dtype}"
            )
        if self.world_from_camera.shape != (count, 4, 4):
            raise DataTypeError(
                f"Trajectory.world_from_camera must have shape {(count, 4, 4)}, got {self.world_from_camera.shape}"
            )
        if not np.isfinite(self.world_from_camera).all():
            raise DataTypeError("Trajectory.world_from_camera must be finite; leave unknown poses out")

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @property
    def positions(self) -> np.ndarray:
        """The camera centres, (N, 3)."""
        return self.world_from_camera[:, :3, 3]

    def in_order(self) -> Trajectory:
        """The same poses with stamps that increase; of several with one stamp the first stays."""
        if (np.diff(self.stamps_ns) > 0).all():
            return self
        stamps_ns, rows = np.unique(self.stamps_ns, return_index=True)
        return Trajectory(stamps_ns, self.world_from_camera[rows])

    def in_order_of(self, origin: str | Path) -> Trajectory:
        """The same as ``in_order``, with a logged warning that names ``origin`` if something had to change."""
        ordered = self.in_order()
        if repeated := len(self) - len(ordered):
            _LOGGER.warning("%s: %d poses repeat a stamp and were left out", origin, repeated)
        if backward := int(np.count_nonzero(np.diff(self.stamps_ns) < 0)):
            _LOGGER.warning("%s: the stamps go back %d times; the poses were sorted", origin, backward)
        return ordered

    def at(self, stamps_ns: np.ndarray, *, max_gap_s: float = 0.1) -> np.ndarray:
        """The poses (M, 4, 4) at other stamps: linear in position, spherical in rotation.

        A pose is NaN (unknown) before the first stamp, after the last, and within gaps longer than ``max_gap_s``;
        where a stamp is met exactly, the pose is that of the trajectory. It must be in order (``in_order``).
        """
        poses = np.full((len(stamps_ns), 4, 4), np.nan)
        if len(self) == 0:
            return poses
        after = np.searchsorted(self.stamps_ns, stamps_ns).clip(max=len(self) - 1)
        exact = self.stamps_ns[after] == stamps_ns
        poses[exact] = self.world_from_camera[after[exact]]
        before = np.maximum(after - 1, 0)
        gaps_ns = self.stamps_ns[after] - self.stamps_ns[before]
        since_ns = stamps_ns - self.stamps_ns[before]
        between = ~exact & (since_ns > 0) & (since_ns < gaps_ns) & (gaps_ns <= max_gap_s * _NS)
        fractions = since_ns[between] / gaps_ns[between]
        starts, ends = self.world_from_camera[before[between]], self.world_from_camera[after[between]]
        poses[between] = interpolate(starts, ends, fractions)
        return poses


def read_tum(path: str | Path) -> Trajectory:
    """Read a TUM trajectory (``stamp tx ty tz qx qy qz qw`` a line), in order of its stamps.

    Stamps since 1970 may be in another unit than seconds (``TextTable.stamps_ns``), and commas may separate the values.
    Raises ``SourceError`` with the line number for other content.
    """
    table = read_table(
        Path(path), 8, "a TUM pose: stamp tx ty tz qx qy qz qw", separator=COMMAS_OR_SPACES, has_names=True
    )
    return _with_stamps(table, table.stamps_ns(), [0, 1, 2, 3, 4, 5, 6])


def read_euroc(path: str | Path) -> Trajectory:
    """Read a ground truth of EuRoC or TUM-VI (``ns, x, y, z, qw, qx, qy, qz, ...`` a line), in order of its stamps.

    The poses are those of the body. Raises ``SourceError`` with the line number for other content.
    """
    table = read_table(Path(path), 8, "stamp, position x y z, quaternion w x y z", separator=",", has_names=True)
    return _with_stamps(table, table.integers(), [0, 1, 2, 4, 5, 6, 3])


def read_trajectory(path: str | Path) -> Trajectory:
    """Read a trajectory with stamps: TUM, or EuRoC's CSV, recognised by its columns and their names.

    Raises ``SourceError`` for a file without stamps (KITTI), and where the order of the quaternion is not known.
    """
    path = Path(path)
    table = read_table(path, 1, "a pose with its stamp", separator=",", has_names=True)
    columns, names = len(table.rows[0]), [name.lower() for name in table.header]
    if columns == 1:
        words = len(table.rows[0][0].split())
        if words in (12, 16):
            raise SourceError(
                f"{path} has {words} numbers a line: matrices without stamps (KITTI); stamps are needed here"
            )
        return read_tum(path)
    first_quaternion, last_quaternion = (names[4], names[7]) if len(names) >= 8 else ("", "")
    if "w" in first_quaternion or columns >= 17:
        return read_euroc(path)
    in_nanoseconds = len(table.rows[0][0]) >= 17 and table.rows[0][0].isdigit()
    if in_nanoseconds and "w" not in last_quaternion:
        raise SourceError(
            f"{path}: is the quaternion x y z w (TUM) or w x y z (EuRoC)? Add a first line with the names of the "
            "columns, such as: #timestamp,tx,ty,tz,qx,qy,qz,qw"
        )
    return read_tum(path)


def _with_stamps(table: TextTable, stamps_ns: np.ndarray, order: list[int]) -> Trajectory:
    """The trajectory of a table that has, from its second column on, x y z qx qy qz qw in this ``order``."""
    poses = poses_from_quaternions(table.numbers(first=1, last=8)[:, order], table.where)
    return Trajectory(stamps_ns, poses).in_order_of(table.path)


def pose_lookup(path: str | Path) -> Callable[[int, int], np.ndarray | None]:
    """The poses of a file as a function of a frame's index and stamp (ns); ``None`` if a pose is unknown.

    A file with stamps (``read_trajectory``) is interpolated at the frame's stamp; one with a matrix a line (KITTI, or
    4x4) holds a line for each frame of the recording. Raises ``SourceError``, also for a frame beyond the last line.
    """
    path = Path(path)
    columns = len(read_table(path, 1, "a pose", separator=COMMAS_OR_SPACES, has_names=True, is_ragged=True).rows[0])
    if columns in (12, 16):
        poses = read_matrices(path, columns)
        return lambda index, stamp_ns: _pose_of_line(path, poses, index)
    trajectory = read_trajectory(path)
    return lambda index, stamp_ns: pose_or_none(trajectory.at(np.array([stamp_ns]))[0])


def _pose_of_line(path: Path, poses: np.ndarray, index: int) -> np.ndarray | None:
    if index >= len(poses):
        raise SourceError(
            f"{path} holds {len(poses)} poses, but there is a frame {index}; it needs a line for each frame"
        )
    return pose_or_none(poses[index])


def write_tum(path: str | Path, trajectory: Trajectory) -> None:
    """Write a TUM trajectory, stamps to the nanosecond and numbers to the last digit."""
    quaternions = quaternion_from_rotation(trajectory.world_from_camera[:, :3, :3])
    values = np.hstack([trajectory.positions, quaternions]).tolist()
    rows = zip(trajectory.stamps_ns.tolist(), values, strict=True)
    write_lines(Path(path), (f"{_seconds(stamp_ns)} {' '.join(map(repr, row))}" for stamp_ns, row in rows))


def read_kitti(path: str | Path, stamps_ns: np.ndarray | None = None) -> Trajectory:
    """Read a KITTI trajectory. It has no stamps: give them, or they count up at KITTI's 10 Hz from 0.

    Raises ``SourceError`` for other content, with the line number, and when the number of stamps differs.
    """
    path = Path(path)
    poses = read_matrices(path, 12)
    unknown = ~np.isfinite(poses).all(axis=(1, 2))
    if unknown.any():
        raise SourceError(f"{path}: pose {int(np.flatnonzero(unknown)[0]) + 1} is not finite")
    if stamps_ns is None:
        stamps_ns = np.arange(len(poses), dtype=np.int64) * KITTI_PERIOD_NS
    if len(stamps_ns) != len(poses):
        raise SourceError(f"{path} holds {len(poses)} poses, but {len(stamps_ns)} stamps were given")
    return Trajectory(stamps_ns, poses)


def write_kitti(path: str | Path, trajectory: Trajectory) -> None:
    """Write a KITTI trajectory, numbers to the last digit; the stamps are lost, as the format has none."""
    rows = trajectory.world_from_camera[:, :3].reshape(-1, 12).tolist()
    write_lines(Path(path), (" ".join(map(repr, row)) for row in rows))


def _seconds(stamp_ns: int) -> str:
    seconds, nanoseconds = divmod(abs(stamp_ns), _NS)
    return f"{'-' if stamp_ns < 0 else ''}{seconds}.{nanoseconds:09d}"

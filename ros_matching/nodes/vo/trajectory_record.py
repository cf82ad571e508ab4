"""Recorded camera trajectory for ``~/save_trajectory``: one part per start of the odometry."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ros_matching.atomic_file import output_path
from ros_matching.errors import NodeError
from ros_matching.io.trajectory import Trajectory, write_kitti, write_tum

_WRITERS: dict[str, Callable[[Path, Trajectory], None]] = {"tum": write_tum, "kitti": write_kitti}
_MOST_PARTS = 100

_Part = list[tuple[int, np.ndarray]]


def part_path(path: Path, number: int) -> Path:
    """Return the file of an earlier part: ``t.part1.tum`` for ``t.tum``."""
    return path.with_name(f"{path.stem}.part{number}{path.suffix}")


class TrajectoryRecord:
    """Stamps and ``world_from_camera`` (4, 4) of the newest ``length`` tracked images; thread-safe.

    Each part has a world frame of its own, so each is written to a file of its own.
    """

    def __init__(self, length: int) -> None:
        self._lock = threading.Lock()
        self._length = length
        self._count = 0
        self._first_number = 1  # number of the oldest stored part
        self._parts: deque[deque[tuple[int, np.ndarray]]] = deque([deque()])

    def add(self, stamp_ns: int, world_from_camera: np.ndarray) -> None:
        """Add one pose."""
        with self._lock:
            self._parts[-1].append((stamp_ns, world_from_camera))
            self._count += 1
            while self._count > self._length or len(self._parts) > _MOST_PARTS:
                self._drop_oldest()

    def begin_part(self) -> None:
        """Start another part with the next pose; earlier parts stay."""
        with self._lock:
            if self._parts[-1]:
                self._parts.append(deque())

    def save(self, file: str, file_format: str) -> str:
        """Write the poses as ``tum`` or ``kitti``; return a summary. Raises ``NodeError`` with the remedy."""
        if not file:
            raise NodeError("no file is named; set the parameter trajectory_file first (ros2 param set)")
        with self._lock:
            *earlier, newest = [list(part) for part in self._parts]
            first_number = self._first_number
        if not (earlier or newest):
            raise NodeError("no image has been tracked yet; there is nothing to save")
        try:
            path = output_path(file)
            written = [
                _write(part_path(path, number), part, file_format) for number, part in enumerate(earlier, first_number)
            ]
            if newest:
                written.append(_write(path, newest, file_format))
        except OSError as error:
            raise NodeError(f"cannot write {file}: {error}; choose another trajectory_file") from error
        since = "" if newest else "no image has been tracked since the last reset; before: "
        return since + "; ".join(written)

    def _drop_oldest(self) -> None:
        if len(self._parts) > _MOST_PARTS:
            self._count -= len(self._parts[0])
            self._parts[0].clear()
        else:
            self._count -= 1
            self._parts[0].popleft()
        if not self._parts[0] and len(self._parts) > 1:
            self._parts.popleft()
            self._first_number += 1


def _write(path: Path, poses: _Part, file_format: str) -> str:
    stamps_ns, world_from_camera = zip(*poses, strict=True)
    trajectory = Trajectory(np.array(stamps_ns, dtype=np.int64), np.array(world_from_camera))
    _WRITERS[file_format](path, trajectory)
    return f"{len(poses)} poses of the camera in its first keyframe's camera frame, as {file_format}: {path}"

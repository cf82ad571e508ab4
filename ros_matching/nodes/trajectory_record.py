"""The camera's path since the last reset, for ``~/save_trajectory``."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np

from ros_matching.errors import NodeError
from ros_matching.io.trajectory import Trajectory, write_kitti, write_tum

_WRITERS = {"tum": write_tum, "kitti": write_kitti}


class TrajectoryRecord:
    """Stamps and ``world_from_camera`` (4, 4) of tracked images, the newest ``length`` of them."""

    def __init__(self, length: int) -> None:
        self._poses: deque[tuple[int, np.ndarray]] = deque(maxlen=length)

    def __len__(self) -> int:
        return len(self._poses)

    def add(self, stamp_ns: int, world_from_camera: np.ndarray) -> None:
        """Keep one pose."""
        self._poses.append((stamp_ns, world_from_camera))

    def clear(self) -> None:
        """Start anew."""
        self._poses.clear()

    def save(self, file: str, file_format: str) -> Path:
        """Write the poses as ``tum`` or ``kitti`` and return where; raises ``NodeError`` with the remedy."""
        if not file:
            raise NodeError("no file is named; set the parameter trajectory_file first (ros2 param set)")
        if not self._poses:
            raise NodeError("no image has been tracked since the last reset; there is nothing to save")
        path = Path(file).expanduser().resolve()
        stamps_ns, poses = zip(*self._poses, strict=True)
        trajectory = Trajectory(np.array(stamps_ns, dtype=np.int64), np.array(poses))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _WRITERS[file_format](path, trajectory)
        except OSError as error:
            raise NodeError(f"cannot write {path}: {error}; choose another trajectory_file") from error
        return path

"""The camera's path since the last reset, for ``~/save_trajectory``."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

import numpy as np

from ros_matching.errors import NodeError
from ros_matching.io.trajectory import Trajectory, write_kitti, write_tum

_WRITERS = {"tum": write_tum, "kitti": write_kitti}


class TrajectoryRecord:
    """Stamps and ``world_from_camera`` (4, 4) of tracked images, the newest ``length`` of them; for several threads."""

    def __init__(self, length: int) -> None:
        self._lock = threading.Lock()
        self._poses: deque[tuple[int, np.ndarray]] = deque(maxlen=length)

    def add(self, stamp_ns: int, world_from_camera: np.ndarray) -> None:
        """Keep one pose."""
        with self._lock:
            self._poses.append((stamp_ns, world_from_camera))

    def clear(self) -> None:
        """Start anew."""
        with self._lock:
            self._poses.clear()

    def save(self, file: str, file_format: str) -> tuple[int, Path]:
        """Write the poses as ``tum`` or ``kitti``; how many, and where. Raises ``NodeError`` with the remedy."""
        if not file:
            raise NodeError("no file is named; set the parameter trajectory_file first (ros2 param set)")
        with self._lock:
            poses = list(self._poses)
        if not poses:
            raise NodeError("no image has been tracked since the last reset; there is nothing to save")
        path = Path(file).expanduser().resolve()
        stamps_ns, world_from_camera = zip(*poses, strict=True)
        trajectory = Trajectory(np.array(stamps_ns, dtype=np.int64), np.array(world_from_camera))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _WRITERS[file_format](path, trajectory)
        except OSError as error:
            raise NodeError(f"cannot write {path}: {error}; choose another trajectory_file") from error
        return len(poses), path

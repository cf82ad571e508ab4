"""Keyframe poses that the odometry has corrected since it sent the keyframes."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np
from nav_msgs.msg import Path

from ros_matching.nodes.conversions import pose_from_msg, stamp_ns_from_msg

_MOST_WAITING = 1000


class PoseCorrections:
    """The newest correction of every keyframe until it is taken, by stamp: filled by the executor, for the worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fixed_frame = ""
        self._waiting: dict[int, np.ndarray] = {}

    def receive(self, path: Path) -> None:
        """Take a message of ``keyframe_path``, of which the newest poses; ``NodeError`` for a pose that cannot be."""
        newest = path.poses[-_MOST_WAITING:]
        poses = {stamp_ns_from_msg(pose.header.stamp): pose_from_msg(pose.pose) for pose in newest}
        with self._lock:
            if path.header.frame_id != self._fixed_frame:
                self._fixed_frame, self._waiting = path.header.frame_id, {}
            self._waiting |= poses
            for stamp_ns in list(self._waiting)[:-_MOST_WAITING]:  # of keyframes that never came
                del self._waiting[stamp_ns]

    def take(self, stamps_ns: Iterable[int], fixed_frame: str) -> dict[int, np.ndarray]:
        """The corrected poses ``world_from_camera`` (4, 4) of those keyframes that have one."""
        with self._lock:
            if fixed_frame != self._fixed_frame:
                return {}
            return {stamp_ns: self._waiting.pop(stamp_ns) for stamp_ns in stamps_ns if stamp_ns in self._waiting}

    def forget(self) -> None:
        """Drop all: another run may repeat the stamps."""
        with self._lock:
            self._waiting = {}

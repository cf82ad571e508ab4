"""Checks of the frames: same camera, increasing stamps."""

from __future__ import annotations

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import TrackingError


class InputChecks:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Any frame may come next."""
        self._camera: Camera | None = None
        self._stamp_ns: int | None = None

    def require(self, frame: Frame) -> None:
        """Check the next frame; ``TrackingError`` if the camera changed or the stamp does not increase."""
        if self._camera is not None and frame.camera != self._camera:
            raise TrackingError(
                f"frame {frame.index} comes from {frame.camera}, the ones before from {self._camera}; "
                "reset() the tracker when the camera changes"
            )
        if self._stamp_ns is not None and frame.stamp_ns <= self._stamp_ns:
            raise TrackingError(
                f"frame {frame.index} has stamp {frame.stamp_ns} ns, not after the last frame's {self._stamp_ns} ns; "
                "reset() the tracker when time jumps back"
            )
        self._camera, self._stamp_ns = frame.camera, frame.stamp_ns

"""Images of tracked points, coloured by the status of the tracker."""

from __future__ import annotations

import cv2
import numpy as np

from ros_matching.odometry.result import TrackingResult, TrackingStatus

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
COLORS = {
    TrackingStatus.INITIALIZING: (255, 176, 0),
    TrackingStatus.TRACKING: (60, 210, 60),
    TrackingStatus.LOST: (230, 40, 40),
    TrackingStatus.BRIDGED: (240, 120, 20),
}


def draw_tracks(image: np.ndarray, result: TrackingResult) -> np.ndarray:
    """Return a copy of ``image`` (H, W, 3) uint8 RGB with a line from each tracked point to its reference keypoint.

    The colour of the points shows the status; the caption below states it as text.
    """
    canvas = image.copy()
    color = COLORS[result.status]
    lines = np.stack([result.reference_points_px, result.tracked_points_px], axis=1)
    radius = max(2, image.shape[1] // 320)
    dimmed = tuple(value // 2 for value in color)
    cv2.polylines(canvas, list(_fixed_point(lines)), False, dimmed, 1, cv2.LINE_AA, _SHIFT)
    for u, v in _fixed_point(result.tracked_points_px).tolist():
        cv2.circle(canvas, (u, v), radius << _SHIFT, color, -1, cv2.LINE_AA, _SHIFT)
    text = f"{result.status.value}  {result.counts.inliers}/{result.counts.matches}  {result.reason}".rstrip()
    _draw_caption(canvas, text, color)
    return canvas


def _draw_caption(canvas: np.ndarray, text: str, color: tuple[int, int, int]) -> None:
    height = max(16, canvas.shape[0] // 24)
    canvas[-height:] //= 3
    ascii_text = text.encode("ascii", "replace").decode()
    cv2.putText(
        canvas,
        ascii_text,
        (4, canvas.shape[0] - height // 3),
        cv2.FONT_HERSHEY_SIMPLEX,
        height / 36,
        color,
        1,
        cv2.LINE_AA,
    )


def _fixed_point(points_px: np.ndarray) -> np.ndarray:
    return np.round(points_px * (1 << _SHIFT)).astype(np.int32)

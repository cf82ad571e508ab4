"""Animation docs/images/tracking.gif: the tracked image, and the trajectory with the map from above.

python resource/tracking_animation.py [SOURCE] [OUT]
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from PIL import Image

from ros_matching import load_matcher
from ros_matching.io import open_source
from ros_matching.mapping.view_selection import sparse_points
from ros_matching.odometry.result import TrackingResult
from ros_matching.viewer.tracks import draw_tracks
from ros_matching.visual_odometry import VisualOdometry

SOURCE = "scene:room?frames=150&fps=10&width=480&height=360"
HEIGHT_PX = 200
EVERY = 4  # frames of the sequence for one of the animation
COLORS = 32
BACKGROUND, POINTS, ESTIMATED = (250, 250, 250), (170, 185, 205), (220, 90, 30)


def map_view(results: list[TrackingResult], points: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return the positions and the landmarks (N, 3) from above, x to the right and z up, (H, H, 3) uint8 RGB."""
    canvas = np.full((HEIGHT_PX, HEIGHT_PX, 3), BACKGROUND, np.uint8)
    for position in _pixels(points, limits):
        cv2.circle(canvas, tuple(map(int, position)), 1, POINTS, -1)
    positions = [r.world_from_camera[:3, 3] for r in results if r.world_from_camera is not None]
    if positions:
        cv2.polylines(canvas, [_pixels(np.array(positions), limits)], False, ESTIMATED, 2, cv2.LINE_AA)
    return canvas


def _pixels(points: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of points (N, 3); ``limits`` (2, 2) are the least and greatest x and z of the view."""
    scale = (HEIGHT_PX - 20) / np.max(limits[1] - limits[0])
    place = 10 + scale * (points[:, [0, 2]] - limits[0])
    place[:, 1] = HEIGHT_PX - place[:, 1]
    return np.round(place).astype(np.int32)


def main(source: str = SOURCE, out: str = "docs/images/tracking.gif") -> None:
    """Track the source and write the animation."""
    odometry = VisualOdometry(load_matcher("default"))
    results: list[TrackingResult] = []
    views, seen, points = [], [], []
    for frame in open_source(source):
        results.append(odometry.track(frame))
        points.extend(map(sparse_points, results[-1].new_keyframes))
        if frame.index % EVERY == 0:
            image = draw_tracks(frame.image, results[-1])
            views.append(cv2.resize(image, None, fx=HEIGHT_PX / len(image), fy=HEIGHT_PX / len(image)))
            seen.append((len(results), len(points)))
    cloud = np.concatenate(points)
    limits = np.percentile(cloud[:, [0, 2]], [2, 98], axis=0)
    inside = ((cloud[:, [0, 2]] > limits[0]) & (cloud[:, [0, 2]] < limits[1])).all(axis=1)
    ends = np.cumsum([0, *map(len, points)])
    frames = []
    for view, (count, keyframes) in zip(views, seen, strict=True):
        known = cloud[: ends[keyframes]][inside[: ends[keyframes]]][::3]
        side = map_view(results[:count], known, limits)
        frames.append(Image.fromarray(np.hstack([view, side])).quantize(COLORS))
    frames[0].save(out, save_all=True, append_images=frames[1:], duration=200, loop=0, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

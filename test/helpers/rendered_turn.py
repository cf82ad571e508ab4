"""Handheld walks through a rendered room with a fast turn in the middle, blurred by the motion of the camera."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from ros_matching.datatypes import Camera, Frame
from ros_matching.geometry.se3 import exp_so3, interpolate, pose_from
from ros_matching.odometry.result import TrackingResult
from ros_matching.scenes import PathConfig, ProceduralTextures, Renderer, build_scene, camera_path
from ros_matching.scenes.hard_views import averaged

CAMERA = Camera(320, 240, 250.0, 250.0, 159.5, 119.5)
BEFORE, TURNING, AFTER = 20, 6, 14  # frames
_EXPOSURE = 0.15  # of the time between two frames
_SUB_FRAMES = 4


def turning_path(scene, seed: int, degrees: float) -> np.ndarray:
    """A handheld walk (F, 4, 4) that turns by ``degrees`` a frame about the vertical in its middle."""
    count = BEFORE + TURNING + AFTER
    ramp = 24  # the camera starts at rest
    path = camera_path(scene, PathConfig(frames=ramp + count + 1, fps=12, seed=seed, path="handheld"))[ramp:]
    sign = 1 if seed % 2 else -1
    yaw = sign * np.radians(np.cumsum(np.repeat([0.0, degrees, 0.0], [BEFORE, TURNING, AFTER + 1])))
    turns = exp_so3(np.column_stack([0 * yaw, 0 * yaw, yaw]))  # the world's z axis is up
    return pose_from(turns @ path[:, :3, :3], path[:, :3, 3])


def frames(seed: int, degrees: float) -> Iterator[Frame]:
    """The frames of one walk, with true poses."""
    scene = build_scene("room", ProceduralTextures(), seed)
    poses = turning_path(scene, seed, degrees)
    renderer = Renderer(scene, CAMERA, "cpu", antialias=False)
    for index, (pose, following) in enumerate(itertools.pairwise(poses)):
        times = _EXPOSURE * (np.arange(_SUB_FRAMES) / (_SUB_FRAMES - 1) - 0.5)
        exposed = np.stack([interpolate(pose, following, time) for time in times])
        image = averaged(rgb.numpy() for rgb in renderer.render(exposed).rgb)
        yield Frame(index, 1_000_000_000 + round(index * 1e9 / 12), image, CAMERA, pose)


def scale_ratios(results: Sequence[TrackingResult], poses: np.ndarray) -> np.ndarray:
    """Length of each step with a known motion over its true length, against the median of those before the turn."""
    known = [r for r in results if r.previous_from_current is not None and not r.rotation_only and r.map_id == 1]
    if not known:
        return np.zeros(0)
    rows = np.array([r.frame_index for r in known])
    lengths = np.array([np.linalg.norm(r.previous_from_current[:3, 3]) for r in known])
    ratios = lengths / np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)[rows - 1]
    return ratios / np.median(ratios[rows < BEFORE])

"""Handheld walks through a rendered room with a fast turn in the middle: blurred images, and the samples of an IMU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ros_matching.datatypes import Camera, Frame
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.imu import Imu
from ros_matching.scenes import PathConfig, ProceduralTextures, Renderer, build_scene
from ros_matching.scenes.hard_views import averaged
from ros_matching.scenes.paths import camera_motion
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA, IMU_GRADES, simulate_imu

CAMERA = Camera(320, 240, 250.0, 250.0, 159.5, 119.5)
FIRST_STAMP_NS = 1_000_000_000
_EXPOSURE = 0.15  # of the time between two frames
_SUB_FRAMES = 4
_TURNING = 6  # frames
_RAMP_S = 0.08  # in which the rate of the turn grows and falls
_START_S = 2.0  # the path starts at rest


@dataclass(frozen=True)
class TurningWalk:
    """A walk that turns about the vertical by ``degrees`` a frame, ``before_s`` after its first frame."""

    seed: int
    degrees: float
    before_s: float = 6.0
    after_s: float = 2.5
    fps: float = 12.0

    @property
    def count(self) -> int:
        """Number of frames."""
        return int((self.before_s + self.after_s) * self.fps) + _TURNING

    @property
    def turn_s(self) -> tuple[float, float]:
        """Start and end of the turn."""
        return self.before_s, self.before_s + _TURNING / self.fps

    @cached_property
    def _scene(self):
        return build_scene("room", ProceduralTextures(), self.seed)

    @cached_property
    def _walk(self):
        frames = int((_START_S + self.before_s + self.after_s + 2.0) * self.fps) + _TURNING
        return camera_motion(self._scene, PathConfig(frames=frames, fps=self.fps, seed=self.seed, path="handheld"))

    def poses(self, times_s: np.ndarray) -> np.ndarray:
        """Poses world_from_camera (T, 4, 4)."""
        times_s = np.asarray(times_s, float)
        path = self._walk(times_s + _START_S)
        # The rate rises and falls smoothly: its integral, the angle, is twice differentiable
        sign, angle = 1 if self.seed % 2 else -1, np.zeros_like(times_s)
        for edge, direction in zip(self.turn_s, (1.0, -1.0), strict=True):
            since = np.clip(times_s - edge, -_RAMP_S, None)
            inside = np.minimum(since, _RAMP_S) + _RAMP_S
            grown = 0.25 * inside**2 / _RAMP_S - (_RAMP_S / np.pi**2) * 0.5 * (1 - np.cos(np.pi * inside / _RAMP_S))
            angle += direction * (grown + np.maximum(since - _RAMP_S, 0.0))
        turns = exp_so3(sign * np.radians(self.degrees) * self.fps * angle[:, None] * [0.0, 0.0, 1.0])
        return pose_from(turns @ path[:, :3, :3], path[:, :3, 3])

    def stamp_ns(self, index: int) -> int:
        """Stamp of a frame."""
        return FIRST_STAMP_NS + round(index * 1e9 / self.fps)

    def frames(self) -> Iterator[Frame]:
        """The frames, with true poses."""
        renderer = Renderer(self._scene, CAMERA, "cpu", antialias=False)
        for index in range(self.count):
            now = index / self.fps
            blurred = now + _EXPOSURE / self.fps * (np.arange(_SUB_FRAMES) / (_SUB_FRAMES - 1) - 0.5)
            exposed = blurred if abs(now - np.mean(self.turn_s)) < _TURNING / self.fps else np.array([now])
            image = averaged(rgb.numpy() for rgb in renderer.render(self.poses(exposed)).rgb)
            yield Frame(index, self.stamp_ns(index), image, CAMERA, self.poses(np.array([now]))[0])

    def imu(self, grade: str = "consumer") -> Imu:
        """The IMU of the camera."""
        noise = IMU_GRADES[grade].noise
        samples = simulate_imu(self.poses, self.count / self.fps + 0.5, 200.0, grade, self.seed, FIRST_STAMP_NS)
        config = ImuConfig(
            gyroscope_noise=noise.gyroscope,
            accelerometer_noise=noise.accelerometer,
            gyroscope_walk=noise.gyroscope_walk,
            accelerometer_walk=noise.accelerometer_walk,
        )
        return Imu(config, ImuBuffer.of(samples), IMU_FROM_CAMERA)

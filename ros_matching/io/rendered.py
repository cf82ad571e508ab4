"""Frames rendered from the synthetic world: ``scene:room?frames=300&seed=1&path=loop``, ``scene:house?fps=10``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from ros_matching.config import fields_of, parameter
from ros_matching.datatypes import Camera, Frame, ImuRecording, RightImage
from ros_matching.errors import ConfigError, SourceError
from ros_matching.geometry.se3 import invert
from ros_matching.io.calibration import UsedCalibration
from ros_matching.io.faults import FrameFault
from ros_matching.scenes import (
    ROUTE_SCENES,
    SCENES,
    PathConfig,
    PhotoTextures,
    ProceduralTextures,
    Renderer,
    Scene,
    build_scene,
    camera_path,
)
from ros_matching.scenes.hard_views import CAMERA, HARD_LINES, view_pair
from ros_matching.scenes.paths import camera_motion
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA, IMU_GRADES, simulate_imu

PREFIX = "scene:"
_BATCH_PX = {
    "cpu": 2**18,
    "cuda": 2**22,
}  # rendered at a time: limited by the caches of a processor or the memory of a GPU
_FIRST_STAMP_NS = 1_000_000_000  # a zero stamp means "not set" in ROS


@dataclass(frozen=True)
class RenderedConfig(PathConfig):
    """Settings of the camera and its motion."""

    width: int = parameter(320, "image width in pixels", minimum=16, maximum=8192)
    height: int = parameter(240, "image height in pixels", minimum=16, maximum=8192)
    fov_deg: float = parameter(65.0, "horizontal field of view in degrees", minimum=5.0, maximum=150.0)
    textures: str = parameter("", "folder of photos to take textures from; empty for generated ones")
    baseline_m: float = parameter(
        0.0, "distance of a second camera to the right of the first, in metres; 0 for none", minimum=0.0, maximum=10.0
    )
    noise: float = parameter(
        0.0, "standard deviation of the noise of a pixel, in grey levels of 255; 0 for none", minimum=0.0, maximum=100.0
    )
    antialias: bool = parameter(True, "smooth the edges")
    imu: float = parameter(0.0, "samples of an IMU a second, on the camera; 0 for none", minimum=0.0, maximum=4000.0)
    imu_noise: str = parameter("none", "grade of the IMU: its noise and biases", choices=tuple(IMU_GRADES))
    device: str = parameter("cpu", "where to render", choices=("cpu", "cuda"))


class RenderedSource:
    """A synthetic sequence: frames with ground-truth pose and depth, rendered in small batches on demand."""

    def __init__(self, scene_name: str, config: RenderedConfig = RenderedConfig()) -> None:
        if scene_name not in SCENES:
            raise SourceError(f"no synthetic scene is called {scene_name!r}; there are: {', '.join(SCENES)}")
        self._scene_name, self._config = scene_name, config
        self._textures = PhotoTextures(config.textures) if config.textures else ProceduralTextures()
        self._camera = _camera(config)
        self._rows = range(config.frames)

    def select(self, rows: range) -> RenderedSource:
        """Some of the frames; the others are not rendered."""
        selected = copy(self)
        selected._rows = self._rows[rows.start : rows.stop : rows.step]
        return selected

    @property
    def name(self) -> str:
        """The scene, with its seed and path."""
        path = self._config.path
        if path == "auto":
            path = "route" if self._scene_name in ROUTE_SCENES else "handheld"
        return f"{self._scene_name}_{path}_{self._config.seed}"

    @property
    def faults(self) -> Sequence[FrameFault]:
        """None: rendered frames have no faults."""
        return ()

    @property
    def camera(self) -> Camera:
        """The pinhole camera, its principal point in the middle."""
        return self._camera

    @property
    def calibration(self) -> UsedCalibration:
        """The camera of the renderer."""
        return UsedCalibration("rendered", self._camera)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Frame]:
        renderer = Renderer(self.scene, self._camera, self._config.device, antialias=self._config.antialias)
        per_batch = max(1, _BATCH_PX[renderer.device.type] // (self._camera.width * self._camera.height))
        for first in range(0, len(self), per_batch):
            rows = self._rows[first : first + per_batch]
            poses = self._path[rows]
            views = renderer.render(poses)
            right_images = self._right_images(renderer, poses)
            for row, pose, rgb, depth, right in zip(
                rows, poses, views.rgb.cpu(), views.depth.cpu(), right_images, strict=True
            ):
                yield Frame(
                    index=row,
                    stamp_ns=_FIRST_STAMP_NS + round(row * 1e9 / self._config.fps),
                    image=self._noisy(rgb.numpy(), row, 0),
                    camera=self._camera,
                    true_world_from_camera=pose,
                    depth=depth.numpy(),
                    right=right and replace(right, image=self._noisy(right.image, row, 1)),
                )

    def _noisy(self, image: np.ndarray, row: int, camera: int) -> np.ndarray:
        """The image with the noise of this frame and camera, always the same."""
        if self._config.noise == 0:
            return image
        rng = np.random.default_rng([self._config.seed, row, camera])
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(np.rint(image + self._config.noise * noise), 0, 255).astype(np.uint8)

    def _right_images(self, renderer: Renderer, poses: np.ndarray) -> list[RightImage] | list[None]:
        """The images of the right camera, if there is one."""
        if self._config.baseline_m == 0:
            return [None] * len(poses)
        camera_from_right = np.eye(4)
        camera_from_right[0, 3] = self._config.baseline_m
        views = renderer.render(poses @ camera_from_right)
        return [RightImage(rgb.numpy(), self._camera, invert(camera_from_right)) for rgb in views.rgb.cpu()]

    @property
    def imu(self) -> ImuRecording | None:
        """The IMU on the camera; ``None`` without one."""
        config = self._config
        if config.imu == 0:
            return None
        samples = simulate_imu(
            camera_motion(self.scene, config),
            (config.frames - 1) / config.fps,
            config.imu,
            config.imu_noise,
            config.seed,
            _FIRST_STAMP_NS,
        )
        noise = IMU_GRADES[config.imu_noise].noise if config.imu_noise != "none" else None
        return ImuRecording(samples, f"the IMU in {self.name}", IMU_FROM_CAMERA, noise, 0.0)

    @cached_property
    def scene(self) -> Scene:
        """The scene that is rendered."""
        return build_scene(self._scene_name, self._textures, self._config.seed)

    @property
    def poses(self) -> np.ndarray:
        """The true poses world_from_camera (N, 4, 4) of the frames."""
        return self._path[self._rows]

    @cached_property
    def _path(self) -> np.ndarray:
        return camera_path(self.scene, self._config)


def open_scene(spec: str) -> RenderedSource:
    """The source of a spec ``scene:NAME`` or ``scene:NAME?key=value&...`` with the keys of ``RenderedConfig``."""
    if not spec.startswith(PREFIX):
        raise SourceError(f"a synthetic scene is given as scene:NAME?key=value&..., got {spec!r}")
    name, _, query = spec.removeprefix(PREFIX).partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    known = {info.name: info.type for info in fields_of(RenderedConfig)}
    values = {key: _parse(key, known[key], text) if key in known else text for key, text in pairs}
    return RenderedSource(name, RenderedConfig.from_mapping(values))


def _parse(key: str, kind: type, text: str) -> Any:
    words = {"true": True, "1": True, "false": False, "0": False}
    try:
        return words[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise ConfigError(f"scene key {key} must be {kind.__name__}, got {text!r}") from None


def _camera(config: RenderedConfig) -> Camera:
    focal = config.width / 2 / np.tan(np.radians(config.fov_deg) / 2)
    return Camera(config.width, config.height, focal, focal, (config.width - 1) / 2, (config.height - 1) / 2)


_PERIOD_NS = 1_000_000_000


class HardPairSource:
    """The first ``pairs`` pairs of a line of ``scenes.hard_views``, with ground-truth pose and depth.

    Each is rendered on demand. Raises ``SourceError`` for an unknown line or without pairs.
    """

    def __init__(self, line: str, pairs: int, seed: int = 0) -> None:
        if line not in HARD_LINES:
            raise SourceError(f"no line of hard views is called {line!r}; there are: {', '.join(HARD_LINES)}")
        if pairs < 1:
            raise SourceError(f"a line of hard views needs one pair or more, got {pairs}")
        self._line, self._pairs, self._seed = line, pairs, seed

    @property
    def name(self) -> str:
        """The line."""
        return self._line

    @property
    def faults(self) -> Sequence[FrameFault]:
        """None: rendered frames have no faults."""
        return ()

    @property
    def camera(self) -> Camera:
        """The pinhole camera of all views."""
        return CAMERA

    @property
    def calibration(self) -> UsedCalibration:
        """The camera of the renderer."""
        return UsedCalibration("rendered", CAMERA)

    def __len__(self) -> int:
        return 2 * self._pairs

    def __iter__(self) -> Iterator[Frame]:
        for number in range(self._pairs):
            pair = view_pair(self._line, self._seed, number)
            for view in range(2):
                index = 2 * number + view
                yield Frame(
                    index=index,
                    stamp_ns=(index + 1) * _PERIOD_NS,
                    image=pair.images[view],
                    camera=CAMERA,
                    true_world_from_camera=pair.world_from_camera[view],
                    depth=pair.depth[view],
                )

"""The growing map in Rerun's viewer, or in a file for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ros_matching.errors import MissingDependencyError
from ros_matching.geometry.se3 import invert, transform
from ros_matching.mapping import MappingResult


class Viewer:
    """Shows results: the camera with its image and depth, and points as they come, which move with their keyframes."""

    def __init__(self, name: str, file: Path | None = None) -> None:
        """Start the viewer, or write to a file instead (.rrd, ``rerun FILE`` shows it)."""
        try:
            import rerun
        except ImportError as error:
            raise MissingDependencyError(
                "--rerun needs Rerun's SDK: pip install rerun-sdk (extra rerun of ros_matching)"
            ) from error
        self._rerun = rerun
        self._recording = rerun.RecordingStream(f"ros_matching map {name}")
        self._shown: set[int] = set()
        if file is None:
            self._recording.spawn()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._recording.save(file)
        self._recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Y_DOWN, static=True)

    def show(self, result: MappingResult) -> None:
        """Add a mapped keyframe."""
        rerun, log, id = self._rerun, self._recording.log, result.keyframe_id
        frame, camera = result.keyframe.frame, result.depth_map.camera
        self._recording.set_time("frame", sequence=frame.index)
        log("world/camera", self._pose(result.keyframe.world_from_camera))
        log(
            "world/camera/depth",
            rerun.Pinhole(image_from_camera=camera.matrix, resolution=[camera.width, camera.height]),
        )
        log("world/camera/depth", rerun.DepthImage(result.depth_map.depth, meter=1.0))
        log("image", rerun.Image(frame.image))
        local = transform(invert(result.keyframe.world_from_camera), result.cloud.points)
        self._shown.add(id)
        log(_path(id), self._pose(result.keyframe.world_from_camera))
        log(_path(id), rerun.Points3D(local, colors=result.cloud.colors))

    def move(self, poses: Mapping[int, np.ndarray]) -> None:
        """Give the points of keyframes, by id, corrected poses ``world_from_camera`` (4, 4)."""
        for id in self._shown & poses.keys():
            self._recording.log(_path(id), self._pose(poses[id]))

    def close(self) -> None:
        """Write what has not been written yet."""
        self._recording.flush()
        self._recording.disconnect()

    def _pose(self, world_from_camera: np.ndarray):
        return self._rerun.Transform3D(translation=world_from_camera[:3, 3], mat3x3=world_from_camera[:3, :3])


def _path(id: int) -> str:
    return f"world/points/{id:06d}"

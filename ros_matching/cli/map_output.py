"""Output of ``ros-matching map``: clouds, images, poses, a report, and the viewer Rerun."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ros_matching.cli.grid_output import GridOutput
from ros_matching.datatypes import PointCloud, ScaleState
from ros_matching.errors import MissingDependencyError
from ros_matching.evaluation.mapping.mapping_report import MappingRecorder, MappingReport, mapping_measurement
from ros_matching.evaluation.mapping.visualization import draw_cloud, draw_depth, overview
from ros_matching.evaluation.measurement import write_measurement
from ros_matching.geometry.se3 import invert, transform
from ros_matching.io import FrameSource
from ros_matching.io.faults import fault_summary
from ros_matching.io.images import write_image
from ros_matching.io.point_clouds import write_cloud
from ros_matching.io.trajectory import Trajectory, write_tum
from ros_matching.mapping import MappingResult, MappingStatus

_LOG = logging.getLogger(__name__)
_NO_SETTINGS = {"command", "debug", "out", "quiet", "run"}
_SPLAT = 2.0  # size of a drawn point, in pixels of the depth maps


class ResultViewer(Protocol):
    """Viewer of results during a run."""

    def show(self, result: MappingResult) -> None:
        """Show the next result."""

    def move(self, poses: Mapping[int, np.ndarray]) -> None:
        """Correct poses."""

    def close(self) -> None:
        """End the display."""


class MapOutput:
    """Collects the results of a run and writes them."""

    def __init__(
        self,
        folder: Path,
        source: str,
        *,
        images: int,
        has_true_poses: bool,
        viewer: ResultViewer | None = None,
        grid: GridOutput | None = None,
    ) -> None:
        self._grid = grid
        self.last_reason = "there was no keyframe"
        self._folder, self._source, self._images, self._viewer = folder, source, images, viewer
        self._has_true_poses = has_true_poses
        self._mapped = 0
        self._restart(None)

    def _restart(self, scale: ScaleState | None) -> None:
        self._scale = scale
        self._recorder = MappingRecorder(is_aligned=self._has_true_poses)
        self._stamps: dict[int, int] = {}
        self._poses: dict[int, np.ndarray] = {}
        self._footprint: list[float] = []  # of a pixel of the depth maps, in the world
        if self._grid is not None:
            self._grid.clear()

    def correct(self, poses: Mapping[int, np.ndarray]) -> None:
        """Correct poses of keyframes."""
        self._poses |= {id: pose for id, pose in poses.items() if id in self._poses}
        if self._grid is not None:
            self._grid.move(poses)
        if self._viewer is not None:
            self._viewer.move(poses)

    def take(self, result: MappingResult) -> None:
        """Add the next result of the mapper; a change of the map scale drops the earlier ones."""
        scale = result.keyframe.scale
        if self._scale is None or not self._scale.shares_unit(scale):
            if self._stamps:
                _LOG.warning("the map scale is now %s: the map was restarted", scale.value)
            self._restart(scale)
        if result.reason:
            self.last_reason = result.reason
        if result.status is MappingStatus.WAITING:
            self._recorder.add_time(result.stage_ms)
            return
        keyframe, depth_map = result.keyframe, result.depth_map
        self._recorder.add(keyframe.frame, keyframe.world_from_camera, depth_map, result.reason, result.stage_ms)
        self._stamps[keyframe.id], self._poses[keyframe.id] = keyframe.frame.stamp_ns, keyframe.world_from_camera
        if depth_map is None:
            return
        if np.isfinite(depth_map.depth).any():
            self._footprint.append(float(np.nanmedian(depth_map.depth)) / depth_map.camera.fx)
        if self._images and self._mapped % self._images == 0:
            self._write_image(f"depth/{keyframe.frame.index:06d}.png", draw_depth(depth_map, keyframe.frame.image))
        self._mapped += 1
        if self._grid is not None:
            self._grid.take(result)
        if self._viewer is not None:
            self._viewer.show(result)

    def write(
        self, cloud: PointCloud, settings: Mapping[str, Any], source: FrameSource, *, pcd: bool, quiet: bool
    ) -> None:
        """Write all results, and print the report with calibration and faults of the source."""
        if self._viewer is not None:
            self._viewer.close()
        written = []
        for name in ["cloud.ply", *(["cloud.pcd"] if pcd else [])]:
            write_cloud(self._folder / name, cloud)
            written.append(name)
        if len(cloud):
            camera, pose, near = overview(cloud, list(self._poses.values()))
            image = draw_cloud(cloud, camera, pose, _SPLAT * float(np.median(self._footprint)), near)
            written.append(self._write_image("cloud.png", image))
        if self._poses:
            ids = sorted(self._poses, key=self._stamps.__getitem__)
            stamps = np.array([self._stamps[id] for id in ids], np.int64)
            write_tum(self._folder / "keyframes.tum", Trajectory(stamps, np.array([self._poses[id] for id in ids])))
            written.append("keyframes.tum")
        known = {key: value for key, value in settings.items() if key not in _NO_SETTINGS}
        report = self._recorder.report(cloud)
        remarks = _remarks(source, report)
        known |= remarks
        reports = {"pbs_mvsnet_lite": report}
        measurement = mapping_measurement(reports, self._source, known, "report")
        if self._grid is not None:
            similarity, _ = self._recorder.similarity()
            names, tables = self._grid.write(source, similarity)
            written += names
            measurement = replace(measurement, tables=[*measurement.tables, *tables])
        written += [path.name for path in write_measurement(measurement, self._folder)]
        if not quiet:
            print(measurement.markdown())
            print("\n".join(["", *(f"{name}: {text}" for name, text in remarks.items())]))
            print(f"\nwritten to {self._folder}: {', '.join(written)}")

    def _write_image(self, name: str, image: np.ndarray) -> str:
        write_image(self._folder / name, image)
        return name


def _remarks(source: FrameSource, report: MappingReport) -> dict[str, str]:
    """Return the calibration, a doubtful unit of depth images, and faulty frames, by name."""
    used, faults = source.calibration, source.faults
    warning = used.depth_contradiction(report.depth_ratio, "depths of the maps") or used.depth_doubt
    remarks = {
        "calibration": used.summary(),
        "warning": warning,
        "faulty frames": fault_summary(faults) if faults else "",
    }
    return {name: text for name, text in remarks.items() if text}


class Viewer:
    """Rerun viewer of the camera with its image and depth, and of points that move with their keyframes."""

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
        """Move the points of keyframes, by id, to corrected poses ``world_from_camera`` (4, 4)."""
        for id in self._shown & poses.keys():
            self._recording.log(_path(id), self._pose(poses[id]))

    def close(self) -> None:
        """Flush the output."""
        self._recording.flush()
        self._recording.disconnect()

    def _pose(self, world_from_camera: np.ndarray):
        return self._rerun.Transform3D(translation=world_from_camera[:3, 3], mat3x3=world_from_camera[:3, :3])


def _path(id: int) -> str:
    return f"world/points/{id:06d}"

"""``ros-matching mesh``: a coloured triangle mesh of a sequence, offline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.cli.export import KeyframeExports
from ros_matching.cli.map import (
    GROUND_TRUTH,
    add_network_and_pose_options,
    check_pose_options,
    map_all,
    mapping_parts,
    mapping_sections,
)
from ros_matching.cli.options import SOURCE_KINDS, add_run_options, open_run_source
from ros_matching.cli.sensor_options import add_imu_options, add_scale_options, scaled_overrides
from ros_matching.cli.settings_options import add_settings_options
from ros_matching.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from ros_matching.datatypes import DepthMap, Mesh, ScaleState
    from ros_matching.io import FrameSource
    from ros_matching.mapping import MappingResult

_VOXELS_IN_DEPTH = 100  # default size of the voxels, as a fraction of the median depth
_TRUNCATION = 3.0
_DESCRIPTION = f"""\
Fuse the depth maps of a sequence in a truncated signed distance function and write into DIR:
  mesh.ply     coloured triangles, for Blender, MeshLab, CloudCompare, Open3D
  report.md    keyframes, times, and errors of the vertices if the source has depth; report.json contains more

Poses are those of the tracker, of the source ('--poses {GROUND_TRUTH}') or of a file, as in `ros-matching map`. Depth
is fused at the end, at the final poses of the keyframes.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "mesh",
        help="make a triangle mesh of a sequence",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_KINDS)
    add_run_options(parser, "results/<source>_mesh")
    add_network_and_pose_options(parser)
    parser.add_argument(
        "--voxel-size",
        type=float,
        default=0.0,
        metavar="L",
        help="edge length of the voxels, in the unit of the map (default: 1/100 of the median depth)",
    )
    parser.add_argument(
        "--min-weight",
        type=float,
        default=0.5,
        metavar="W",
        help="sum of the confidences of a voxel from which it counts (default: %(default)s); 2 is cleaner, with holes",
    )
    add_scale_options(parser)
    add_imu_options(parser)
    add_settings_options(parser, "the mapper, the tracker, the scale or the IMU", mapping_sections)
    return parser


def run(args: argparse.Namespace) -> int:
    """Map the source, fuse and write. Returns 1 when there is no surface, 130 when stopped by Ctrl-C."""
    from ros_matching.cli.settings_options import configs_from

    if not (args.voxel_size >= 0 and args.min_weight >= 0):
        raise ConfigError(f"--voxel-size and --min-weight must be 0 or more, got {args.voxel_size}, {args.min_weight}")
    check_pose_options(args)
    configs = configs_from(scaled_overrides(args), mapping_sections())
    source = open_run_source(args)
    mapper, keyframes = mapping_parts(args, configs, source, KeyframeExports([]))
    output = MeshOutput(has_true_poses=args.poses == GROUND_TRUTH)
    out = args.out or Path("results") / f"{source.name}_mesh"
    try:
        map_all(mapper, keyframes, source, output, quiet=args.quiet)
    except KeyboardInterrupt:
        output.write(out, vars(args), source)
        raise
    mesh = output.write(out, vars(args), source)
    if len(mesh.triangles):
        return 0
    print(f"ros-matching mesh: there is no surface; {output.last_reason}", file=sys.stderr)
    return 1


class MeshOutput:
    """Keeps the depth maps and small images of keyframes, and fuses them at their final poses."""

    def __init__(self, *, has_true_poses: bool) -> None:
        self.last_reason = "there was no keyframe"
        self._has_true_poses = has_true_poses
        self._scale: ScaleState | None = None
        self._start()

    def _start(self) -> None:
        from ros_matching.evaluation.mapping.mapping_report import MappingRecorder

        self._views: dict[int, tuple[DepthMap, np.ndarray]] = {}
        self._poses: dict[int, np.ndarray] = {}
        self._recorder = MappingRecorder(is_aligned=self._has_true_poses)

    def correct(self, poses: Mapping[int, np.ndarray]) -> None:
        """Correct poses of keyframes."""
        self._poses |= {id: pose for id, pose in poses.items() if id in self._poses}

    def take(self, result: MappingResult) -> None:
        """Keep a result; a change of the unit of length drops the earlier ones."""
        import cv2

        keyframe, depth_map = result.keyframe, result.depth_map
        if self._scale is not None and not self._scale.shares_unit(keyframe.scale):
            self._start()
        self._scale = keyframe.scale
        self.last_reason = result.reason or self.last_reason
        if result.status.value == "waiting":
            self._recorder.add_time(result.stage_ms)
            return
        self._recorder.add(keyframe.frame, keyframe.world_from_camera, depth_map, result.reason, result.stage_ms)
        if depth_map is not None:
            size = (depth_map.camera.width, depth_map.camera.height)
            image = cv2.resize(keyframe.frame.image, size, interpolation=cv2.INTER_AREA)
            self._views[keyframe.id] = depth_map, image
            self._poses[keyframe.id] = keyframe.world_from_camera

    def write(self, folder: Path, args: Mapping[str, Any], source: FrameSource) -> Mesh:
        """Fuse, write mesh.ply and the report, and print it unless quiet; return the mesh."""
        import numpy as np

        from ros_matching.datatypes import PointCloud
        from ros_matching.evaluation.mapping.mapping_report import mapping_measurement
        from ros_matching.evaluation.measurement import write_measurement
        from ros_matching.io.mesh_files import write_mesh

        mesh = self._fused(args["voxel_size"], args["min_weight"])
        write_mesh(folder / "mesh.ply", mesh)
        cloud = PointCloud(mesh.vertices, mesh.colors, np.ones(len(mesh.vertices), np.float32))
        report = self._recorder.report(cloud)
        kept = ("source", "poses", "network", "voxel_size", "min_weight", "overrides")
        settings = {key: args[key] for key in kept} | {"triangles": len(mesh.triangles)}
        measurement = mapping_measurement({"mesh": report}, source.name, settings, "report")
        write_measurement(measurement, folder)
        if not args["quiet"]:
            print(measurement.markdown())
            print(f"\n{len(mesh.triangles)} triangles, {len(mesh.vertices)} vertices")
            print(f"written to {folder}: mesh.ply, report.md, report.json")
        return mesh

    def _fused(self, voxel_size: float, min_weight: float) -> Mesh:
        import numpy as np

        from ros_matching.datatypes import Mesh
        from ros_matching.mapping.tsdf import TsdfVolume

        depths = [np.nanmedian(each.depth) for each, _ in self._views.values() if np.isfinite(each.depth).any()]
        if not depths:
            return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.int32))
        volume = TsdfVolume(voxel_size or float(np.median(depths)) / _VOXELS_IN_DEPTH, _TRUNCATION)
        for id, (depth_map, image) in self._views.items():
            volume.integrate(depth_map, image, self._poses[id])
        return volume.mesh(min_weight)

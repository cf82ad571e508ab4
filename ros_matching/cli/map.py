"""``ros-matching map``: a dense point cloud of a sequence, offline, from true, given or tracked poses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ros_matching.cli.export import KeyframeExports, add_export_option
from ros_matching.cli.options import (
    SOURCE_KINDS,
    add_former_name,
    add_run_options,
    hides_progress,
    matcher_config,
    open_run_source,
)
from ros_matching.cli.sensor_options import (
    add_imu_options,
    add_scale_options,
    make_imu,
    make_odometry,
    scaled_overrides,
)
from ros_matching.cli.settings_options import add_settings_options
from ros_matching.errors import ConfigError, SourceError
from ros_matching.networks import DEPTH_NETWORKS

if TYPE_CHECKING:
    import numpy as np

    from ros_matching.cli.map_output import Viewer
    from ros_matching.config import Config
    from ros_matching.datatypes import Frame, Keyframe
    from ros_matching.inertial.imu import Imu
    from ros_matching.io import FrameSource
    from ros_matching.mapping import DenseMapper, MappingResult
    from ros_matching.matching.pipeline import MatchingPipeline
    from ros_matching.visual_odometry import VisualOdometry


GROUND_TRUTH, TRACKER = "truth", "tracker"
_IN_VIEWER = ""
_DESCRIPTION = f"""\
Map a sequence densely and write into DIR:
  cloud.ply      the cloud, coloured, with the confidence of each point
  cloud.png      an image of it
  depth/*.png    depth maps with their images, for every Nth keyframe (--images)
  keyframes.tum  final camera poses of the keyframes
  report.md      keyframes, times, and errors if the source has depth; report.json contains more

Poses are those of the tracker, of the source ('--poses {GROUND_TRUTH}') or of a file. With known poses, keyframes are
selected by motion, and their sparse points are triangulated. Ctrl-C stops and writes the results so far.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "map",
        help="make a dense point cloud of a sequence",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_KINDS)
    add_run_options(parser, "results/<source>_map")
    add_network_and_pose_options(parser)
    add_scale_options(parser)
    add_imu_options(parser)
    add_export_option(parser)
    add_settings_options(parser, "the mapper, the grid, the tracker, the scale or the IMU", _sections)
    images = parser.add_argument(
        "--images", type=int, default=10, metavar="N", help="draw every Nth depth map, 0: none (default: %(default)s)"
    )
    add_former_name(parser, "--pictures", images)
    parser.add_argument(
        "--grid",
        metavar="DIR",
        type=Path,
        help="write an occupancy grid for nav2_map_server: map.yaml and map.pgm. --list-settings shows its settings",
    )
    parser.add_argument("--pcd", action="store_true", help="also write cloud.pcd")
    parser.add_argument(
        "--rerun",
        nargs="?",
        const=_IN_VIEWER,
        metavar="FILE",
        help="show the map in Rerun as it grows, or write FILE.rrd for it (pip install rerun-sdk)",
    )
    return parser


def add_network_and_pose_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the depth network and of the poses."""
    parser.add_argument(
        "--network", choices=DEPTH_NETWORKS, default=DEPTH_NETWORKS[0], help="depth network (default: %(default)s)"
    )
    parser.add_argument("--network-weights", metavar="FILE", help="its weights (default: those of the package)")
    parser.add_argument(
        "--poses",
        default=TRACKER,
        metavar="FROM",
        help=f"{TRACKER}, {GROUND_TRUTH} or a trajectory file: TUM, EuRoC or KITTI (default: %(default)s)",
    )


def check_pose_options(args: argparse.Namespace) -> None:
    """Raise ``ConfigError`` for a scale source or an IMU without poses of the tracker."""
    if args.poses != TRACKER and (args.scale, args.wheel_odometry, args.imu) != (None, None, None):
        raise ConfigError(f"--scale, --wheel-odometry and --imu need poses of the tracker; got '--poses {args.poses}'")


def mapping_sections() -> dict[str, type[Config]]:
    """Return the settings of mapping, by section."""
    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.inertial.config import ImuConfig
    from ros_matching.mapping import MappingConfig
    from ros_matching.scale import ScaleConfig

    return {"mapping": MappingConfig, "tracking": TrackingConfig, "scale": ScaleConfig, "imu": ImuConfig}


def _sections() -> dict[str, type[Config]]:
    from ros_matching.mapping import GridConfig

    return mapping_sections() | {"grid": GridConfig}


def run(args: argparse.Namespace) -> int:
    """Map the source and report. Returns 1 when the cloud is empty, 130 when stopped by Ctrl-C."""
    from ros_matching.cli.grid_output import GridOutput
    from ros_matching.cli.map_output import MapOutput
    from ros_matching.cli.settings_options import configs_from

    check_pose_options(args)
    configs = configs_from(scaled_overrides(args), _sections())
    exports = KeyframeExports(args.exports)
    source = open_run_source(args)
    mapper, keyframes = mapping_parts(args, configs, source, exports)
    grid = None if args.grid is None else GridOutput(args.grid, configs["grid"])
    output = MapOutput(
        args.out or Path("results") / f"{source.name}_map",
        source.name,
        images=args.images,
        has_true_poses=args.poses == GROUND_TRUTH,
        viewer=None if args.rerun is None else _viewer(source.name, args.rerun),
        grid=grid,
    )
    try:
        map_all(mapper, keyframes, source, output, quiet=args.quiet)
    except KeyboardInterrupt:
        exports.finish()
        output.write(mapper.cloud(), vars(args), source, pcd=args.pcd, quiet=args.quiet)
        raise
    exports.finish()
    cloud = mapper.cloud()
    output.write(cloud, vars(args), source, pcd=args.pcd, quiet=args.quiet)
    if not len(cloud):
        print(f"ros-matching map: no point was mapped; {output.last_reason}", file=sys.stderr)
    elif grid is not None and grid.reason:
        print(f"ros-matching map: no grid was written; {grid.reason}", file=sys.stderr)
    return 0 if len(cloud) and not (grid is not None and grid.reason) else 1


def mapping_parts(
    args: argparse.Namespace, configs: Mapping[str, Config], source: FrameSource, exports: KeyframeExports
) -> tuple[DenseMapper, Callable[[Iterable[Frame]], Iterator[Delivery]]]:
    """Return the mapper of the options, and the function that makes keyframes of frames."""
    from ros_matching.mapping import load_dense_mapper

    matcher = matcher_config(args).load()
    mapper = load_dense_mapper(args.device, configs["mapping"], weights=args.network_weights, network=args.network)
    keyframes = partial(
        deliveries,
        source=source,
        poses=args.poses,
        matcher=matcher,
        configs=configs,
        wheel_file=args.wheel_odometry,
        exports=exports,
        imu=make_imu(args, configs, source) if args.poses == TRACKER else None,
    )
    return mapper, keyframes


def map_all(
    mapper: DenseMapper,
    keyframes: Callable[[Iterable[Frame]], Iterable[Delivery]],
    source: FrameSource,
    output: ResultOutput,
    *,
    quiet: bool,
) -> None:
    """Map the keyframes of a source; ``output`` takes the results and the corrected poses."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    hidden = hides_progress(quiet)
    with (
        logging_redirect_tqdm(),
        tqdm(source, total=len(source), unit="frame", desc=source.name, disable=hidden, dynamic_ncols=True) as frames,
    ):
        for delivery in keyframes(frames):
            mapper.move(delivery.corrected)
            output.correct(delivery.corrected)
            for keyframe in delivery.keyframes:
                result = mapper.add(keyframe)
                output.take(result)
                frames.set_postfix_str(f"{result.counts.map_points} points", refresh=False)
    for result in mapper.finish():
        output.take(result)


def _viewer(name: str, where: str) -> Viewer:
    from ros_matching.cli.map_output import Viewer

    return Viewer(name, None if where == _IN_VIEWER else Path(where))


class ResultOutput(Protocol):
    """Output of a mapping run."""

    def take(self, result: MappingResult) -> None:
        """Add the next result."""

    def correct(self, poses: Mapping[int, np.ndarray]) -> None:
        """Correct poses of keyframes."""


@dataclass(frozen=True)
class Delivery:
    """New keyframes of a frame, if any, and ``corrected`` poses of earlier ones."""

    keyframes: tuple[Keyframe, ...] = ()
    corrected: Mapping[int, np.ndarray] = field(default_factory=dict)


def deliveries(
    frames: Iterable[Frame],
    source: FrameSource,
    poses: str,
    matcher: MatchingPipeline,
    configs: Mapping[str, Config],
    wheel_file: Path | None = None,
    exports: KeyframeExports | None = None,
    imu: Imu | None = None,
) -> Iterator[Delivery]:
    """Yield one delivery per frame, and one at the end; raises ``SourceError`` if no frame has a pose.

    ``configs`` are by section, ``tracking`` and ``scale``, which only tracked poses need. ``exports`` also get the
    keyframes.
    """
    exports = exports or KeyframeExports([])
    if poses == TRACKER:
        return _tracked(frames, make_odometry(configs, matcher, wheel_file, imu=imu), exports)
    return _posed(frames, source, None if poses == GROUND_TRUTH else Path(poses), matcher, configs["tracking"], exports)


def _tracked(frames: Iterable[Frame], odometry: VisualOdometry, exports: KeyframeExports) -> Iterator[Delivery]:
    for frame in frames:
        result = odometry.track(frame)
        exports.observe(result, odometry)
        keyframes = result.new_keyframes
        yield Delivery(keyframes, odometry.keyframe_poses()) if keyframes else Delivery()


def _posed(
    frames: Iterable[Frame],
    source: FrameSource,
    file: Path | None,
    matcher: MatchingPipeline,
    config: Config,
    exports: KeyframeExports,
) -> Iterator[Delivery]:
    from ros_matching.backend.known_pose_keyframes import KnownPoseKeyframes
    from ros_matching.datatypes import ScaleState
    from ros_matching.io.trajectory import pose_lookup

    lookup = None if file is None else pose_lookup(file)
    keyframes, posed = KnownPoseKeyframes(matcher, config, ScaleState.ANCHORED), 0
    for frame in frames:
        pose = frame.true_world_from_camera
        if lookup is not None:
            pose = lookup(frame.index, frame.stamp_ns)
        posed += pose is not None
        keyframe = None if pose is None else keyframes.add(frame, pose)
        if keyframe is not None:
            exports.take(keyframes.current_keyframes())
        yield _delivery(keyframe)
    if not posed:
        where = "the source has no true poses" if file is None else f"no pose of {file} has the time of a frame"
        raise SourceError(f"no frame of {source.name} has a pose: {where}; use '--poses {TRACKER}' or another file")
    yield _delivery(keyframes.finish())


def _delivery(keyframe: Keyframe | None) -> Delivery:
    return Delivery() if keyframe is None else Delivery((keyframe,))

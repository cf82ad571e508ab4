"""``ros-matching view``: odometry, SLAM and dense mapping live in the browser, of a recording or of ROS topics."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ros_matching.cli.options import (
    SOURCE_KINDS,
    add_mapping_thread_option,
    add_run_options,
    matcher_config,
    open_run_source,
)
from ros_matching.cli.sensor_options import (
    add_imu_options,
    add_scale_options,
    make_imu,
    make_odometry,
    make_scale,
    scaled_overrides,
)
from ros_matching.cli.settings_options import add_settings_options, configs_from
from ros_matching.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from ros_matching.config import Config
    from ros_matching.datatypes import Frame, Keyframe
    from ros_matching.mapping import DenseMapper, MappingResult
    from ros_matching.odometry.result import TrackingResult
    from ros_matching.slam import Slam, SlamResult
    from ros_matching.viewer.browser_viewer import BrowserViewer
    from ros_matching.visual_odometry import VisualOdometry

_MAP_PERIOD_S = 1.0  # between copies of the map of SLAM
_DESCRIPTION = """\
Show in the browser: image with tracked points, trajectory, keyframes, landmarks, dense points, loops, the status with
its reason, and plots of scale, covariance and stage times.

  ros-matching view SOURCE               odometry of a recording, as fast as it goes (--rate 1: at the camera's rate)
  ros-matching view SOURCE --slam        with loops
  ros-matching view SOURCE --mapping     with dense points
  ros-matching view --live               topics of a running vo_node and mapping_node, from a second terminal

The page stays until Ctrl-C. On a robot: --host 0.0.0.0, and the robot's address in the browser of another machine.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "view",
        help="show a run live in the browser",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", nargs="?", help=SOURCE_KINDS)
    parser.add_argument("--live", action="store_true", help="show the topics of running nodes")
    parser.add_argument("--namespace", default="", metavar="NS", help="namespace of these nodes")
    parser.add_argument("--slam", action="store_true", help="keep a map and close loops")
    parser.add_argument("--mapping", action="store_true", help="dense points")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at; 0.0.0.0: all (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="(default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=0.0, metavar="X", help="speed of the recording, 0: no limit (default: 0)"
    )
    parser.add_argument("--exit", action="store_true", help="end with the recording")
    add_run_options(parser, "not used: nothing is written")
    add_mapping_thread_option(parser)
    add_scale_options(parser)
    add_imu_options(parser)
    add_settings_options(parser, "the tracker, SLAM, the mapper, the scale or the IMU", _sections)
    return parser


def _sections() -> dict[str, type[Config]]:
    from ros_matching.backend.slam_config import SlamConfig
    from ros_matching.cli.map import mapping_sections

    return mapping_sections() | {"slam": SlamConfig}


def run(args: argparse.Namespace) -> int:
    """Serve the page until the end; returns 130 when stopped by Ctrl-C."""
    if (args.source is None) == (not args.live):
        raise ConfigError("give a SOURCE to run, or --live to show running nodes")
    if args.rate < 0:
        raise ConfigError(f"--rate must be 0 or more, got {args.rate}")
    return _view_live(args) if args.live else _view_source(args)


def _view_live(args: argparse.Namespace) -> int:
    from ros_matching.cli.over_ros import require_ros

    require_ros()
    from ros_matching.nodes.viewer.viewer_node import serve
    from ros_matching.viewer.browser_viewer import BrowserViewer

    with contextlib.closing(BrowserViewer("vo_node", args.host, args.port, "+z")) as viewer:
        _announce(viewer, args)
        serve(viewer, args.namespace)
    return 0


def _view_source(args: argparse.Namespace) -> int:
    from ros_matching.viewer.browser_viewer import BrowserViewer

    configs = configs_from(scaled_overrides(args), _sections())
    source = open_run_source(args)
    matcher, imu = matcher_config(args).load(), make_imu(args, configs, source)
    if args.slam:
        from ros_matching.slam import Slam

        tracker: Slam | VisualOdometry = Slam(
            matcher,
            configs["tracking"],
            configs["slam"],
            make_scale(configs, matcher, args.wheel_odometry, imu),
            threaded=args.mapping_thread,
            imu=imu,
        )
    else:
        tracker = make_odometry(configs, matcher, args.wheel_odometry, threaded=args.mapping_thread, imu=imu)
    mapper = _mapper(args, configs)
    with (
        contextlib.closing(BrowserViewer(source.name, args.host, args.port)) as viewer,
        contextlib.closing(tracker),
    ):
        _announce(viewer, args)
        view = RunView(viewer, tracker, mapper)
        for frame in _paced(source, args.rate):
            view.track(frame)
        view.finish()
        viewer.finish(f"end of {source.name}")
        while not args.exit:
            time.sleep(1.0)
    return 0


def _announce(viewer: BrowserViewer, args: argparse.Namespace) -> None:
    if not args.quiet:
        print(f"open {viewer.url} in a browser; Ctrl-C ends", flush=True)


def _mapper(args: argparse.Namespace, configs: dict[str, Config]) -> DenseMapper | None:
    if not args.mapping:
        return None
    from ros_matching.mapping import load_dense_mapper

    return load_dense_mapper(args.device, configs["mapping"])


def _paced(frames: Iterator[Frame], rate: float) -> Iterator[Frame]:
    """Yield frames not faster than ``rate`` times the speed of their stamps; 0 is without a limit."""
    start_s, first_ns = time.monotonic(), None
    for frame in frames:
        first_ns = frame.stamp_ns if first_ns is None else first_ns
        if rate:
            time.sleep(max(0.0, start_s + 1e-9 * (frame.stamp_ns - first_ns) / rate - time.monotonic()))
        yield frame


class RunView:
    """Tracks frames and shows them: the odometry, or the map of SLAM, and dense points."""

    def __init__(self, viewer: BrowserViewer, tracker: VisualOdometry | Slam, mapper: DenseMapper | None) -> None:
        self._viewer, self._tracker, self._mapper = viewer, tracker, mapper
        self._camera = None
        self._poses: dict[int, np.ndarray] = {}
        self._landmarks: dict[int, np.ndarray] = {}  # sparse points of keyframes, in their cameras
        self._next_map_s = 0.0

    def track(self, frame: Frame) -> None:
        """Track the next frame."""
        from dataclasses import replace

        from ros_matching.slam import Slam
        from ros_matching.viewer.live_state import LiveFrame

        self._camera = frame.camera
        outcome = self._tracker.track(frame)
        result: TrackingResult = outcome.tracking if isinstance(self._tracker, Slam) else outcome
        live = LiveFrame.of(frame, result)
        if isinstance(self._tracker, Slam):
            live = replace(live, world_from_camera=outcome.map_from_camera)
            self._show_map(outcome)
        else:
            self._take(result.new_keyframes)
        if self._mapper is not None:
            self._map(result.new_keyframes)
        self._viewer.show_frame(live)

    def finish(self) -> None:
        """Show what waits at the end."""
        keyframes = self._tracker.finish()
        self._next_map_s = 0.0
        from ros_matching.slam import Slam

        if isinstance(self._tracker, Slam):
            self._show_map(None)
        else:
            self._take(keyframes)
        if self._mapper is not None:
            self._map(keyframes)
            for result in self._mapper.finish():
                self._show_dense(result)

    def _take(self, new: tuple[Keyframe, ...]) -> None:
        """Show the keyframes of the odometry at their current poses, with their landmarks."""
        import numpy as np

        from ros_matching.geometry.se3 import invert, transform
        from ros_matching.mapping.view_selection import sparse_points

        if not new:
            return
        for keyframe in self._tracker.current_keyframes():
            pose = keyframe.world_from_camera
            self._poses[keyframe.id] = pose
            self._landmarks[keyframe.id] = transform(invert(pose), sparse_points(keyframe))
        self._viewer.show_keyframes(self._poses, self._camera)
        points = [transform(self._poses[id], local) for id, local in self._landmarks.items()]
        self._viewer.show_landmarks(np.concatenate(points))

    def _show_map(self, outcome: SlamResult | None) -> None:
        """Show the map of SLAM when it may have changed, at most once a second."""
        import numpy as np

        from ros_matching.atlas.stored_keyframes import EdgeKind

        now_s = time.monotonic()
        if now_s < self._next_map_s or not (outcome is None or outcome.events or outcome.tracking.new_keyframes):
            return
        slam_map = self._tracker.snapshot()
        if slam_map is None:
            return
        self._next_map_s = now_s + _MAP_PERIOD_S
        centers = {id: slam_map.keyframe(id).center for id in slam_map.ids}
        self._viewer.show_keyframes({id: slam_map.keyframe(id).map_from_camera for id in slam_map.ids}, self._camera)
        self._viewer.show_landmarks(slam_map.landmarks.positions)
        loops = [(centers[e.first], centers[e.second]) for e in slam_map.edges if e.kind is EdgeKind.LOOP]
        self._viewer.show_loops(np.array(loops).reshape(-1, 2, 3))

    def _map(self, keyframes: tuple[Keyframe, ...]) -> None:
        if keyframes:
            self._mapper.move(self._tracker.keyframe_poses())
        for keyframe in keyframes:
            self._show_dense(self._mapper.add(keyframe))

    def _show_dense(self, result: MappingResult) -> None:
        from ros_matching.geometry.se3 import invert, transform

        if result.cloud is not None:
            pose = result.keyframe.world_from_camera
            local = transform(invert(pose), result.cloud.points)
            self._viewer.show_keyframe_cloud(result.keyframe_id, local, result.cloud.colors, pose)

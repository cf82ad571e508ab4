"""``ros-matching demo``: the whole ROS side at work on a sequence, over real topics, with its figures at the end."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.options import SOURCE_KINDS, add_run_options, hides_progress
from ros_matching.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ros_matching.datatypes import Camera, Frame
    from ros_matching.evaluation.run import RunRecorder, RunReport
    from ros_matching.io.source import FrameSource
    from ros_matching.nodes.process import NodeProcess
    from ros_matching.nodes.recorder import RecorderNode
    from ros_matching.nodes.replay_node import ReplayNode

DEFAULT_SOURCE = "scene:room?frames=200&fps=10&width=320&height=240"

_DESCRIPTION = """\
Replay a sequence over ROS 2 topics to vo_node, in a process of its own, record what it publishes, and report.
By default every frame waits until the last one is done with; --realtime replays at the camera's pace and counts drops.
DIR gets the files of `ros-matching track`, and vo_node.log. The ROS graph is this machine's alone, in a free domain.
"""

_BRING_UP_TIMEOUT_S = 120.0
_QUIET_S = 5.0


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="replay a sequence over ROS 2 topics and report how it was tracked",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        default=DEFAULT_SOURCE,
        help=f"{SOURCE_KINDS} (default: %(default)s)",
    )
    add_run_options(parser, "results/demo-<source>")
    parser.add_argument("--params", metavar="FILE", type=Path, help="YAML file with parameters of vo_node")
    parser.add_argument("--realtime", action="store_true", help="replay at the camera's pace, as a live camera would")
    parser.add_argument("--domain", type=int, metavar="ID", help="ROS domain (default: one that is free)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Replay, record and report. Returns 1 when no frame was tracked, 130 when stopped by Ctrl-C or SIGTERM."""
    from ros_matching.cli.ros import require_ros
    from ros_matching.evaluation.report import write_report
    from ros_matching.evaluation.run import RunRecorder
    from ros_matching.io import open_source
    from ros_matching.nodes.isolation import isolate

    require_ros()
    source = open_source(args.source, start=args.start, stop=args.stop, stride=args.stride)
    if args.realtime and args.source.startswith("scene:"):
        source = _InMemory(source, quiet=args.quiet)  # rendering is slower than a camera
    domain_id = isolate(args.domain)
    if not args.quiet:
        print(f"replaying in ROS domain {domain_id}; to look on: ROS_DOMAIN_ID={domain_id} rviz2 -d config/vo.rviz")
    out_dir = args.out or Path("results") / f"demo-{source.name}"
    out_dir.mkdir(parents=True, exist_ok=True)
    recorder = RunRecorder(source.name, args.backend)
    published = _run_over_ros(source, recorder, out_dir, args)
    dropped = published - len(recorder) if args.realtime else 0
    report = recorder.report(dropped=dropped, interrupted=published < len(source))
    write_report(report, out_dir)
    return _conclude(report, out_dir, quiet=args.quiet)


def _conclude(report: RunReport, out_dir: Path, *, quiet: bool) -> int:
    from ros_matching.evaluation.report import PLOT_FILE, REPORT_FILE, summary_table

    if not quiet:
        print(f"\n{summary_table(report)}\n\nplot    {out_dir / PLOT_FILE}\nreport  {out_dir / REPORT_FILE}")
    if report.interrupted:
        raise KeyboardInterrupt
    if report.trajectory is None:
        reason = report.records[-1].reason if report.records else "vo_node said nothing about any frame"
        print(f"ros-matching demo: no frame was tracked; at the end: {reason}", file=sys.stderr)
        return 1
    return 0


def _run_over_ros(source: FrameSource, recorder: RunRecorder, out_dir: Path, args: argparse.Namespace) -> int:
    """Replay the source to a vo_node, hand what came of it to ``recorder``, and return the number of frames sent."""
    from rclpy.logging import LoggingSeverity
    from rclpy.parameter import Parameter
    from tqdm import tqdm

    from ros_matching.nodes.process import NodeProcess
    from ros_matching.nodes.recorder import RecorderNode
    from ros_matching.nodes.replay_node import ReplayNode
    from ros_matching.nodes.spinning import ros_context

    with (
        NodeProcess("vo_node", _vo_node_args(args), out_dir / "vo_node.log") as vo_node,
        ros_context([]),
        tqdm(
            total=len(source), unit="frame", desc=source.name, disable=hides_progress(args.quiet), dynamic_ncols=True
        ) as bar,
    ):
        listener = RecorderNode()

        def note(frame: Frame) -> None:
            listener.expect(frame)
            bar.set_postfix_str(listener.progress, refresh=False)
            bar.update()

        wait = Parameter("wait_for_consumer", value=not args.realtime)
        replay = ReplayNode(source=source, on_publish=note, parameter_overrides=[wait])
        replay.get_logger().set_level(LoggingSeverity.WARN)
        with contextlib.suppress(KeyboardInterrupt):  # what was done so far is reported
            _play(replay, listener, vo_node)
    listener.fill(recorder)
    return listener.expected


def _play(replay: ReplayNode, listener: RecorderNode, vo_node: NodeProcess) -> None:
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from ros_matching.nodes.lifecycle import LifecycleClient
    from ros_matching.nodes.spinning import spinning

    with spinning(SingleThreadedExecutor(), listener, replay):
        # Made after the others, so that once it is answered vo_node's process knows them all.
        client = LifecycleClient(listener, "vo_node", stopped=lambda: vo_node.has_ended)
        vo_node.when_ended(replay.stop)
        try:
            if client.bring_up(_BRING_UP_TIMEOUT_S) and replay.play() and rclpy.ok():
                listener.wait_until_complete(_QUIET_S)
            vo_node.require_alive()
        except NodeError as error:
            if rclpy.ok():  # else SIGTERM ended vo_node too
                raise NodeError(f"{error}\n{vo_node.log_tail()}") from error


def _vo_node_args(args: argparse.Namespace) -> list[str]:
    parameters = {"backend": args.backend, "device": args.device}
    if not args.realtime:
        # A camera's pictures may get lost; here each one is waited for.
        parameters["qos_overrides./image.subscription.reliability"] = "reliable"
    ros_args = ["--params-file", str(args.params)] if args.params else []
    for name, value in parameters.items():
        ros_args += ["-p", f"{name}:={value}"]
    return ros_args


class _InMemory:
    """A source whose frames were all read before the first is asked for."""

    def __init__(self, source: FrameSource, *, quiet: bool) -> None:
        from tqdm import tqdm

        self.name: str = source.name
        self.camera: Camera = source.camera
        self._frames = list(
            tqdm(source, total=len(source), unit="frame", desc="rendering", disable=hides_progress(quiet))
        )

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

"""``ros-matching demo``: replay of a sequence over ROS topics, with a report at the end."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.options import SOURCE_KINDS, add_run_options, hides_progress, matcher_config
from ros_matching.cli.over_ros import NodeSettings, run_over_ros
from ros_matching.matching import CLASSICAL, DEFAULT, MATCHERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ros_matching.datatypes import Camera, Frame
    from ros_matching.evaluation.benchmark.benchmark_runs import BenchmarkRun
    from ros_matching.io.calibration import UsedCalibration
    from ros_matching.io.faults import FrameFault
    from ros_matching.io.source import FrameSource

DEFAULT_SOURCE = "scene:room?frames=200&fps=10&width=320&height=240"

_NONE = "none"
_COMPARISON = "comparison"
_CONDITIONS = "Latency from arrival of an image to publication of its result; the matchers run one after the other."
_DESCRIPTION = """\
Replay a sequence over ROS 2 topics to a vo_node process, record its results, and report; then repeat this with the
matcher of --against, and compare both in a table. By default every frame waits until the last one is processed;
--realtime replays at the camera's rate and counts dropped frames. DIR gets the files of `ros-matching track` and
vo_node.log, those of --against in a subfolder, and comparison.md, .json and .png. The ROS graph is limited to this
machine, in a free domain.
"""


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
    add_run_options(parser, "results/demo-<source>", with_masks=False)
    parser.add_argument("--params", metavar="FILE", type=Path, help="YAML file with parameters of vo_node")
    parser.add_argument(
        "--against",
        choices=(*MATCHERS, _NONE),
        default="sift",
        help="matcher to compare with, or none (default: %(default)s)",
    )
    parser.add_argument("--realtime", action="store_true", help="replay at the camera's rate, like a live camera")
    parser.add_argument("--domain", type=int, metavar="ID", help="ROS domain (default: one that is free)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Replay, record and report. Returns 1 when no frame was tracked, 130 when stopped by Ctrl-C or SIGTERM."""
    from ros_matching.cli.over_ros import require_ros
    from ros_matching.evaluation.trajectory.report_files import write_report
    from ros_matching.io import open_source
    from ros_matching.nodes.common.spinning import isolate

    require_ros()
    source = open_source(args.source, start=args.start, stop=args.stop, stride=args.stride)
    if args.realtime and args.source.startswith("scene:"):
        source = _InMemory(source, quiet=args.quiet)  # rendering is slower than a camera
    domain_id = isolate(args.domain)
    if not args.quiet:
        print(f"replaying in ROS domain {domain_id}; to watch: ROS_DOMAIN_ID={domain_id} rviz2 -d config/vo.rviz")
    out_dir = args.out or Path("results") / f"demo-{source.name}"
    runs: list[BenchmarkRun] = []
    for matcher in _matchers(args):
        folder = out_dir / matcher if runs else out_dir
        folder.mkdir(parents=True, exist_ok=True)
        config = matcher_config(args, matcher)
        if runs and matcher in CLASSICAL:
            config = replace(config, device="auto")
        settings = NodeSettings(config, args.params, args.realtime)
        runs.append(run_over_ros(source, settings, folder / "vo_node.log", quiet=args.quiet))
        write_report(runs[-1].report, folder)
        if not args.quiet:
            _show(runs[-1], folder)
        if runs[-1].report.interrupted:
            break
    if len(runs) > 1:
        _compare(runs, len(source), out_dir, quiet=args.quiet)
    return _conclude(runs)


def _matchers(args: argparse.Namespace) -> list[str]:
    """Return the matcher to show and, unless it is the same, the one to compare it with."""
    shown, other = (DEFAULT if name == "default" else name for name in (args.matcher, args.against))
    return [args.matcher] if other in (shown, _NONE) else [args.matcher, args.against]


def _show(run: BenchmarkRun, folder: Path) -> None:
    from ros_matching.evaluation.trajectory.report_files import PLOT_FILE, REPORT_FILE, summary_table

    print(f"\n{summary_table(run.report)}\n\nplot    {folder / PLOT_FILE}\nreport  {folder / REPORT_FILE}\n")


def _compare(runs: list[BenchmarkRun], frames: int, out_dir: Path, *, quiet: bool) -> None:
    """Write and print the comparison of the matchers."""
    from ros_matching.evaluation.benchmark.benchmark_report import benchmark_measurement, draw_sequence
    from ros_matching.evaluation.benchmark.benchmark_runs import SequenceRuns
    from ros_matching.evaluation.measurement import write_measurement

    sequence_runs = SequenceRuns(runs[0].report.source, frames, tuple(runs))
    settings = {"alignment": "sim3", "matchers": [run.matcher for run in runs]}
    measurement = benchmark_measurement([sequence_runs], settings, name=_COMPARISON, conditions=_CONDITIONS)
    written = [*write_measurement(measurement, out_dir), *draw_sequence(sequence_runs, out_dir / f"{_COMPARISON}.png")]
    if not quiet:
        print(f"{measurement.markdown()}\n\nwritten to {out_dir}: {', '.join(path.name for path in written)}")


def _conclude(runs: list[BenchmarkRun]) -> int:
    if runs[-1].report.interrupted:
        raise KeyboardInterrupt
    report = runs[0].report
    if report.trajectory is None:
        reason = report.records[-1].reason if report.records else "vo_node published no status"
        print(f"ros-matching demo: no frame was tracked; at the end: {reason}", file=sys.stderr)
        return 1
    return 0


class _InMemory:
    """A source whose frames are all read before the first one is used."""

    def __init__(self, source: FrameSource, *, quiet: bool) -> None:
        from tqdm import tqdm

        self.name: str = source.name
        self.camera: Camera = source.camera
        self.calibration: UsedCalibration = source.calibration
        self._frames = list(
            tqdm(source, total=len(source), unit="frame", desc="rendering", disable=hides_progress(quiet))
        )
        self.faults: Sequence[FrameFault] = source.faults

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

"""``ros-matching benchmark``: several matchers in the same tracker on the same frames, or on a standard benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.cli.benchmark_suite import SUITE_KEYS, SUITE_MATCHERS, SuiteRun
from ros_matching.cli.options import (
    SOURCE_KINDS,
    add_former_name,
    add_mapping_thread_option,
    add_network_options,
    add_part_options,
    hides_progress,
)
from ros_matching.errors import ConfigError
from ros_matching.evaluation import ALIGNMENTS
from ros_matching.matching import MATCHERS

if TYPE_CHECKING:
    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.evaluation.benchmark.benchmark_runs import SequenceRuns
    from ros_matching.evaluation.benchmark.suites import Suite
    from ros_matching.io.source import FrameSource

_MATCHERS = ("default", "sift", "orb", "xfeat", "aliked+lightglue", "disk+lightglue")
_CONDITIONS = "The matchers take turns frame by frame, each in a process of its own (without the frame source)."
_DESCRIPTION = """\
Run several matchers in the same tracker on the same frames, and write into DIR:
  benchmark.md, benchmark.json   fraction tracked, ATE and RPE (by evo), covariances, times by stage, memory; every run
                                 in the JSON
  SEQUENCE.png                   trajectories over the ground truth, errors over time, times
  SEQUENCE/MATCHER/              the files of `ros-matching track`
Every frame is read or rendered once. The matchers take turns on it, each in a process of its own, never two at a time,
so that times are comparable even on a busy machine. The table contains the reason if a matcher cannot run.
With --suite, SOURCE is the folder of a standard benchmark: the sequences that it has are run by the benchmark's
protocol, missing ones are named, and published figures of other systems are beside ours, with their sources.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "benchmark",
        help="compare matchers in the same tracker on the same frames",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help=SOURCE_KINDS)
    parser.add_argument(
        "--suite",
        choices=SUITE_KEYS,
        help="standard benchmark: EuRoC MAV, TUM RGB-D (freiburg1), KITTI odometry, ICL-NUIM, TartanAir's test set",
    )
    matchers = parser.add_argument(
        "--matcher",
        dest="matchers",
        type=_matcher_name,
        action="append",
        default=[],
        metavar="NAME[=WEIGHTS]",
        help="matcher, a learned one optionally with a weights file or folder; may be repeated (default: "
        f"{', '.join(_MATCHERS)}; with --suite: {', '.join(SUITE_MATCHERS)})",
    )
    add_former_name(parser, "--backend", matchers)
    parser.add_argument(
        "--keypoints", type=int, metavar="N", help="most keypoints per image (default: each matcher's own)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    add_part_options(parser)
    parser.add_argument(
        "--stride",
        dest="strides",
        type=int,
        action="append",
        metavar="N",
        help="take every Nth frame (default: 1); may be repeated, each a sequence of its own",
    )
    parser.add_argument(
        "--repeat",
        type=int,
        metavar="N",
        help="run N times, each time from one frame later, and show medians: the start of a map changes the errors "
        "(default: 1; with --suite: 5)",
    )
    add_network_options(parser)
    parser.add_argument("--alignment", choices=ALIGNMENTS, help="as in track (default: sim3)")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="tracking.KEY=VALUE",
        help="change a setting of the tracker, for all; may be repeated. `track --list-settings` shows them",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="(default: results/benchmark, or results/SUITE)")
    parser.add_argument(
        "--slam",
        action="store_true",
        help="run SLAM: the trajectories are those in the map, corrected by its loops, with ATE as published for SLAM "
        "systems; times are of the odometry and of the loops that are closed in a frame. Needs the extra slam",
    )
    add_mapping_thread_option(parser)
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _matcher_name(spec: str) -> str:
    """Return the argument if it names a matcher."""
    name = spec.partition("=")[0]
    if name not in MATCHERS:
        raise argparse.ArgumentTypeError(f"there is no matcher {name!r}; there are: {', '.join(MATCHERS)}")
    return spec


def run(args: argparse.Namespace) -> int:
    """Run, print and write. Returns 1 if no matcher tracked a frame, 130 if stopped by Ctrl-C."""
    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.cli.settings_options import configs_from

    if args.repeat is not None and args.repeat < 1:
        raise ConfigError(f"--repeat must be at least 1, got {args.repeat}")
    config = configs_from(args.overrides, {"tracking": TrackingConfig})["tracking"]
    suite_run = None if args.suite is None else SuiteRun.find(args)
    _fill_defaults(args, None if suite_run is None else suite_run.suite)
    pending = _sequences(args) if suite_run is None else suite_run.sequences(args)
    sequences: list[SequenceRuns] = []
    try:
        for name, source in list(pending):
            _run_sequence(name, source, config, sequences, args)
    finally:  # report the results so far after a stop or a failure
        if sequences:
            _conclude(sequences, suite_run, args)
    return 0 if any(run.report.trajectory for sequence in sequences for run in sequence.runs) else 1


def _fill_defaults(args: argparse.Namespace, suite: Suite | None) -> None:
    """Set the options that were not given to those of the suite, or to the usual ones."""
    args.matchers = list(dict.fromkeys(args.matchers or (_MATCHERS if suite is None else SUITE_MATCHERS)))
    args.repeat = args.repeat or (1 if suite is None else suite.runs)
    args.strides = list(dict.fromkeys(args.strides or [1 if suite is None else suite.stride]))
    args.alignment = args.alignment or ("sim3" if suite is None else suite.alignment)
    args.out = args.out or Path("results") / (args.suite or "benchmark")


def _run_sequence(
    name: str, source: FrameSource, config: TrackingConfig, sequences: list[SequenceRuns], args: argparse.Namespace
) -> None:
    """Run all matchers on a sequence and append the result to ``sequences``, also after a failure."""
    from tqdm import tqdm

    from ros_matching.cli.benchmark_runner import BenchmarkRunner, MatcherSpec

    networks = {name: getattr(args, name) for name in ("variant", "engine", "precision")}
    matchers = [
        MatcherSpec(spec, args.device, args.keypoints, networks, args.mapping_thread, args.slam)
        for spec in args.matchers
    ]
    bar = tqdm(total=len(source), desc=name, unit="frame", disable=hides_progress(args.quiet), dynamic_ncols=True)
    with bar, BenchmarkRunner(name, matchers, config, alignment=args.alignment) as runner:
        try:
            runner.run(source, bar)
        finally:
            sequences.append(runner.result())


def _conclude(sequences: Sequence[SequenceRuns], suite_run: SuiteRun | None, args: argparse.Namespace) -> None:
    from ros_matching.evaluation.benchmark.benchmark_report import benchmark_measurement, write_benchmark

    measurement = benchmark_measurement(sequences, _settings(args), conditions=_CONDITIONS)
    if suite_run is not None:
        tables = suite_run.tables(sequences, args)
        measurement = replace(measurement, tables=[*tables, *measurement.tables])
    if not args.quiet:
        print(measurement.markdown())
    written = write_benchmark(sequences, measurement, args.out)
    if not args.quiet:
        print(f"\nwritten to {args.out}: {', '.join(path.name for path in written)}")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    kept = (
        "sources",
        "suite",
        "matchers",
        "keypoints",
        "device",
        "variant",
        "engine",
        "precision",
        "start",
        "stop",
        "strides",
        "repeat",
        "alignment",
        "slam",
        "overrides",
    )
    return {key: getattr(args, key) for key in kept} | {"threads": torch.get_num_threads()}


def _sequences(args: argparse.Namespace) -> Iterator[tuple[str, FrameSource]]:
    """Yield every source with every stride, repeated as requested, under unique names."""
    from ros_matching.io import open_source

    taken: set[str] = set()
    for spec in args.sources:
        for stride in args.strides:
            source = open_source(spec, start=args.start, stop=args.stop, stride=stride)
            name = source.name if stride == 1 else f"{source.name}, every {_ordinal(stride)}"
            if name in taken:
                raise ConfigError(f"two sources have the name {name!r}; use separate benchmarks, with another --out")
            taken.add(name)
            for repeat in range(args.repeat):
                yield name, open_source(spec, start=args.start + repeat, stop=args.stop, stride=stride)


def _ordinal(number: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")

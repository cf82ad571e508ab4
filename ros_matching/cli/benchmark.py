"""``ros-matching benchmark``: every front end in the same tracker on the same frames."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.cli.options import SOURCE_KINDS, add_network_options, add_part_options, hides_progress
from ros_matching.errors import ConfigError
from ros_matching.evaluation import ALIGNMENTS
from ros_matching.matching import MATCHERS

if TYPE_CHECKING:
    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.evaluation.benchmark.benchmark_runs import Contest
    from ros_matching.io.source import FrameSource

_FRONT_ENDS = ("default", "sift", "orb", "xfeat", "aliked+lightglue", "disk+lightglue")
_CONDITIONS = (
    "The front ends took turns frame by frame, each in a process of its own (without the source of the frames)."
)
_DESCRIPTION = """\
Run several front ends through the same tracker on the same frames, and write into DIR:
  benchmark.md, benchmark.json   share tracked, ATE and RPE (by evo), covariances, times by stage, memory; every run
                                 in the JSON
  SEQUENCE.png                   trajectories over the ground truth, errors over time, times
  SEQUENCE/FRONT END/            the files of `ros-matching track`
Every frame is read or rendered once. The front ends, each in a process of its own, take turns on it, never two at a
time, so that times compare even on a busy machine. A front end that cannot run says why in the table.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "benchmark",
        help="compare front ends in the same tracker on the same frames",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help=SOURCE_KINDS)
    parser.add_argument(
        "--backend",
        dest="backends",
        type=_front_end,
        action="append",
        default=[],
        metavar="NAME[=WEIGHTS]",
        help="front end, a learned one with a weights file or folder of its own; may be repeated (default: "
        f"{', '.join(_FRONT_ENDS)})",
    )
    parser.add_argument("--keypoints", type=int, metavar="N", help="most an image (default: each front end's own)")
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
        default=1,
        metavar="N",
        help="run N times, each time from one frame later, and show medians: where a map begins changes the errors "
        "(default: %(default)s)",
    )
    add_network_options(parser)
    parser.add_argument("--alignment", choices=ALIGNMENTS, default="sim3", help="as in track (default: %(default)s)")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="tracking.KEY=VALUE",
        help="change a setting of the tracker, for all; may be repeated. `track --list-settings` shows them",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("results/benchmark"), help="(default: %(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _front_end(spec: str) -> str:
    """The argument as it is, if its name is one of a front end."""
    name = spec.partition("=")[0]
    if name not in MATCHERS:
        raise argparse.ArgumentTypeError(f"unknown matcher {name!r}; choose one of: {', '.join(MATCHERS)}")
    return spec


def run(args: argparse.Namespace) -> int:
    """Race, print and write. Returns 1 when no front end tracked any frame, 130 when stopped by Ctrl-C."""
    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.cli.options import configs_from

    if args.repeat < 1:
        raise ConfigError(f"--repeat must be at least 1, got {args.repeat}")
    config = configs_from(args.overrides, {"tracking": TrackingConfig})["tracking"]
    contests: list[Contest] = []
    try:
        for name, source in list(_sequences(args)):
            _race(name, source, config, contests, args)
    finally:  # stopped or failed on the way, what was done is reported
        if contests:
            _conclude(contests, args)
    return 0 if any(run.report.trajectory for contest in contests for run in contest.runs) else 1


def _race(
    name: str, source: FrameSource, config: TrackingConfig, contests: list[Contest], args: argparse.Namespace
) -> None:
    """Run a contest and add it to ``contests``, as far as it came."""
    from tqdm import tqdm

    from ros_matching.cli.benchmark_runner import FrontEnd, Race

    networks = {name: getattr(args, name) for name in ("variant", "engine", "precision")}
    front_ends = [FrontEnd(spec, args.device, args.keypoints, networks) for spec in _specs(args)]
    bar = tqdm(total=len(source), desc=name, unit="frame", disable=hides_progress(args.quiet), dynamic_ncols=True)
    with bar, Race(name, front_ends, config, alignment=args.alignment) as race:
        try:
            race.run(source, bar)
        finally:
            contests.append(race.contest())


def _conclude(contests: Sequence[Contest], args: argparse.Namespace) -> None:
    from ros_matching.evaluation.benchmark.benchmark_report import benchmark_measurement, write_benchmark

    measurement = benchmark_measurement(contests, _settings(args), conditions=_CONDITIONS)
    if not args.quiet:
        print(measurement.markdown())
    written = write_benchmark(contests, measurement, args.out)
    if not args.quiet:
        print(f"\nwritten to {args.out}: {', '.join(path.name for path in written)}")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    kept = (
        "sources",
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
        "overrides",
    )
    arguments = {key: getattr(args, key) for key in kept}
    return arguments | {"backends": _specs(args), "threads": torch.get_num_threads()}


def _specs(args: argparse.Namespace) -> list[str]:
    return list(dict.fromkeys(args.backends or _FRONT_ENDS))


def _sequences(args: argparse.Namespace) -> Iterator[tuple[str, FrameSource]]:
    """What is raced on: every source with every stride, as often as asked for, under names of their own."""
    from ros_matching.io import open_source

    taken: set[str] = set()
    for spec in args.sources:
        for stride in dict.fromkeys(args.strides or [1]):
            source = open_source(spec, start=args.start, stop=args.stop, stride=stride)
            name = source.name if stride == 1 else f"{source.name}, every {_ordinal(stride)}"
            if name in taken:
                raise ConfigError(
                    f"two sources are called {name!r}; give them in runs of their own, with another --out"
                )
            taken.add(name)
            for repeat in range(args.repeat):
                yield name, open_source(spec, start=args.start + repeat, stop=args.stop, stride=stride)


def _ordinal(number: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")

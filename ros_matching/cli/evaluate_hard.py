"""``ros-matching evaluate hard``: relative poses of pairs that are hard in a known way."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.evaluate_options import (
    add_matcher_options,
    add_measure,
    add_output_options,
    data_folder,
    load_matchers,
    settings_of,
)
from ros_matching.cli.options import hides_progress
from ros_matching.errors import EvaluationError

if TYPE_CHECKING:
    from ros_matching.evaluation.hard import HardResult
    from ros_matching.evaluation.split import PairSet
    from ros_matching.evaluation.tables import Measurement
    from ros_matching.io import FrameSource

_MATCHERS = ("posfeat+ncnet+ncmnet", "posfeat", "sift")
_DESCRIPTION = """\
Relative poses of pairs that are hard in a known way. Rendered lines, which need no data: half or more of the image
moves by itself (moving: four bodies, moving-one: one), repeated parts, 20 to 60 degrees between the views,
low light, motion blur. Real lines, from the data folder: fox, lund_door and redkitchen at long gaps. AUC of the pose
error with 95 % bootstrap intervals, and paired differences of the first matcher to the others.
"""


def add_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "relative poses of hard pairs: moving things, repetition, blur", _DESCRIPTION)
    add_matcher_options(parser, _MATCHERS)
    parser.add_argument(
        "--lines", nargs="+", metavar="NAME", help="only these lines (default: all, real ones where there is data)"
    )
    parser.add_argument(
        "--pairs", type=int, default=32, metavar="N", help="pairs of each rendered line (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the rendered lines (default: 0)")
    add_output_options(parser)


def measure(args: argparse.Namespace) -> Measurement:
    """Run the matchers on all lines."""
    from tqdm import tqdm

    from ros_matching.evaluation.hard import evaluate_hard
    from ros_matching.evaluation.hard_report import hard_measurement
    from ros_matching.io.hard_pairs import HardPairSource

    lines = _lines(args)
    matchers = load_matchers(args, _MATCHERS)
    results: list[HardResult] = []
    for name, (source, pair_set) in lines.items():
        exact = isinstance(source, HardPairSource)
        found = evaluate_hard(matchers, name, source, pair_set, exact_depth=exact, size_px=args.size)
        total = len(matchers) * len(pair_set.pairs(len(source)))
        results += tqdm(found, name, total, unit="pair", disable=hides_progress(args.quiet), dynamic_ncols=True)
    return hard_measurement(results, settings_of(args))


def _lines(args: argparse.Namespace) -> dict[str, tuple[FrameSource, PairSet]]:
    """The lines asked for, with their sources and pairs; real ones are skipped where there is no data."""
    from ros_matching.evaluation.hard import REAL_LINES, rendered_pairs
    from ros_matching.io import open_source
    from ros_matching.io.hard_pairs import HardPairSource
    from ros_matching.scenes.hard_views import HARD_LINES

    every = (*HARD_LINES, *REAL_LINES)
    unknown = sorted(set(args.lines or ()) - set(every))
    if unknown:
        raise EvaluationError(f"there are no lines {', '.join(unknown)}; there are: {', '.join(every)}")
    lines: dict[str, tuple[FrameSource, PairSet]] = {}
    for name in args.lines or every:
        if name in HARD_LINES:
            lines[name] = HardPairSource(name, args.pairs, args.seed), rendered_pairs(name)
            continue
        folder = _sequence_folder(args, REAL_LINES[name].sequence)
        if folder is not None:
            lines[name] = open_source(str(folder)), REAL_LINES[name]
        elif args.lines:
            raise EvaluationError(f"the line {name} needs {_missing(REAL_LINES[name].sequence)}")
        elif not args.quiet:
            print(f"the line {name} is skipped: it needs {_missing(REAL_LINES[name].sequence)}", file=sys.stderr)
    return lines


def _sequence_folder(args: argparse.Namespace, sequence: str) -> Path | None:
    """The folder of a sequence; ``None`` where no data folder is named, or it lacks the sequence."""
    from ros_matching.training.data import ENVIRONMENT

    if args.data is None and not os.environ.get(ENVIRONMENT):
        return None
    folder = data_folder(args) / sequence
    return folder if folder.is_dir() else None


def _missing(sequence: str) -> str:
    return f"{sequence}/ in the data folder, given with --data or $ROS_MATCHING_DATA"

"""``ros-matching evaluate overlap``: how much of one image another shows, by a front end with CNNGeometric."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ros_matching.cli.evaluate_options import (
    add_matcher_options,
    add_measure,
    add_output_options,
    depth_source,
    load_matchers,
    settings_of,
)
from ros_matching.cli.options import SOURCE_KINDS, hides_progress

if TYPE_CHECKING:
    from ros_matching.evaluation.tables import Measurement

_DEFAULT = ("posfeat+cnngeometric",)
_DESCRIPTION = """\
The share of one image that another one shows, as a front end tells it before any keypoint is matched, against what
depth and true poses say; beside it the share of the keypoints that find a match.
"""


def add_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "overlap of two images", _DESCRIPTION)
    add_matcher_options(parser, _DEFAULT)
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        help=f"{SOURCE_KINDS} with true poses and depth (default: the held-out frames of the data folder that have it)",
    )
    parser.add_argument("--gaps", type=int, nargs="+", metavar="N", help="frames from one image of a pair to the other")
    parser.add_argument("--step", type=int, default=4, metavar="N", help="every how many-th frame begins pairs")
    add_output_options(parser)


def measure(args: argparse.Namespace) -> Measurement:
    """Compare the frames of the source."""
    from tqdm import tqdm

    from ros_matching.evaluation.overlap import GAPS, evaluate_overlap, overlap_measurement
    from ros_matching.evaluation.split import PairSet

    source, _ = depth_source(args)
    part = "held-out" if args.source is None else "all"
    pair_set = PairSet(source.name, tuple(args.gaps or GAPS), part=part, step=args.step)
    total = len({start for _, start, _ in pair_set.pairs(len(source))})
    results = {}
    for name, matcher in load_matchers(args, _DEFAULT).items():
        found = evaluate_overlap(matcher, source, pair_set, size_px=args.size)
        results[name] = list(
            tqdm(found, name, total, unit="frame", disable=hides_progress(args.quiet), dynamic_ncols=True)
        )
    return overlap_measurement(results, source.name, settings_of(args))

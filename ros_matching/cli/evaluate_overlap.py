"""``ros-matching evaluate overlap``: how much of one image another shows, by a front end with CNNGeometric."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ros_matching.cli.evaluate_options import (
    add_front_end_options,
    add_output_options,
    depth_source,
    load_matcher,
    settings_of,
)
from ros_matching.cli.options import SOURCE_KINDS, hides_progress

if TYPE_CHECKING:
    from ros_matching.evaluation.tables import Measurement

_DEFAULT = "posfeat+cnngeometric"
_DESCRIPTION = """\
The share of one image that another one shows, as a front end tells it before any keypoint is matched, against what
depth and true poses say; beside it the share of the keypoints that find a match.
"""


def add_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = measures.add_parser(
        name,
        help="overlap of two images",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--matcher",
        dest="matchers",
        action="append",
        default=[],
        metavar="NAME[=WEIGHTS]",
        help=f"front end that tells overlaps; may be repeated (default: {_DEFAULT})",
    )
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        help=f"{SOURCE_KINDS} with true poses and depth (default: the held-out frames of the data folder that have it)",
    )
    parser.add_argument("--gaps", type=int, nargs="+", metavar="N", help="frames from one image of a pair to the other")
    parser.add_argument("--step", type=int, default=4, metavar="N", help="every how many-th frame begins pairs")
    add_front_end_options(parser)
    add_output_options(parser)


def measure(args: argparse.Namespace) -> Measurement:
    """Compare the frames of the source."""
    from tqdm import tqdm

    from ros_matching.evaluation.overlap import GAPS, evaluate_overlap, overlap_measurement

    source, first = depth_source(args)
    frames = {frame.index: frame for frame in source if frame.index >= first}
    total, hidden = -(-len(frames) // args.step), hides_progress(args.quiet)
    results = {}
    for name in dict.fromkeys(args.matchers or [_DEFAULT]):
        found = evaluate_overlap(load_matcher(name, args), frames, tuple(args.gaps or GAPS), args.step)
        progress = tqdm(found, name, total, unit="frame", disable=hidden, dynamic_ncols=True)
        results[source.name, name] = [overlaps for _, overlaps in progress]
    return overlap_measurement(results, settings_of(args))

"""``ros-matching evaluate pairs``: relative poses of real image pairs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ros_matching.cli.evaluate_options import (
    add_matcher_options,
    add_output_options,
    data_folder,
    load_matchers,
    settings_of,
)
from ros_matching.cli.options import SOURCE_KINDS, hides_progress
from ros_matching.errors import EvaluationError

if TYPE_CHECKING:
    from ros_matching.evaluation.pairs import Matcher, PairResult
    from ros_matching.evaluation.split import PairSet
    from ros_matching.evaluation.tables import Measurement
    from ros_matching.io import FrameSource

_DESCRIPTION = """\
How accurate the relative poses are that front ends lead to: the area under the recall curve (AUC) of the larger of
rotation and direction error up to 5, 10 and 20 degrees, in percent, with this package's own pose (AUC) and OpenCV's
MAGSAC on the same matches. Without --source, on the validation pairs: frames of the data folder that no training
has touched.
"""


def add_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = measures.add_parser(
        name,
        help="relative poses of real image pairs",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_matcher_options(parser)
    parser.add_argument(
        "--sequence", dest="sequences", action="append", default=[], metavar="NAME", help="only that of the data folder"
    )
    parser.add_argument("--source", metavar="SOURCE", help=f"pairs of all frames of a {SOURCE_KINDS} with true poses")
    parser.add_argument(
        "--gaps",
        type=int,
        nargs="+",
        default=[1, 5, 10],
        metavar="N",
        help="frames from one image of a --source to the other (default: 1 5 10)",
    )
    add_output_options(parser)


def measure(args: argparse.Namespace) -> Measurement:
    """Run the front ends on all pairs."""
    from ros_matching.evaluation.pairs_report import pairs_measurement

    matchers = load_matchers(args)
    results: list[PairResult] = []
    for source, pair_set in _pair_sets(args):
        results += _evaluate(matchers, source, pair_set, args)
    return pairs_measurement(results, settings_of(args) | {"size_px": args.size, "max_keypoints": args.keypoints})


def _evaluate(
    matchers: dict[str, Matcher], source: FrameSource, pair_set: PairSet, args: argparse.Namespace
) -> list[PairResult]:
    from tqdm import tqdm

    from ros_matching.evaluation.pairs import evaluate_pairs

    total = len(matchers) * len(pair_set.pairs(len(source)))
    results = evaluate_pairs(matchers, source, pair_set, size_px=args.size)
    return list(tqdm(results, source.name, total, unit="pair", disable=hides_progress(args.quiet), dynamic_ncols=True))


def _pair_sets(args: argparse.Namespace) -> list[tuple[FrameSource, PairSet]]:
    from ros_matching.evaluation.split import VALIDATION_PAIRS, PairSet
    from ros_matching.io import open_source

    if args.source is not None:
        source = open_source(args.source)
        return [(source, PairSet(source.name, tuple(args.gaps), held_out=False))]
    known = [pair_set.sequence for pair_set in VALIDATION_PAIRS]
    unknown = sorted(set(args.sequences) - set(known))
    if unknown:
        raise EvaluationError(f"there are no validation pairs of {', '.join(unknown)}; there are of {', '.join(known)}")
    root = data_folder(args)
    wanted = [pair_set for pair_set in VALIDATION_PAIRS if pair_set.sequence in (args.sequences or known)]
    return [(open_source(str(root / pair_set.sequence)), pair_set) for pair_set in wanted]

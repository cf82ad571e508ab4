"""``ros-matching evaluate pairs``: relative poses of real image pairs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ros_matching.cli.evaluate_options import (
    add_matcher_options,
    add_measure,
    add_output_options,
    add_pair_options,
    load_matchers,
    pair_sets,
    settings_of,
)
from ros_matching.cli.options import hides_progress

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
    parser = add_measure(measures, name, "relative poses of real image pairs", _DESCRIPTION)
    add_matcher_options(parser)
    add_pair_options(parser)
    add_output_options(parser)


def measure(args: argparse.Namespace) -> Measurement:
    """Run the front ends on all pairs."""
    from ros_matching.evaluation.pairs_report import pairs_measurement

    matchers = load_matchers(args)
    results: list[PairResult] = []
    for source, pair_set in pair_sets(args):
        results += _evaluate(matchers, source, pair_set, args)
    return pairs_measurement(results, settings_of(args))


def _evaluate(
    matchers: dict[str, Matcher], source: FrameSource, pair_set: PairSet, args: argparse.Namespace
) -> list[PairResult]:
    from tqdm import tqdm

    from ros_matching.evaluation.pairs import evaluate_pairs

    total = len(matchers) * len(pair_set.pairs(len(source)))
    results = evaluate_pairs(matchers, source, pair_set, size_px=args.size)
    return list(tqdm(results, source.name, total, unit="pair", disable=hides_progress(args.quiet), dynamic_ncols=True))

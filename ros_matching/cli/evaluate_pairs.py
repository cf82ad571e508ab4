"""``ros-matching evaluate pairs``, ``hard`` and ``pruning``: relative poses of image pairs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.evaluate_options import (
    add_common_matcher_options,
    add_matcher_options,
    add_measure,
    add_output_options,
    add_pair_options,
    data_folder,
    load_matcher,
    load_matchers,
    pair_sets,
    settings_of,
)
from ros_matching.cli.options import hides_progress
from ros_matching.errors import EvaluationError

if TYPE_CHECKING:
    from ros_matching.evaluation.data_split import PairSet
    from ros_matching.evaluation.measurement import Measurement
    from ros_matching.evaluation.pairs.hard_suite import HardResult
    from ros_matching.evaluation.pairs.matched_pairs import Matcher, PairResult
    from ros_matching.evaluation.pairs.pruning import Pruner
    from ros_matching.io import FrameSource
    from ros_matching.matching.pipeline import MatchingPipeline


_PAIRS_DESCRIPTION = """\
Accuracy of relative poses from matches: the area under the recall curve (AUC) of the larger of rotation and direction
error up to 5, 10 and 20 degrees, in percent, with the pose estimator of this package (AUC) and OpenCV's MAGSAC on the
same matches. Without --source, on the validation pairs: frames of the data folder that are not used for training.
"""
_MATCHERS = ("posfeat+ncnet+ncmnet", "posfeat", "sift")
_PRUNERS = ("ncmnet_lite", "ncmnet")


def add_pairs_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "relative poses of real image pairs", _PAIRS_DESCRIPTION)
    add_matcher_options(parser)
    add_pair_options(parser)
    add_output_options(parser)


def measure_pairs(args: argparse.Namespace) -> Measurement:
    """Evaluate the matchers on all pairs."""
    from ros_matching.evaluation.pairs.pairs_report import pairs_measurement

    matchers = load_matchers(args)
    results: list[PairResult] = []
    for source, pair_set in pair_sets(args):
        results += _evaluate(matchers, source, pair_set, args)
    return pairs_measurement(results, settings_of(args))


def _evaluate(
    matchers: dict[str, Matcher], source: FrameSource, pair_set: PairSet, args: argparse.Namespace
) -> list[PairResult]:
    from tqdm import tqdm

    from ros_matching.evaluation.pairs.matched_pairs import evaluate_pairs

    total = len(matchers) * len(pair_set.pairs(len(source)))
    results = evaluate_pairs(matchers, source, pair_set, size_px=args.size)
    return list(tqdm(results, source.name, total, unit="pair", disable=hides_progress(args.quiet), dynamic_ncols=True))


_HARD_DESCRIPTION = """\
Relative poses of hard pairs. Rendered lines, which need no data: half or more of the image shows moving objects
(moving: four, moving-one: one), repeated structures, 20 to 60 degrees between the views, low light, motion blur.
Real lines, from the data folder: fox, lund_door and redkitchen at long gaps. Figures are AUC of the pose error with
95 % bootstrap intervals, and paired differences of the first matcher to the others.
"""


def add_hard_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(
        measures, name, "relative poses of hard pairs: moving objects, repetition, blur", _HARD_DESCRIPTION
    )
    add_matcher_options(parser, _MATCHERS)
    parser.add_argument(
        "--lines", nargs="+", metavar="NAME", help="only these lines (default: all; real ones need data)"
    )
    parser.add_argument(
        "--pairs", type=int, default=32, metavar="N", help="pairs of each rendered line (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the rendered lines (default: 0)")
    add_output_options(parser)


def measure_hard(args: argparse.Namespace) -> Measurement:
    """Evaluate the matchers on all lines."""
    from tqdm import tqdm

    from ros_matching.evaluation.pairs.hard_suite import evaluate_hard, hard_measurement
    from ros_matching.io.rendered import HardPairSource

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
    """Return the requested lines with their sources and pairs; real ones are skipped without data."""
    from ros_matching.evaluation.pairs.hard_suite import REAL_LINES, rendered_pairs
    from ros_matching.io import open_source
    from ros_matching.io.rendered import HardPairSource
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
    """Return the folder of a sequence; ``None`` without a data folder that contains it."""
    from ros_matching.training.recipe import ENVIRONMENT

    if args.data is None and not os.environ.get(ENVIRONMENT):
        return None
    folder = data_folder(args) / sequence
    return folder if folder.is_dir() else None


def _missing(sequence: str) -> str:
    return f"{sequence}/ in the data folder, given with --data or $ROS_MATCHING_DATA"


_PRUNING_DESCRIPTION = """\
Pruning of putative matches (nearest neighbours) of the validation pairs: precision, recall and F of the remaining
matches against the true epipolar geometry; mAP and AUC of the pose of the pruner's essential matrix, and AUC of this
package's pose and OpenCV's MAGSAC on the remaining matches. Baselines are RANSAC's inliers and all matches ("none").
"""


def add_pruning_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "pruning of putative matches", _PRUNING_DESCRIPTION)
    parser.add_argument(
        "--pruner",
        dest="pruners",
        action="append",
        default=[],
        metavar="NAME[=FILE]",
        help=f"{' or '.join(_PRUNERS)}, with a weights file other than the installed one; may be repeated",
    )
    parser.add_argument(
        "--matcher",
        default="sift",
        metavar="NAME[=FILE]",
        help="matcher of the putative matches (default: %(default)s)",
    )
    add_common_matcher_options(parser)
    add_pair_options(parser)
    add_output_options(parser)


def measure_pruning(args: argparse.Namespace) -> Measurement:
    """Evaluate the pruners on all pairs."""
    from tqdm import tqdm

    from ros_matching.evaluation.pairs.matched_pairs import matched_pairs
    from ros_matching.evaluation.pairs.pruning import BASELINES, evaluate_pruning, pruning_measurement

    matchers = {args.matcher: _nearest_neighbours(args)}
    pruners = {**BASELINES, **{name: _load_pruner(name, args.device) for name in args.pruners}}
    results = []
    for source, pair_set in pair_sets(args):
        if pair_set.rotation_only:
            continue
        pairs = matched_pairs(matchers, source, pair_set, size_px=args.size)
        total = len(pair_set.pairs(len(source)))
        hidden = hides_progress(args.quiet)
        results += evaluate_pruning(
            pruners, tqdm(pairs, source.name, total, unit="pair", disable=hidden, dynamic_ncols=True)
        )
    return pruning_measurement(results, settings_of(args))


def _nearest_neighbours(args: argparse.Namespace) -> MatchingPipeline:
    """Return the matcher without its ratio test, which is itself a pruner."""
    from ros_matching.matching import classical

    if args.matcher == "sift":
        return classical.sift_matcher(classical.SiftConfig(max_keypoints=args.keypoints, ratio=1.0))
    if args.matcher == "orb":
        return classical.orb_matcher(classical.OrbConfig(max_keypoints=args.keypoints, ratio=1.0))
    return load_matcher(args.matcher, args)


def _load_pruner(name: str, device: str) -> Pruner:
    from ros_matching.networks.checkpoint import load_named, weights_file
    from ros_matching.networks.engines import torch_device
    from ros_matching.networks.ncmnet.pruner import NCMNetPruner

    network, _, file = name.partition("=")
    if network not in _PRUNERS:
        raise EvaluationError(f"no pruner is called {network!r}; there are: {', '.join(_PRUNERS)}")
    path = Path(file) if file else weights_file(network)
    return NCMNetPruner(load_named(path, network).to(torch_device(device)))

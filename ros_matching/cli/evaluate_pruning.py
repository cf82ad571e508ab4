"""``ros-matching evaluate pruning``: do pruners keep the right ones of putative matches?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.evaluate_options import (
    add_front_end_options,
    add_measure,
    add_output_options,
    add_pair_options,
    load_matcher,
    pair_sets,
    settings_of,
)
from ros_matching.cli.options import hides_progress
from ros_matching.errors import EvaluationError

if TYPE_CHECKING:
    from ros_matching.evaluation.pruning import Pruner
    from ros_matching.evaluation.tables import Measurement
    from ros_matching.matching.two_view import TwoViewMatcher

_PRUNERS = ("ncmnet_lite", "ncmnet")
_DESCRIPTION = """\
What pruners make of putative matches (nearest neighbours) of the validation pairs: precision, recall and F of those
kept, against the true epipolar geometry; mAP and AUC of the pose of the pruner's own essential matrix, and AUC of this
package's pose and OpenCV's MAGSAC on what it kept. RANSAC's inliers stand beside them, and all matches ("none").
"""


def add_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "pruning of putative matches", _DESCRIPTION)
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
        help="front end that gives the putative matches (default: %(default)s)",
    )
    add_front_end_options(parser)
    add_pair_options(parser)
    add_output_options(parser)


def measure(args: argparse.Namespace) -> Measurement:
    """Run the pruners on all pairs."""
    from tqdm import tqdm

    from ros_matching.evaluation.pairs import matched_pairs
    from ros_matching.evaluation.pruning import BASELINES, evaluate_pruning
    from ros_matching.evaluation.pruning_report import pruning_measurement

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


def _nearest_neighbours(args: argparse.Namespace) -> TwoViewMatcher:
    """The front end without its ratio test, which is a pruner of its own."""
    from ros_matching.matching import classical

    if args.matcher == "sift":
        return classical.SiftMatcher(classical.SiftConfig(max_keypoints=args.keypoints, ratio=1.0))
    if args.matcher == "orb":
        return classical.OrbMatcher(classical.OrbConfig(max_keypoints=args.keypoints, ratio=1.0))
    return load_matcher(args.matcher, args)


def _load_pruner(name: str, device: str) -> Pruner:
    from ros_matching.networks.device import torch_device
    from ros_matching.networks.installed import load_named, weights_file
    from ros_matching.networks.ncmnet.pruner import NCMNetPruner

    network, _, file = name.partition("=")
    if network not in _PRUNERS:
        raise EvaluationError(f"no pruner is called {network!r}; there are: {', '.join(_PRUNERS)}")
    path = Path(file) if file else weights_file(network)
    return NCMNetPruner(load_named(path, network).to(torch_device(device)))

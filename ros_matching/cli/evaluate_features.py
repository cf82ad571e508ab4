"""``ros-matching evaluate features``: keypoints and matches of photos under random homographies."""

from __future__ import annotations

import argparse
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

if TYPE_CHECKING:
    from ros_matching.evaluation.tables import Measurement

_DESCRIPTION = """\
How well keypoints and matches of held-out photos follow random homographies (with another light and noise): the mean
matching accuracy (MMA), the share of matches within 1 to 10 pixels, MMAscore, which is its weighted mean, and how many
keypoints are found again within 3 pixels.
"""


def add_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "keypoints and matches of photos under random homographies", _DESCRIPTION)
    add_matcher_options(parser)
    add_photo_options(parser)
    add_output_options(parser)


def add_photo_options(parser: argparse.ArgumentParser) -> None:
    """Which photos are taken."""
    parser.add_argument("--photos", type=int, metavar="N", help="take N photos, evenly spread (default: all held out)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random warps (default: %(default)s)")


def measure(args: argparse.Namespace) -> Measurement:
    """Run the front ends on all photos."""
    from tqdm import tqdm

    from ros_matching.evaluation.features import evaluate_features, features_measurement
    from ros_matching.evaluation.features_warps import warped_pairs
    from ros_matching.evaluation.split import validation_photos

    matchers = load_matchers(args)
    photos = validation_photos(data_folder(args) / "photos", args.photos)
    results = evaluate_features(matchers, warped_pairs(photos, args.size, args.seed))
    total = len(matchers) * len(photos)
    hidden = hides_progress(args.quiet)
    done = list(tqdm(results, "features", total, unit="pair", disable=hidden, dynamic_ncols=True))
    return features_measurement(done, settings_of(args))

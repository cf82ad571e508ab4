"""``ros-matching evaluate alignment``: whole images aligned by one transformation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.evaluate_features import add_photo_options
from ros_matching.cli.evaluate_options import (
    add_front_end_options,
    add_measure,
    add_output_options,
    data_folder,
    load_matcher,
    settings_of,
)
from ros_matching.cli.options import hides_progress
from ros_matching.errors import EvaluationError

if TYPE_CHECKING:
    from torch import nn

    from ros_matching.evaluation.alignment import Align
    from ros_matching.evaluation.tables import Measurement

_ALIGNERS = ("cnn_geometric_lite", "cnn_geometric")
_DESCRIPTION = """\
How near held-out photos are brought to themselves after a random affine transformation, homography or thin-plate
spline: the mean distance over a grid from where its points belong, in percent of the image's sides. Beside the
aligners stand doing nothing ("none") and homographies fitted to the matches of front ends.
"""


def add_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "alignment of whole images", _DESCRIPTION)
    parser.add_argument(
        "--aligner",
        dest="aligners",
        action="append",
        default=[],
        metavar="NAME[=FILE]",
        help=f"{' or '.join(_ALIGNERS)}, with a weights file other than the installed one; may be repeated. "
        "The lite one works on the descriptor maps of PoSFeat",
    )
    parser.add_argument(
        "--stages", default="affine+tps", help="models that an aligner estimates in turn (default: %(default)s)"
    )
    parser.add_argument(
        "--matcher",
        dest="matchers",
        action="append",
        default=[],
        metavar="NAME[=WEIGHTS]",
        help="front end whose matches a homography is fitted to; may be repeated",
    )
    parser.add_argument(
        "--pair-size",
        type=int,
        nargs=2,
        default=[320, 240],
        metavar=("W", "H"),
        help="of the images (default: 320 240)",
    )
    add_front_end_options(parser)
    add_photo_options(parser)
    add_output_options(parser)


def measure(args: argparse.Namespace) -> Measurement:
    """Run the aligners on all photos."""
    from tqdm import tqdm

    from ros_matching.evaluation.alignment import (
        alignment_measurement,
        evaluate_alignment,
        homography_of,
        leave,
    )
    from ros_matching.evaluation.alignment_warps import MODELS, alignment_pairs
    from ros_matching.evaluation.split import validation_photos

    aligners = {"none": leave}
    aligners |= {f"{name}, homography": homography_of(load_matcher(name, args)) for name in args.matchers}
    aligners |= {name: _load_aligner(name, args) for name in args.aligners}
    photos = validation_photos(data_folder(args) / "photos", args.photos)
    results = evaluate_alignment(aligners, alignment_pairs(photos, list(MODELS), tuple(args.pair_size), args.seed))
    total, hidden = len(aligners) * len(MODELS) * len(photos), hides_progress(args.quiet)
    done = list(tqdm(results, "alignment", total, unit="pair", disable=hidden, dynamic_ncols=True))
    return alignment_measurement(done, settings_of(args))


def _load_aligner(name: str, args: argparse.Namespace) -> Align:
    from ros_matching.networks.cnn_geometric.aligner import AlignerConfig, FeatureAligner, ImageAligner
    from ros_matching.networks.device import torch_device
    from ros_matching.networks.installed import load_named, weights_file
    from ros_matching.networks.posfeat.extractor import PoSFeatExtractor
    from ros_matching.networks.posfeat.sampling import MAP_STRIDE

    network_name, _, file = name.partition("=")
    if network_name not in _ALIGNERS:
        raise EvaluationError(f"no aligner is called {network_name!r}; there are: {', '.join(_ALIGNERS)}")
    device = torch_device(args.device)
    network = load_named(Path(file) if file else weights_file(network_name), network_name).to(device)
    config = AlignerConfig(stages=args.stages)
    if network.trunk_name != "descriptor_map":
        return ImageAligner(network, config).align
    extractor = PoSFeatExtractor(_posfeat(args.weights).to(device))
    aligner = FeatureAligner(network, extractor.network.name, MAP_STRIDE, config)
    return lambda image0, image1: aligner.align(extractor.extract(image0), extractor.extract(image1))


def _posfeat(given: Sequence[Path]) -> nn.Module:
    """The PoSFeat among the weights files and folders given, or else the installed one."""
    from ros_matching.networks.checkpoint import load_network, read_card
    from ros_matching.networks.installed import load_installed

    for path in given:
        if path.is_file() and read_card(path).network in ("posfeat_lite", "posfeat"):
            return load_network(path)
    return load_installed("posfeat_lite", next((path for path in given if path.is_dir()), None))

"""``ros-matching evaluate features``, ``alignment`` and ``overlap``: measurements on images without poses."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.evaluate_options import (
    add_common_matcher_options,
    add_matcher_options,
    add_measure,
    add_output_options,
    data_folder,
    depth_source,
    load_matcher,
    load_matchers,
    settings_of,
)
from ros_matching.cli.options import SOURCE_KINDS, hides_progress
from ros_matching.errors import EvaluationError

if TYPE_CHECKING:
    from torch import nn

    from ros_matching.evaluation.measurement import Measurement
    from ros_matching.evaluation.pairs.image_alignment import Align


_FEATURES_DESCRIPTION = """\
Accuracy of keypoints and matches on held-out photos under random homographies (with other light and noise): the mean
matching accuracy (MMA), which is the fraction of matches within 1 to 10 pixels, its weighted mean (MMAscore), and the
repeatability of keypoints within 3 pixels.
"""
_ALIGNERS = ("cnn_geometric_lite", "cnn_geometric")
_DEFAULT = ("posfeat+cnngeometric",)


def add_features_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(
        measures, name, "keypoints and matches of photos under random homographies", _FEATURES_DESCRIPTION
    )
    add_matcher_options(parser)
    add_photo_options(parser)
    add_output_options(parser)


def add_photo_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the photos."""
    parser.add_argument("--photos", type=int, metavar="N", help="take N photos, evenly spread (default: all held out)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random warps (default: %(default)s)")


def measure_features(args: argparse.Namespace) -> Measurement:
    """Evaluate the matchers on all photos."""
    from tqdm import tqdm

    from ros_matching.evaluation.data_split import validation_photos
    from ros_matching.evaluation.pairs.repeatability import evaluate_features, features_measurement, warped_pairs

    matchers = load_matchers(args)
    photos = validation_photos(data_folder(args) / "photos", args.photos)
    results = evaluate_features(matchers, warped_pairs(photos, args.size, args.seed))
    total = len(matchers) * len(photos)
    hidden = hides_progress(args.quiet)
    done = list(tqdm(results, "features", total, unit="pair", disable=hidden, dynamic_ncols=True))
    return features_measurement(done, settings_of(args))


_ALIGNMENT_DESCRIPTION = """\
Alignment of held-out photos to themselves after a random affine transformation, homography or thin-plate spline: the
mean error of the points of a grid, in percent of the image's sides. Baselines are no alignment ("none") and
homographies fitted to the matches of a matcher.
"""


def add_alignment_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "alignment of whole images", _ALIGNMENT_DESCRIPTION)
    parser.add_argument(
        "--aligner",
        dest="aligners",
        action="append",
        default=[],
        metavar="NAME[=FILE]",
        help=f"{' or '.join(_ALIGNERS)}, with a weights file other than the installed one; may be repeated. "
        "The lite one uses the descriptor maps of PoSFeat",
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
        help="matcher whose matches a homography is fitted to; may be repeated",
    )
    parser.add_argument(
        "--pair-size",
        type=int,
        nargs=2,
        default=[320, 240],
        metavar=("W", "H"),
        help="of the images (default: 320 240)",
    )
    add_common_matcher_options(parser)
    add_photo_options(parser)
    add_output_options(parser)


def measure_alignment(args: argparse.Namespace) -> Measurement:
    """Evaluate the aligners on all photos."""
    from tqdm import tqdm

    from ros_matching.evaluation.data_split import validation_photos
    from ros_matching.evaluation.pairs.image_alignment import (
        MODELS,
        alignment_measurement,
        alignment_pairs,
        evaluate_alignment,
        homography_of,
        leave,
    )

    aligners = {"none": leave}
    aligners |= {f"{name}, homography": homography_of(load_matcher(name, args)) for name in args.matchers}
    aligners |= {name: _load_aligner(name, args) for name in args.aligners}
    photos = validation_photos(data_folder(args) / "photos", args.photos)
    results = evaluate_alignment(aligners, alignment_pairs(photos, list(MODELS), tuple(args.pair_size), args.seed))
    total, hidden = len(aligners) * len(MODELS) * len(photos), hides_progress(args.quiet)
    done = list(tqdm(results, "alignment", total, unit="pair", disable=hidden, dynamic_ncols=True))
    return alignment_measurement(done, settings_of(args))


def _load_aligner(name: str, args: argparse.Namespace) -> Align:
    from ros_matching.networks.checkpoint import load_named, weights_file
    from ros_matching.networks.cnn_geometric.aligner import AlignerConfig, FeatureAligner, ImageAligner
    from ros_matching.networks.engines import torch_device
    from ros_matching.networks.posfeat.extractor import PoSFeatExtractor
    from ros_matching.networks.posfeat.sampling import MAP_STRIDE

    network_name, _, file = name.partition("=")
    if network_name not in _ALIGNERS:
        raise EvaluationError(f"there is no aligner {network_name!r}; there are: {', '.join(_ALIGNERS)}")
    device = torch_device(args.device)
    network = load_named(Path(file) if file else weights_file(network_name), network_name).to(device)
    config = AlignerConfig(stages=args.stages)
    if network.trunk_name != "descriptor_map":
        return ImageAligner(network, config).align
    extractor = PoSFeatExtractor(_posfeat(args.weights).to(device))
    aligner = FeatureAligner(network, extractor.network.name, MAP_STRIDE, config)
    return lambda image0, image1: aligner.align(extractor.extract(image0), extractor.extract(image1))


def _posfeat(given: Sequence[Path]) -> nn.Module:
    """Return PoSFeat from the given weights files and folders, or the installed one."""
    from ros_matching.networks.checkpoint import load_installed, load_network, read_card

    for path in given:
        if path.is_file() and read_card(path).network in ("posfeat_lite", "posfeat"):
            return load_network(path)
    return load_installed("posfeat_lite", next((path for path in given if path.is_dir()), None))


_OVERLAP_DESCRIPTION = """\
Overlap of two images: the fraction of one image that the other shows, estimated by a matcher before keypoints are
matched, against depth and true poses; and the fraction of keypoints with a match, for comparison.
"""


def add_overlap_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "overlap of two images", _OVERLAP_DESCRIPTION)
    add_matcher_options(parser, _DEFAULT)
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        help=f"{SOURCE_KINDS} with true poses and depth (default: the held-out frames of the data folder that have it)",
    )
    parser.add_argument("--gaps", type=int, nargs="+", metavar="N", help="frames from one image of a pair to the other")
    parser.add_argument("--step", type=int, default=4, metavar="N", help="frames from one first image to the next")
    add_output_options(parser)


def measure_overlap(args: argparse.Namespace) -> Measurement:
    """Evaluate the overlaps of the frames of the source."""
    from tqdm import tqdm

    from ros_matching.evaluation.data_split import PairSet
    from ros_matching.evaluation.pairs.image_overlap import GAPS, evaluate_overlap, overlap_measurement

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

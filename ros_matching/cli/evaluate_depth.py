"""``ros-matching evaluate depth``: depth maps from several views against a sensor's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.evaluate_options import DEPTH_SEQUENCE, add_measure, add_output_options, depth_source, settings_of
from ros_matching.cli.options import hides_progress
from ros_matching.errors import EvaluationError

if TYPE_CHECKING:
    from ros_matching.evaluation.depth import Estimate
    from ros_matching.evaluation.tables import Measurement

_ESTIMATORS = ("pbs_mvsnet_lite", "pbs_mvsnet")
_DESCRIPTION = f"""\
How near depth maps from several views with true poses are to those of a depth sensor: the mean relative error, the
shares of all known pixels within 1, 2 and 5 percent, and how many have an estimate at all. Without --source, on the
frames of {DEPTH_SEQUENCE} that no training has touched. A plane sweep by normalised cross-correlation ("ncc") and
OpenCV's semi-global matching on rectified pairs ("sgbm") stand beside them.
"""


def add_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "depth maps against a sensor's", _DESCRIPTION)
    parser.add_argument(
        "--estimator",
        dest="estimators",
        action="append",
        default=[],
        metavar="NAME[=FILE]",
        help=f"{' or '.join(_ESTIMATORS)}, with a weights file other than the installed one; may be repeated",
    )
    parser.add_argument("--source", metavar="SOURCE", help="all frames of a sequence with true poses and depth")
    parser.add_argument(
        "--view-size",
        type=int,
        nargs=2,
        default=[512, 320],
        metavar=("W", "H"),
        help="of the images (default: 512 320)",
    )
    parser.add_argument("--views", type=int, default=5, metavar="N", help="views of a set (default: %(default)s)")
    parser.add_argument("--step", type=int, default=2, metavar="N", help="every Nth frame is a reference (default: 2)")
    parser.add_argument("--planes", type=int, default=96, metavar="N", help="depth hypotheses (default: %(default)s)")
    parser.add_argument(
        "--refinement",
        type=int,
        default=6,
        metavar="N",
        help="depths tried by correlation on either side of the network's; 0: none (default: %(default)s)",
    )
    add_output_options(parser)


def measure(args: argparse.Namespace) -> Measurement:
    """Run the estimators on all sets of views."""
    from tqdm import tqdm

    from ros_matching.evaluation.depth import evaluate_depth
    from ros_matching.evaluation.depth_ncc import PlaneSweep
    from ros_matching.evaluation.depth_report import depth_measurement
    from ros_matching.evaluation.depth_sgbm import SemiGlobalMatching
    from ros_matching.evaluation.depth_views import DepthViewsConfig, depth_views
    from ros_matching.io.selection import select_frames

    estimators = {"ncc": PlaneSweep(args.planes).estimate, "sgbm": SemiGlobalMatching().estimate}
    estimators |= {name: _load_estimator(name, args) for name in args.estimators}
    width, height = args.view_size
    config = DepthViewsConfig(width=width, height=height, sources=args.views - 1, step=args.step)
    (source, first), hidden = depth_source(args), hides_progress(args.quiet)
    sets = depth_views(list(select_frames(source, first)), config)
    reports = {
        name: evaluate_depth(estimate, tqdm(sets, name, unit="set", disable=hidden, dynamic_ncols=True))
        for name, estimate in estimators.items()
    }
    return depth_measurement(reports, source.name, settings_of(args))


def _load_estimator(name: str, args: argparse.Namespace) -> Estimate:
    from ros_matching.networks.device import torch_device
    from ros_matching.networks.installed import load_named, weights_file
    from ros_matching.networks.pbs_mvsnet.depth import DepthConfig, DepthEstimator

    network_name, _, file = name.partition("=")
    if network_name not in _ESTIMATORS:
        raise EvaluationError(f"no depth estimator is called {network_name!r}; there are: {', '.join(_ESTIMATORS)}")
    network = load_named(Path(file) if file else weights_file(network_name), network_name)
    config = DepthConfig(planes=args.planes, refinement=args.refinement)
    return DepthEstimator(network.to(torch_device(args.device)), config).estimate

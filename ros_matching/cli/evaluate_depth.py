"""``ros-matching evaluate depth`` and ``cloud``: depth maps and dense maps against known depth."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.cli.evaluate_options import DEPTH_SEQUENCE, add_measure, add_output_options, depth_source, settings_of
from ros_matching.cli.map import GROUND_TRUTH, TRACKER, deliveries
from ros_matching.cli.options import add_matcher_option, hides_progress
from ros_matching.errors import EvaluationError

if TYPE_CHECKING:
    from ros_matching.config import Config
    from ros_matching.datatypes import DepthMap, Keyframe
    from ros_matching.evaluation.depth.depth_errors import Estimate
    from ros_matching.evaluation.mapping.mapping_report import MappingReport
    from ros_matching.evaluation.measurement import Measurement
    from ros_matching.io import FrameSource
    from ros_matching.mapping import MappingConfig
    from ros_matching.mapping.dense_mapper import PyramidEstimator
    from ros_matching.networks.pbs_mvsnet.estimator import DepthPyramid


_ESTIMATORS = ("pbs_mvsnet_lite", "pbs_mvsnet")
_DEPTH_DESCRIPTION = f"""\
How near depth maps from several views with true poses are to those of a depth sensor: the mean relative error, the
fractions of all known pixels within 1, 2 and 5 percent, and how many have an estimate at all. Without --source, on the
frames of {DEPTH_SEQUENCE} that no training has touched. A plane sweep by normalised cross-correlation ("ncc") and
OpenCV's semi-global matching on rectified pairs ("sgbm") are the baselines.
"""
_QUARTER = 4


def add_depth_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "depth maps against a sensor's", _DEPTH_DESCRIPTION)
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


def measure_depth(args: argparse.Namespace) -> Measurement:
    """Run the estimators on all sets of views."""
    from tqdm import tqdm

    from ros_matching.evaluation.depth.baselines import PlaneSweep, SemiGlobalMatching
    from ros_matching.evaluation.depth.depth_errors import depth_measurement, evaluate_depth
    from ros_matching.evaluation.depth.depth_views import DepthViewsConfig, depth_views
    from ros_matching.io.source import select_frames

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
    from ros_matching.networks.checkpoint import load_named, weights_file
    from ros_matching.networks.engines import torch_device
    from ros_matching.networks.pbs_mvsnet.estimator import DepthConfig, DepthEstimator

    network_name, _, file = name.partition("=")
    if network_name not in _ESTIMATORS:
        raise EvaluationError(f"there is no depth estimator {network_name!r}; there are: {', '.join(_ESTIMATORS)}")
    network = load_named(Path(file) if file else weights_file(network_name), network_name)
    config = DepthConfig(planes=args.planes, refinement=args.refinement)
    return DepthEstimator(network.to(torch_device(args.device)), config).estimate


_CLOUD_DESCRIPTION = f"""\
Map keyframes with true or tracked poses, and compare the filtered depth maps and the cloud with known depth. Without
--source, on the frames of {DEPTH_SEQUENCE} that are not used for training. All estimators get the same keyframes,
views, depth ranges and filters:
  pbs_mvsnet_lite  the mapper with its defaults
  no_pyramid       without the coarser levels
  no_gates         without voxel-wise aggregation: equal weights for all views (the network is not retrained)
  no_sparse_points without the tracker's points in the cost volume
  no_refinement    the network's depth without the narrow sweep over the full-size images
  no_consistency   without the consistency check of depth maps
  no_filling       with holes in weakly textured planes
  no_cleaning      as no_filling, without exceptions for very confident depths, with flying points and isolated depths
  ncc              plane sweep by normalised cross-correlation
  sgbm             OpenCV's semi-global matching on rectified pairs
The tracker starts at the first frame of a sequence. The poses of its mapped keyframes are aligned to the true ones by a
similarity before the comparison.
"""


@dataclass(frozen=True)
class _Variant:
    """A variant of the mapper: changed settings, and the name of the estimator."""

    estimator: str = "network"
    changes: dict[str, Any] = field(default_factory=dict)


_VARIANTS = {
    "pbs_mvsnet_lite": _Variant(),
    "no_pyramid": _Variant(changes={"levels": 1}),
    "no_gates": _Variant("no_gates"),
    "no_sparse_points": _Variant(changes={"sparse_weight": 0.0}),
    "no_refinement": _Variant(changes={"refinement": 0}),
    "no_consistency": _Variant(changes={"min_consistent": 0}),
    "no_filling": _Variant(changes={"max_plane_error": 0.0}),
    "no_cleaning": _Variant(
        changes={"strong_confidence": 1.0, "max_edge_error": 0.0, "min_neighbours": 0, "max_plane_error": 0.0}
    ),
    "ncc": _Variant("ncc"),
    # Semi-global matching removes uncertain depths itself.
    "sgbm": _Variant("sgbm", {"min_confidence": 0.0}),
}


def add_cloud_parser(measures: argparse._SubParsersAction, name: str) -> None:
    """Declare the measure."""
    parser = add_measure(measures, name, "the mapper's depth maps and cloud against known depth", _CLOUD_DESCRIPTION)
    parser.add_argument(
        "--estimator",
        dest="estimators",
        action="append",
        default=[],
        choices=list(_VARIANTS),
        help="only this one; may be repeated",
    )
    parser.add_argument("--source", metavar="SOURCE", help="a sequence with true poses and depth, or a scene")
    parser.add_argument("--poses", choices=(GROUND_TRUTH, TRACKER), default=GROUND_TRUTH, help="(default: %(default)s)")
    add_matcher_option(parser)
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="mapping.KEY=VALUE", help="change a setting"
    )
    add_output_options(parser)


def measure_cloud(args: argparse.Namespace) -> Measurement:
    """Map the same keyframes with every estimator."""
    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.cli.settings_options import configs_from
    from ros_matching.evaluation.mapping.mapping_report import mapping_measurement
    from ros_matching.mapping import MappingConfig
    from ros_matching.scale import ScaleConfig

    sections = {"mapping": MappingConfig, "tracking": TrackingConfig, "scale": ScaleConfig}
    configs = configs_from(args.overrides, sections)
    source, first = depth_source(args)
    keyframes = [keyframe for keyframe in _keyframes(source, first, args, configs) if keyframe.frame.index >= first]
    if not keyframes:
        raise EvaluationError(f"{source.name} has no keyframe to map")
    reports = {
        name: _map(keyframes, name, configs["mapping"], args)
        for name in dict.fromkeys(args.estimators or list(_VARIANTS))
    }
    return mapping_measurement(reports, source.name, settings_of(args))


def _keyframes(
    source: FrameSource, first: int, args: argparse.Namespace, configs: Mapping[str, Config]
) -> list[Keyframe]:
    """Return the keyframes at their final poses, of the frames from ``first`` on, or of all frames with the tracker."""
    from tqdm import tqdm

    from ros_matching.io.source import select_frames
    from ros_matching.matching import load_matcher

    if args.poses == GROUND_TRUTH:
        source = select_frames(source, first)
    device = "auto" if args.matcher in ("sift", "orb") else args.device
    matcher = load_matcher(args.matcher, device=device)
    found: dict[int, Keyframe] = {}
    frames = tqdm(source, "keyframes", unit="frame", disable=hides_progress(args.quiet), dynamic_ncols=True)
    for delivery in deliveries(frames, source, args.poses, matcher, configs):
        found |= {keyframe.id: replace(keyframe, features=None) for keyframe in delivery.keyframes}
        for id, pose in delivery.corrected.items():
            if id in found:
                found[id] = replace(found[id], world_from_camera=pose)
    return list(found.values())


def _map(keyframes: Sequence[Keyframe], name: str, config: MappingConfig, args: argparse.Namespace) -> MappingReport:
    from tqdm import tqdm

    from ros_matching.evaluation.mapping.mapping_report import MappingRecorder
    from ros_matching.mapping import DenseMapper, MappingStatus

    variant = _VARIANTS[name]
    config = replace(config, **variant.changes)
    mapper = DenseMapper(_estimator(variant.estimator, config, args.device), config)
    recorder = MappingRecorder(is_aligned=args.poses == GROUND_TRUTH)
    hidden = hides_progress(args.quiet)
    results = [mapper.add(keyframe) for keyframe in tqdm(keyframes, name, disable=hidden, dynamic_ncols=True)]
    for result in [*results, *mapper.finish()]:
        if result.status is MappingStatus.WAITING:
            recorder.add_time(result.stage_ms)
            continue
        keyframe = result.keyframe
        recorder.add(keyframe.frame, keyframe.world_from_camera, result.depth_map, result.reason, result.stage_ms)
    return recorder.report(mapper.cloud())


def _estimator(name: str, config: MappingConfig, device: str) -> PyramidEstimator:
    from ros_matching.evaluation.depth.baselines import PlaneSweep, SemiGlobalMatching

    if name == "ncc":
        return _AtQuarter(PlaneSweep(config.planes).estimate)
    if name == "sgbm":
        return _AtQuarter(SemiGlobalMatching().estimate)
    from ros_matching.networks import DEPTH_NETWORKS
    from ros_matching.networks.checkpoint import load_installed
    from ros_matching.networks.engines import torch_device
    from ros_matching.networks.pbs_mvsnet.estimator import DepthEstimator

    network = load_installed(DEPTH_NETWORKS[0]).to(torch_device(device))
    if name == "no_gates":
        network.aggregation.voxel = None
    return DepthEstimator(network, config)


class _AtQuarter:
    """Subsamples the depth maps of an estimator by four, like those of the network, without coarser levels."""

    def __init__(self, estimate: Callable[[Any, Any, Any], DepthMap]) -> None:
        self._estimate = estimate

    def estimate_pyramid(
        self, reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float]
    ) -> DepthPyramid:
        """The depth maps of the reference: one."""
        from ros_matching.datatypes import DepthMap
        from ros_matching.networks.pbs_mvsnet.estimator import DepthPyramid, feature_camera

        full = self._estimate(reference, sources, depth_range)
        camera = feature_camera(reference.frame.camera)
        every_fourth = slice(None, None, _QUARTER)
        found = DepthMap(full.depth[every_fourth, every_fourth], full.confidence[every_fourth, every_fourth], camera)
        return DepthPyramid((found,), reference.world_from_camera)

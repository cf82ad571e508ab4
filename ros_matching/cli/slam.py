"""``ros-matching slam``: SLAM over a sequence, offline, in a map that is kept."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.cli.options import (
    SOURCE_KINDS,
    add_mapping_thread_option,
    add_run_options,
    hides_progress,
    matcher_config,
    open_run_source,
)
from ros_matching.cli.sensor_options import add_imu_options, add_scale_options, make_imu, make_scale, scaled_overrides
from ros_matching.cli.settings_options import add_settings_options, configs_from
from ros_matching.cli.track import frame_record
from ros_matching.errors import RosMatchingError
from ros_matching.evaluation import ALIGNMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ros_matching.atlas.slam_map import SlamMap
    from ros_matching.config import Config
    from ros_matching.evaluation.trajectory.run_report import FrameRecord, RunReport
    from ros_matching.evaluation.trajectory.slam_report import LoopRecord, SlamReport
    from ros_matching.inertial.imu import Imu
    from ros_matching.io.source import FrameSource
    from ros_matching.matching.pipeline import MatchingPipeline
    from ros_matching.slam import Slam

_MODES = ("slam", "localization")
_DESCRIPTION = """\
Run SLAM over a sequence and write into DIR:
  trajectory.tum    camera poses of the tracked frames in the map, corrected by its loops (TUM format)
  odometry.tum      the same as they were tracked, without loops
  ground_truth.tum  true camera poses, where the source has them
  report.json       as of 'track', for both trajectories; loops and their errors, the map
  slam.png          plot of the trajectory before and after the loops
  trajectory.png    plot of the trajectory in the map, the error and the time per frame
With --map, the camera continues in a saved map. Ctrl-C stops and writes the results so far.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "slam",
        help="run SLAM over a sequence: loops are closed, and the map can be saved",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_KINDS)
    add_run_options(parser, "results/<source>_slam")
    parser.add_argument("--map", dest="map_dir", metavar="DIR", type=Path, help="saved map to continue or localise in")
    parser.add_argument("--save", metavar="DIR", type=Path, help="save the map into this folder at the end")
    parser.add_argument(
        "--mode",
        choices=_MODES,
        default="slam",
        help="localization: stay in the map of --map and do not extend it (default: %(default)s)",
    )
    parser.add_argument(
        "--alignment",
        choices=ALIGNMENTS,
        default="sim3",
        help="alignment of the estimates to the ground truth before the ATE (default: %(default)s)",
    )
    add_mapping_thread_option(parser)
    add_scale_options(parser)
    add_imu_options(parser)
    add_settings_options(parser, "SLAM, the tracker, the scale or the IMU", _sections)
    return parser


def _sections() -> dict[str, type[Config]]:
    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.backend.slam_config import SlamConfig
    from ros_matching.inertial.config import ImuConfig
    from ros_matching.scale import ScaleConfig

    return {"slam": SlamConfig, "tracking": TrackingConfig, "scale": ScaleConfig, "imu": ImuConfig}


@dataclass
class _Run:
    """What a run with a matcher has found so far."""

    matcher: str
    records: list[FrameRecord] = field(default_factory=list)
    truth: list[tuple[int, Any]] = field(default_factory=list)
    events: list[tuple[int, str]] = field(default_factory=list)


def run(args: argparse.Namespace) -> int:
    """Run SLAM and report. Returns 1 when no frame has a pose in the map, 130 when stopped by Ctrl-C."""

    configs = configs_from(scaled_overrides(args), _sections())
    loaded = _loaded_map(args)
    source = open_run_source(args)
    matcher = matcher_config(args).load()
    slam = _make_slam(args, configs, matcher, loaded, make_imu(args, configs, source))
    collected, interrupted = _Run(matcher.name), None
    with contextlib.closing(slam):
        try:
            _track_all(slam, source, collected, quiet=args.quiet)
        except (KeyboardInterrupt, RosMatchingError) as error:
            interrupted = error
            if not collected.records:
                raise
        slam.finish()
        report = _report(args, source, slam, collected, interrupted=interrupted is not None)
        _save(args, slam.slam_map)
    _write(report, args.out or Path("results") / f"{source.name}_slam", quiet=args.quiet)
    if interrupted is not None:
        raise interrupted
    if report.corrected.trajectory is None:
        why = f"at the end: {report.corrected.records[-1].reason}" if report.corrected.records else "no frames"
        print(f"ros-matching slam: no frame has a pose in the map; {why}", file=sys.stderr)
        return 1
    return 0


def _loaded_map(args: argparse.Namespace) -> SlamMap | None:
    from ros_matching.atlas.map_storage import load_map
    from ros_matching.errors import ConfigError

    if args.mode == "localization" and args.map_dir is None:
        raise ConfigError("--mode localization needs a map to localise in; give it with --map DIR")
    return None if args.map_dir is None else load_map(args.map_dir)


def _make_slam(
    args: argparse.Namespace,
    configs: dict[str, Config],
    matcher: MatchingPipeline,
    loaded: SlamMap | None,
    imu: Imu | None,
) -> Slam:
    from ros_matching.slam import Slam

    scale = make_scale(configs, matcher, args.wheel_odometry, imu)
    return Slam(
        matcher,
        configs["tracking"],
        configs["slam"],
        scale,
        threaded=args.mapping_thread,
        slam_map=loaded,
        mode=args.mode,
        imu=imu,
    )


def _track_all(slam: Slam, source: FrameSource, collected: _Run, *, quiet: bool) -> None:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    bar = tqdm(
        source, total=len(source), unit="frame", desc=source.name, disable=hides_progress(quiet), dynamic_ncols=True
    )
    with logging_redirect_tqdm(), bar as frames:
        for frame in frames:
            start = time.perf_counter()
            result = slam.track(frame)
            collected.records.append(frame_record(result.tracking, 1e3 * (time.perf_counter() - start)))
            collected.events += [(frame.index, str(event)) for event in result.events]
            if frame.true_world_from_camera is not None:
                collected.truth.append((frame.stamp_ns, frame.true_world_from_camera))
            frames.set_postfix_str(f"{result.status.value}, {result.keyframes} keyframes", refresh=False)


def _report(
    args: argparse.Namespace, source: FrameSource, slam: Slam, collected: _Run, *, interrupted: bool
) -> SlamReport:
    from ros_matching.evaluation.trajectory.run_report import corrected_records
    from ros_matching.evaluation.trajectory.slam_report import SlamReport

    corrected = corrected_records(collected.records, slam.trajectory())
    odometry, in_map = (
        _run_report(args, source, collected, records, interrupted=interrupted)
        for records in (collected.records, corrected)
    )
    slam_map = slam.slam_map
    loops = () if slam_map is None else tuple(_loops(slam_map))
    return SlamReport(odometry, in_map, loops, tuple(collected.events), map_values(slam_map))


def _run_report(
    args: argparse.Namespace,
    source: FrameSource,
    collected: _Run,
    records: Sequence[FrameRecord],
    *,
    interrupted: bool,
) -> RunReport:
    from ros_matching.evaluation.trajectory.run_report import RunRecorder

    recorder = RunRecorder(source.name, collected.matcher, alignment=args.alignment)
    recorder.set_calibration(source.calibration)
    recorder.add_faults(source.faults)
    for record in records:
        recorder.add(record)
    for stamp_ns, pose in collected.truth:
        recorder.add_ground_truth(stamp_ns, pose)
    return recorder.report(interrupted=interrupted)


def _loops(slam_map: SlamMap) -> list[LoopRecord]:
    """The loop edges, as rigid measurements in the unit of the map."""
    from ros_matching.atlas.stored_keyframes import EdgeKind
    from ros_matching.backend.loop_plausibility import typical_depth
    from ros_matching.evaluation.trajectory.slam_report import LoopRecord
    from ros_matching.geometry.sim3 import rigid_part

    loops = []
    for edge in slam_map.edges:
        if edge.kind is EdgeKind.LOOP:
            first, second = slam_map.keyframe(edge.first), slam_map.keyframe(edge.second)
            measured = rigid_part(edge.first_from_second)
            measured[:3, 3] *= first.scale
            loops.append(LoopRecord(first.stamp_ns, second.stamp_ns, measured, typical_depth(slam_map, first.id)))
    return loops


def map_values(slam_map: SlamMap | None) -> dict[str, Any]:
    """Figures of a map for reports."""
    from ros_matching.atlas.stored_keyframes import EdgeKind

    if slam_map is None:
        return {"keyframes": 0}
    edges = slam_map.edges
    return {
        "keyframes": len(slam_map),
        "landmarks": len(slam_map.landmarks),
        "parts": len(slam_map.components()),
        "culled": len(slam_map.culled),
        **{f"{kind.value}_edges": sum(edge.kind is kind for edge in edges) for kind in EdgeKind},
        "megabytes": slam_map.nbytes / 1e6,
        "unit": slam_map.unit.value,
    }


def _save(args: argparse.Namespace, slam_map: SlamMap | None) -> None:
    from ros_matching.atlas.map_storage import save_map

    if args.save is None:
        return
    if slam_map is None:
        print("ros-matching slam: there is no map to save", file=sys.stderr)
        return
    save_map(args.save, slam_map)
    if not args.quiet:
        print(f"saved {len(slam_map)} keyframes to {args.save}")


def _write(report: SlamReport, out_dir: Path, *, quiet: bool) -> None:
    from ros_matching.evaluation.trajectory.slam_report import slam_summary, write_slam_report

    if not quiet:
        print(slam_summary(report))
    written = write_slam_report(report, out_dir)
    if not quiet:
        print(f"\nwritten to {out_dir}: {', '.join(path.name for path in written)}")

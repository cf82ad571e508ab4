"""``ros-matching track``: visual odometry over a sequence, offline."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.export import KeyframeExports, add_export_option
from ros_matching.cli.options import (
    SOURCE_KINDS,
    add_mapping_thread_option,
    add_run_options,
    hides_progress,
    matcher_config,
    open_run_source,
)
from ros_matching.cli.sensor_options import (
    add_imu_options,
    add_scale_options,
    make_imu,
    make_odometry,
    scaled_overrides,
)
from ros_matching.cli.settings_options import add_settings_options
from ros_matching.errors import RosMatchingError
from ros_matching.evaluation import ALIGNMENTS

if TYPE_CHECKING:
    from ros_matching.config import Config
    from ros_matching.datatypes import Frame
    from ros_matching.evaluation.trajectory.run_report import FrameRecord, RunRecorder, RunReport
    from ros_matching.io.source import FrameSource
    from ros_matching.odometry.result import TrackingResult
    from ros_matching.visual_odometry import VisualOdometry


_DESCRIPTION = """\
Run visual odometry over a sequence and write into DIR:
  trajectory.tum    camera poses of the tracked frames, as estimated (TUM format)
  ground_truth.tum  true camera poses, where the source has them
  report.json       frames, faulty ones by name, errors against ground truth (ATE, RPE by evo), times
  trajectory.png    plot of the trajectory, the error and the time per frame
Ctrl-C stops and writes the results so far.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "track",
        help="run visual odometry over a sequence",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_KINDS)
    add_run_options(parser, "results/<source>")
    parser.add_argument(
        "--alignment",
        choices=ALIGNMENTS,
        default="sim3",
        help="alignment of the estimate to the ground truth before the ATE (default: %(default)s)",
    )
    add_mapping_thread_option(parser)
    add_scale_options(parser)
    add_imu_options(parser)
    add_export_option(parser)
    add_settings_options(parser, "the tracker, the scale or the IMU", _sections)
    return parser


def _sections() -> dict[str, type[Config]]:
    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.inertial.config import ImuConfig
    from ros_matching.scale import ScaleConfig

    return {"tracking": TrackingConfig, "scale": ScaleConfig, "imu": ImuConfig}


def run(args: argparse.Namespace) -> int:
    """Track the source and report. Returns 1 when no frame was tracked, 130 when stopped by Ctrl-C."""
    from ros_matching.cli.settings_options import configs_from
    from ros_matching.evaluation.trajectory.run_report import RunRecorder

    configs = configs_from(scaled_overrides(args), _sections())
    exports = KeyframeExports(args.exports)
    source = open_run_source(args)
    matcher = matcher_config(args).load()
    imu = make_imu(args, configs, source)
    odometry = make_odometry(configs, matcher, args.wheel_odometry, threaded=args.mapping_thread, imu=imu)
    recorder = RunRecorder(source.name, matcher.name, alignment=args.alignment)
    recorder.set_calibration(source.calibration)
    out_dir = args.out or Path("results") / source.name
    try:
        with contextlib.closing(odometry):
            _track_all(odometry, source, recorder, exports, quiet=args.quiet)
    except (KeyboardInterrupt, RosMatchingError):
        recorder.add_faults(source.faults)
        if len(recorder):
            _write(recorder.report(interrupted=True), out_dir, exports, quiet=args.quiet)
        raise
    recorder.add_faults(source.faults)
    report = recorder.report()
    _write(report, out_dir, exports, quiet=args.quiet)
    if report.trajectory is None:
        why = f"at the end: {report.records[-1].reason}" if report.records else "the source has no frames"
        print(f"ros-matching track: no frame was tracked; {why}", file=sys.stderr)
        return 1
    return 0


def _write(report: RunReport, out_dir: Path, exports: KeyframeExports, *, quiet: bool) -> None:
    from ros_matching.evaluation.trajectory.report_files import summary_table, write_report

    if not quiet:
        print(summary_table(report))
    written, exported = write_report(report, out_dir), exports.finish()
    if not quiet:
        print(f"\nwritten to {out_dir}: {', '.join(path.name for path in written)}")
        for folder in sorted({path.parent for path in exported}):
            print(f"exported to {folder}: {', '.join(path.name for path in exported if path.parent == folder)}")


def _track_all(
    odometry: VisualOdometry, source: FrameSource, recorder: RunRecorder, exports: KeyframeExports, *, quiet: bool
) -> None:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with (
        logging_redirect_tqdm(),
        tqdm(
            source, total=len(source), unit="frame", desc=source.name, disable=hides_progress(quiet), dynamic_ncols=True
        ) as frames,
    ):
        for frame in frames:
            result, record = track_frame(odometry, frame)
            recorder.add(record)
            exports.observe(result, odometry)
            if frame.true_world_from_camera is not None:
                recorder.add_ground_truth(frame.stamp_ns, frame.true_world_from_camera)
            frames.set_postfix_str(f"{result.status.value}, {result.counts.inliers} inliers", refresh=False)
    if odometry.finish():
        exports.take(odometry.current_keyframes())


def track_frame(odometry: VisualOdometry, frame: Frame) -> tuple[TrackingResult, FrameRecord]:
    """Track a frame and time it; return the result and its record for the report."""
    start = time.perf_counter()
    result = odometry.track(frame)
    return result, frame_record(result, 1e3 * (time.perf_counter() - start))


def frame_record(result: TrackingResult, latency_ms: float) -> FrameRecord:
    """Return the record for the report of a result of the tracker."""
    from ros_matching.evaluation.trajectory.run_report import FrameRecord, ScaleRecord
    from ros_matching.odometry.result import TrackingStatus

    scaled = result.with_scale_uncertainty(0.0)  # an unknown map scale adds nothing
    return FrameRecord(
        index=result.frame_index,
        stamp_ns=result.stamp_ns,
        status=result.status.value,
        world_from_camera=result.world_from_camera if result.status is TrackingStatus.TRACKING else None,
        reason=result.reason,
        latency_ms=latency_ms,
        stage_ms=result.stage_ms,
        maps=result.counts.maps,
        map_id=result.map_id,
        scale=ScaleRecord(result.scale.value, result.scale_source, result.scale_sigma, result.scale_reason),
        covariance=scaled.covariance if result.status is TrackingStatus.TRACKING else None,
        previous_from_current=result.previous_from_current,
        relative_covariance=scaled.relative_covariance,
        calibration_doubt=result.calibration_doubt,
    )

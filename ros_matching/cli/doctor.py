"""``ros-matching doctor``: whether an installation is complete, and whether a GPU computes what the CPU does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ros_matching.cli.doctor_checks import Finding

_DESCRIPTION = """\
Check this installation: Python, packages, network weights, ROS, GPU and engine; then track a short rendered sequence.
What is missing is listed with its remedy.

With --device cuda also run every network on the CPU and on the GPU, compare the outputs, and time both; and track the
rendered sequence on both. Exit code 0: complete; 1: something that is needed, or the GPU asked for, is missing.
"""
_SEQUENCE = "scene:room?frames=30&fps=10&width={}&height={}"
_SIZES = ((640, 480), (1280, 720))
_PRECISIONS = ("float32", "float16")
_MAX_ATE_PERCENT = 1.0


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "doctor",
        help="check the installation, and the GPU against the CPU",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run all checks and print a line for each finding."""
    from ros_matching.cli.doctor_checks import CHECKS, MISSING

    is_complete = True
    for check in CHECKS:
        for finding in check():
            is_complete &= finding.level != MISSING
            _show(finding)
    if not is_complete:
        return 1
    findings = [_tracked("cpu", 320, 240)]
    _show(findings[0])
    if args.device == "cuda":
        for finding in _on_gpu():
            findings.append(finding)
            _show(finding)
    return int(any(finding.level == MISSING for finding in findings))


def _show(finding: Finding) -> None:
    remedy = f"\n         {finding.remedy}" if finding.remedy else ""
    print(f"{finding.level:<8} {finding.what}{remedy}", flush=True)


def _tracked(device: str, width: int, height: int, **options: str) -> Finding:
    """Track the rendered sequence with the default front end, and check its error."""
    from ros_matching.cli.doctor_checks import MISSING, OK, Finding
    from ros_matching.cli.scale_options import make_odometry
    from ros_matching.cli.tracked import track_frame
    from ros_matching.evaluation.run import TRACKING, RunRecorder
    from ros_matching.io import open_source
    from ros_matching.matching import load_matcher
    from ros_matching.tracking import ScaleConfig, TrackingConfig

    source = open_source(_SEQUENCE.format(width, height))
    matcher = load_matcher("default", device=device, **options)
    odometry = make_odometry({"tracking": TrackingConfig(), "scale": ScaleConfig()}, matcher, None)
    recorder = RunRecorder(source.name, matcher.name)
    for frame in source:
        recorder.add(track_frame(odometry, frame)[1])
        recorder.add_truth(frame.stamp_ns, frame.true_world_from_camera)
    report = recorder.report()
    words = ", ".join([f"rendered room on {device} at {width}x{height}", *options.values()])
    words += f": {report.count(TRACKING)} of {len(report.records)} frames tracked"
    words += f", {report.ms_per_frame:.0f} ms a frame"
    if report.evaluation is None:  # as without evo
        return Finding(OK if report.trajectory else MISSING, f"{words}; {report.evaluation_note}")
    error = report.evaluation.ate_percent
    level = OK if error <= _MAX_ATE_PERCENT else MISSING
    return Finding(level, f"{words}, ATE {error:.2f} % of the path (at most {_MAX_ATE_PERCENT:g} % is right)")


def _on_gpu() -> Iterator[Finding]:
    """Every network and the whole pipeline on CPU and GPU; without a GPU, what would be run."""
    import torch

    from ros_matching.cli.doctor_checks import MISSING, NOTE, Finding
    from ros_matching.networks.speed import workloads

    if not torch.cuda.is_available():
        names = ", ".join(workloads())
        yield Finding(NOTE, f"with a GPU these would be compared and timed in {' and '.join(_PRECISIONS)}: {names}")
        sizes = " and ".join(f"{width}x{height}" for width, height in _SIZES)
        yield Finding(NOTE, f"with a GPU the rendered room would be tracked on it at {sizes}")
        yield Finding(MISSING, "there is no GPU to check", "leave --device out, or see the finding above on the GPU")
        return
    for name in workloads():
        for precision in _PRECISIONS:
            yield _compared(name, precision)
    for width, height in _SIZES:
        yield _tracked("cpu", width, height)
        for precision in _PRECISIONS:
            yield _tracked("cuda", width, height, precision=precision)


def _compared(name: str, precision: str) -> Finding:
    from ros_matching.cli.doctor_checks import MISSING, OK, Finding
    from ros_matching.networks.agreement import TOLERANCE, compare
    from ros_matching.networks.speed import measure

    found, limit = compare(name, "cuda", precision), TOLERANCE[precision]
    gpu_ms = measure(name, "cuda", precision).median_ms
    words = f"{name}, {precision}: GPU and CPU differ by {found.difference:.1e} (up to {limit:g}); "
    level = OK if found.difference <= limit else MISSING
    return Finding(level, f"{words}{gpu_ms:.1f} ms on the GPU, {found.cpu_ms:.0f} ms on the CPU (first run, float32)")

"""``ros-matching doctor``: checks of the installation, and of GPU results against those of the CPU."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ros_matching.errors import RosMatchingError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
OK, NOTE, MISSING = "ok", "note", "missing"


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
    """Track the rendered sequence with the default matcher, and check its error."""
    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.cli.sensor_options import make_odometry
    from ros_matching.cli.track import track_frame
    from ros_matching.evaluation.trajectory.run_report import TRACKING, RunRecorder
    from ros_matching.io import open_source
    from ros_matching.matching import load_matcher
    from ros_matching.scale import ScaleConfig

    source = open_source(_SEQUENCE.format(width, height))
    matcher = load_matcher("default", device=device, **options)
    odometry = make_odometry({"tracking": TrackingConfig(), "scale": ScaleConfig()}, matcher, None)
    recorder = RunRecorder(source.name, matcher.name)
    for frame in source:
        recorder.add(track_frame(odometry, frame)[1])
        recorder.add_ground_truth(frame.stamp_ns, frame.true_world_from_camera)
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
    """Compare every network and the whole pipeline on CPU and GPU; without a GPU, list the comparisons."""
    import torch

    from ros_matching.networks.timing import workloads

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
    from ros_matching.networks.timing import TOLERANCE, compare, measure

    found, limit = compare(name, "cuda", precision), TOLERANCE[precision]
    gpu_ms = measure(name, "cuda", precision).median_ms
    words = f"{name}, {precision}: GPU and CPU differ by {found.difference:.1e} (up to {limit:g}); "
    level = OK if found.difference <= limit else MISSING
    return Finding(level, f"{words}{gpu_ms:.1f} ms on the GPU, {found.cpu_ms:.0f} ms on the CPU (first run, float32)")


# Import name, distribution and use; the first ones are required.
_NEEDED = (
    ("numpy", "numpy"),
    ("scipy", "scipy"),
    ("cv2", "opencv-python-headless"),
    ("torch", "torch"),
    ("safetensors", "safetensors"),
    ("yaml", "pyyaml"),
    ("rosbags", "rosbags"),
    ("tqdm", "tqdm"),
    ("simplejpeg", "simplejpeg"),
    ("PIL", "pillow"),
    ("av", "av"),
)
_OPTIONAL = (
    ("gtsam", "gtsam", "slam", "closes loops in SLAM"),
    ("openvino", "openvino", "cpu", "networks run about twice as fast on a CPU"),
    ("numba", "numba", "cpu", "matches are refined in a quarter of the time on a CPU, neighbours found in half"),
    ("evo", "evo", "viz", "errors against ground truth"),
    ("matplotlib", "matplotlib", "viz", "plots"),
    ("distributed", "distributed", "batch", "ros-matching batch"),
    ("viser", "viser", "view", "ros-matching view"),
    ("rerun", "rerun-sdk", "rerun", "ros-matching map --rerun"),
)


class Finding(NamedTuple):
    """One line of the report: ``level`` is ``OK``, ``NOTE`` or ``MISSING``, with a remedy if there is one."""

    level: str
    what: str
    remedy: str = ""


def python() -> Iterator[Finding]:
    """Check the interpreter."""
    version = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        yield Finding(OK, version)
    else:
        yield Finding(MISSING, version, "use Python 3.10 to 3.13")


def packages() -> Iterator[Finding]:
    """Check required and optional Python packages."""
    for module, distribution in _NEEDED:
        yield _package(module, distribution, MISSING, f"pip install {distribution}")
    for module, distribution, extra, purpose in _OPTIONAL:
        yield _package(module, distribution, NOTE, f"pip install {distribution} (extra {extra}): {purpose}")


def _package(module: str, distribution: str, level: str, remedy: str) -> Finding:
    try:
        importlib.import_module(module)
    except ImportError as error:
        is_there = importlib.util.find_spec(module) is not None
        problem = f"cannot be imported: {error}" if is_there else "is not installed"
        return Finding(level, f"{module} {problem}", remedy)
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:  # as OpenCV, which has several distributions
        version = getattr(sys.modules[module], "__version__", "of unknown version")
    return Finding(OK, f"{module} {version}")


def weights() -> Iterator[Finding]:
    """Check the network weights of the package."""
    from ros_matching.matching import DEFAULT
    from ros_matching.networks.checkpoint import WEIGHTS_FOLDER

    files = sorted(WEIGHTS_FOLDER.glob("*.safetensors"))
    if not files:
        yield Finding(MISSING, f"{WEIGHTS_FOLDER} holds no weights", "install ros_matching again")
    yield from map(_weights_file, files)
    yield Finding(OK, f"default matcher: {DEFAULT}")


def _weights_file(file: Path) -> Finding:
    from ros_matching.networks.checkpoint import load_network

    try:
        load_network(file)
    except RosMatchingError as error:
        return Finding(MISSING, f"weights {file.stem}: {error}", "install ros_matching again")
    return Finding(OK, f"weights {file.stem}")


def ros() -> Iterator[Finding]:
    """Check ROS 2 and the messages of this package; only a note without ROS, as the library works without it."""
    from ros_matching.cli.over_ros import require_ros

    distribution = os.environ.get("ROS_DISTRO") or "from PyPI or not sourced"
    try:
        require_ros()
    except RosMatchingError as error:
        yield Finding(NOTE, "ROS 2 is not usable; everything but the nodes works without it", str(error))
        return
    import rclpy.utilities

    yield Finding(OK, f"ROS 2 ({distribution}), {rclpy.utilities.get_rmw_implementation_identifier()}, our messages")


def engine() -> Iterator[Finding]:
    """Check the inference engine of PoSFeat on the CPU."""
    from ros_matching.matching import load_matcher

    try:
        engine_name = load_matcher("posfeat", device="cpu").extractor.engine
        yield Finding(OK, f"inference engine of PoSFeat on the CPU: {engine_name}")
    except RosMatchingError as error:
        yield Finding(MISSING, f"PoSFeat cannot be run: {error}")


def gpu() -> Iterator[Finding]:
    """Check for a GPU that PyTorch can use."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        yield Finding(
            OK, f"GPU {properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        )
    elif torch.version.cuda is None:
        yield Finding(NOTE, "PyTorch is built without CUDA; networks run on the CPU", "pytorch.org, Get Started")
    else:
        yield Finding(NOTE, "PyTorch finds no CUDA GPU; networks run on the CPU", "check nvidia-smi")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (python, packages, weights, ros, gpu, engine)

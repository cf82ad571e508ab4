"""The checks of ``ros-matching doctor``: each returns findings about one part of an installation."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from ros_matching.errors import RosMatchingError

OK, NOTE, MISSING = "ok", "note", "missing"

# Import name, distribution, and what it is for; the first ones are needed.
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
    ("openvino", "openvino", "cpu", "networks run about twice as fast on a CPU"),
    ("numba", "numba", "cpu", "matches are refined in a quarter of the time on a CPU, neighbours found in half"),
    ("evo", "evo", "viz", "errors against ground truth"),
    ("matplotlib", "matplotlib", "viz", "plots"),
    ("rerun", "rerun-sdk", "rerun", "ros-matching map --rerun"),
)


class Finding(NamedTuple):
    """One line of the report: ``level`` is ``OK``, ``NOTE`` or ``MISSING``; a remedy where there is one to give."""

    level: str
    what: str
    remedy: str = ""


def python() -> Iterator[Finding]:
    """The interpreter."""
    version = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        yield Finding(OK, version)
    else:
        yield Finding(MISSING, version, "use Python 3.10 to 3.13")


def packages() -> Iterator[Finding]:
    """The Python packages that are needed, and those that add something."""
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
    """The network weights that came with the package."""
    from ros_matching.matching import DEFAULT
    from ros_matching.networks.installed import WEIGHTS_FOLDER

    files = sorted(WEIGHTS_FOLDER.glob("*.safetensors"))
    if not files:
        yield Finding(MISSING, f"{WEIGHTS_FOLDER} holds no weights", "install ros_matching again")
    yield from map(_weights_file, files)
    yield Finding(OK, f"default front end: {DEFAULT}")


def _weights_file(file: Path) -> Finding:
    from ros_matching.networks.checkpoint import load_network

    try:
        load_network(file)
    except RosMatchingError as error:
        return Finding(MISSING, f"weights {file.stem}: {error}", "install ros_matching again")
    return Finding(OK, f"weights {file.stem}")


def ros() -> Iterator[Finding]:
    """ROS 2 and this package's messages; a note where there is none, as the library works without."""
    from ros_matching.cli.ros import require_ros

    distribution = os.environ.get("ROS_DISTRO") or "from PyPI or not sourced"
    try:
        require_ros()
    except RosMatchingError as error:
        yield Finding(NOTE, "ROS 2 is not usable; everything but the nodes works without it", str(error))
        return
    import rclpy.utilities

    yield Finding(OK, f"ROS 2 ({distribution}), {rclpy.utilities.get_rmw_implementation_identifier()}, our messages")


def engine() -> Iterator[Finding]:
    """What runs PoSFeat on the CPU."""
    from ros_matching.matching import load_matcher

    try:
        yield Finding(OK, f"on the CPU, PoSFeat is run by {load_matcher('posfeat', device='cpu').engine}")
    except RosMatchingError as error:
        yield Finding(MISSING, f"PoSFeat cannot be run: {error}")


def gpu() -> Iterator[Finding]:
    """The GPU, if PyTorch can use one."""
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

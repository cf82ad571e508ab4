"""Calibration files and tables, mutated and random, for a process with little memory: ``fuzz``."""

from __future__ import annotations

import configparser  # noqa: F401  (loaded before the memory is limited)
import json
import re
import xml.etree.ElementTree  # noqa: F401
from collections.abc import Callable
from pathlib import Path

import yaml  # noqa: F401
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_calibration_formats import CASES, KALIBR_TWO, ORB3, ZED

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.io.calibration import CalibrationChoice, read_calibration
from ros_matching.io.listing import read_listing
from ros_matching.io.poses import read_matrices
from ros_matching.io.trajectory import read_kitti, read_tum

SEEDS = [(name, text) for name, text, _ in CASES.values()]
SEEDS += [("chain.yaml", KALIBR_TWO), ("orb3.yaml", ORB3), ("SN1.conf", ZED)]
ODD = ["nan", "1e999", "-1", "0", "1e-300", "9" * 400, "true", "~", "null", '""', "[]", "{}", "x", "1_0", "0x10", "'"]
ODD += [
    "*a",
    "&a",
    "!!python/object:os.system",
    "\ud800",
    "\u202e",
    "\t",
    "---",
    "<<: *a",
    ".inf",
    "\0",
    "[[[[",
    "1:30",
]
NUMBER = re.compile(r"-?\d+[.]?\d*(?:e-?\d+)?")
SUFFIXES = [".yaml", ".json", ".xml", ".txt", ".conf", ""]
TABLE = "1.5 0 0 0 0 0 0 1\n2.5 1 0 0 0 0 0 1\n# comment\n3.5 1 2 0 0 0 0 1\n"


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """The suffix and the content of an example with a few faults."""
    name, text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        text = damaged(draw, text)
    suffix = draw(st.sampled_from([Path(name).suffix] * 6 + SUFFIXES))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-16", "utf-8-sig", "latin-1"]))
    return suffix, text.encode(encoding, "replace")


# Keys that some reader looks at, and values that some reader expects elsewhere.
KEYS = [
    "camera_matrix",
    "K",
    "k",
    "d",
    "D",
    "distortion_coefficients",
    "dist",
    "distortion_model",
    "camera_model",
    "model",
    "intrinsics",
    "resolution",
    "T_BS",
    "distortion_coeffs",
    "cam0",
    "cam1",
    "width",
    "height",
    "image_width",
    "roi",
    "fx",
    "fy",
    "cx",
    "cy",
    "f",
    "k1",
    "k4",
    "p1",
    "omega",
    "projection",
    "projection_parameters",
    "model_type",
    "distortion_parameters",
    "value0",
    "camera_type",
    "cameraData",
    "Camera.fx",
    "Camera",
    "Camera1.cx",
    "M1",
    "D2",
    "frames",
    "fl_x",
    "camera_angle_x",
    "w",
    "h",
    "is_fisheye",
    "data",
    "LEFT_CAM_HD",
    "fisheye",
    "DepthMapFactor",
]
SCALARS = st.sampled_from([0, 1, -1, 0.5, 400, 640, 1e308, None, True, "nan", "", "pinhole", "radtan", "fisheye", "x"])
NUMBERS = st.lists(st.sampled_from([0, 1, 400.5, -0.1]), max_size=10)
LENSES = st.sampled_from([[400, 0, 320, 0, 400, 240, 0, 0, 1], [400, 400, 320, 240], [0.1, 0.2, 0, 0], [640, 480]])
VALUES = st.recursive(
    SCALARS | NUMBERS | LENSES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)
structured = st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=8).map(
    lambda content: (".json", json.dumps(content).encode())
)


def damaged(draw: st.DrawFn, text: str) -> str:
    kind = draw(st.sampled_from(["number", "line", "word", "cut", "twice", "character"]))
    odd = draw(st.sampled_from(ODD))
    lines = text.split("\n")
    row = draw(st.integers(0, len(lines) - 1))
    place = draw(st.integers(0, len(text)))
    if kind == "number" and (found := list(NUMBER.finditer(text))):
        match = draw(st.sampled_from(found))
        return text[: match.start()] + odd + text[match.end() :]
    if kind == "line":
        return "\n".join(lines[:row] + lines[row + 1 :])
    if kind == "twice":
        return "\n".join(lines[: row + 1] + lines[row:])
    if kind == "word":
        return "\n".join([*lines[:row], f"{lines[row]} {odd}", *lines[row + 1 :]])
    if kind == "cut":
        return text[:place]
    return text[:place] + draw(st.characters()) + text[place + 1 :]


def refusal(read: Callable[[], object], kind: type[SourceError]) -> str:
    """The message of the one kind of error that reading may raise, empty without."""
    try:
        read()
    except kind as error:
        return str(error)
    return ""


def read_camera(path: Path, cam: str | None) -> None:
    """Read a calibration and make what images are undistorted with."""
    calibration = read_calibration(CalibrationChoice(path, cam))
    camera = calibration.camera(*(calibration.image_size or (640, 480)))
    if camera.width * camera.height <= 640 * 480:
        Undistorter(camera)


def fuzz(folder: str, examples: int) -> None:
    """Read the files, and print the number of cameras and of clear errors; other errors are raised."""
    path, counts = Path(folder), [0, 0]
    common = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
    files = mutated() | structured | st.tuples(st.sampled_from(SUFFIXES), st.binary(max_size=300))

    @settings(max_examples=examples, **common)
    @given(files, st.sampled_from([None, "cam0", "1"]))
    def calibrations(file: tuple[str, bytes], cam: str | None) -> None:
        target = path / f"calibration{file[0]}"
        target.write_bytes(file[1])
        message = refusal(lambda: read_camera(target, cam), CalibrationError)
        counts[bool(message)] += 1
        assert len(message.encode()) < 4000

    @settings(max_examples=examples // 4, **common)
    @given(st.lists(st.tuples(st.integers(0, len(TABLE)), st.sampled_from(ODD) | st.text(max_size=3)), max_size=4))
    def tables(changes: list[tuple[int, str]]) -> None:
        text = TABLE
        for place, odd in changes:
            text = text[:place] + odd + text[place + 1 :]
        target = path / "table.txt"
        target.write_bytes(text.encode("utf-8", "replace"))
        for read in (read_tum, read_kitti, read_listing, lambda file: read_matrices(file, 16)):
            assert len(refusal(lambda read=read: read(target), SourceError).encode()) < 4000

    calibrations()
    tables()
    print(*counts)

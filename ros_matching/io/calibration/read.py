"""``read_calibration``: a calibration file of any known kind, by its content."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ros_matching.datatypes import Camera
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io.calibration.calibration import Calibration
from ros_matching.io.calibration.documents import MAX_BYTES, parse_ini, parse_json, parse_xml, parse_yaml
from ros_matching.io.calibration.mappings import read_mapping
from ros_matching.io.calibration.tables import (
    is_colmap,
    is_dso,
    is_ost,
    number_rows,
    read_colmap,
    read_dso,
    read_ost,
    read_rows,
)
from ros_matching.io.text import read_text

# Files next to a calibration that are not one, with the file or source to give instead.
_OTHER_FILES = {
    "Camera-system parameters": "is a report of Kalibr; give its camchain (.yaml)",
    "P_rect_00:": "is a calibration of KITTI raw with its rectification; give the drive's folder as the source",
    "P0:": "is a calibration of KITTI odometry; give the sequence's folder as the source",
}
_BINARY_SUFFIXES = (".npz", ".npy", ".mat", ".pkl", ".pickle", ".p")
_YAML_SUFFIXES = (".yaml", ".yml")
_SECTION = re.compile(r"^\[[^\[\],]*[A-Za-z][^\[\],]*\]$")
_ASSIGNMENT = re.compile(r"^[A-Za-z][\w. ]*=")
_KEY = re.compile(r"^['\"]?[A-Za-z][\w.\- ]*['\"]?:")
_MAX_CHARACTERS = 2 << 20  # of tables and XML


@dataclass(frozen=True)
class CalibrationChoice:
    """The calibration that a user selects: ``path`` (``None``: the recording's own file) and how it is read.

    ``cam`` names one of several cameras in the file; ``off_center`` permits a principal point far from the centre.
    """

    path: Path | None = None
    cam: str | None = None
    off_center: bool = False


def read_calibration(given: str | Path | CalibrationChoice) -> Calibration:
    """Read a calibration file of any known kind; raises ``CalibrationError`` for other files."""
    choice = given if isinstance(given, CalibrationChoice) else CalibrationChoice(Path(given))
    path = choice.path
    if path is None or not path.is_file():
        raise CalibrationError(f"there is no calibration file {path}")
    text = _text(path)
    calibration = _parse(str(path), path.suffix.lower(), text, choice.cam)
    return replace(calibration, is_off_center=choice.off_center)


def _text(path: Path) -> str:
    from ros_matching.io.source_format import foreign_content

    if path.suffix.lower() in _BINARY_SUFFIXES:
        raise CalibrationError(
            f"{path} is a binary file of NumPy, MATLAB or Python; write its matrix and coefficients as YAML "
            "(docs/calibrations.md)"
        )
    try:
        if problem := foreign_content(path):
            raise CalibrationError(f"{path} {problem}")
        return read_text(path, MAX_BYTES, is_strict=False)
    except CalibrationError:
        raise
    except (SourceError, OSError) as error:
        raise CalibrationError(str(error)) from error


def _parse(origin: str, suffix: str, text: str, cam: str | None) -> Calibration:
    if suffix in _YAML_SUFFIXES:
        return _from_yaml(origin, text, cam)
    lines = _data_lines(text)
    if not lines:
        raise CalibrationError(f"{origin} is empty; expected a calibration")
    if suffix == ".json" or lines[0].startswith("{"):
        return read_mapping(origin, parse_json(origin, text), cam)
    if len(text) > _MAX_CHARACTERS:
        raise CalibrationError(
            f"{origin} holds {len(text)} characters, more than any calibration; is it the right file?"
        )
    if suffix == ".xml" or lines[0].startswith("<"):
        return read_mapping(origin, parse_xml(origin, text), cam)
    if is_colmap(lines):
        return read_colmap(origin, lines, cam)
    if is_dso(lines):
        return _only_camera(origin, cam, read_dso(origin, lines))
    if is_ost(lines):
        return _only_camera(origin, cam, read_ost(origin, lines))
    rows = number_rows(lines)
    if rows is not None:
        return _only_camera(origin, cam, read_rows(origin, rows))
    for mark, advice in _OTHER_FILES.items():
        if mark in text:
            raise CalibrationError(f"{origin}: {advice}")
    if any(_SECTION.match(line) for line in lines):
        return read_mapping(origin, parse_ini(origin, text), cam)
    if all(_ASSIGNMENT.match(line) for line in lines):
        return read_mapping(origin, parse_ini(origin, f"[camera]\n{text}")["camera"], cam)
    if any(_KEY.match(line) for line in lines) or lines[0].startswith(("%YAML", "---")):
        return _from_yaml(origin, text, cam)
    raise CalibrationError(
        f"{origin}: expected a 3x3 matrix or numbers fx fy cx cy, or a calibration in YAML, JSON or XML "
        f"(docs/calibrations.md), got {lines[0][:80]!r}"
    )


def _from_yaml(origin: str, text: str, cam: str | None) -> Calibration:
    documents = parse_yaml(origin, text) or [None]
    calibration = read_mapping(origin, documents[0], cam)
    # A message printed many times; only its header changes.
    if len(documents) > 1 and _without_header(documents[1]) != _without_header(documents[0]):
        raise CalibrationError(f"{origin} holds several different YAML documents (---); give one calibration")
    return calibration


def _without_header(document: Any) -> Any:
    if not isinstance(document, Mapping):
        return document
    return {key: value for key, value in document.items() if key != "header"}


def _only_camera(origin: str, cam: str | None, calibration: Calibration) -> Calibration:
    if cam is not None:
        raise CalibrationError(f"{origin} holds one camera without a name, and no camera {cam}; leave cam out")
    return calibration


def _data_lines(text: str) -> Sequence[str]:
    """The lines that hold something, without comments."""
    stripped = (line.partition("#")[0].partition("//")[0].strip() for line in text.splitlines())
    return [line for line in stripped if line]


_USUAL_UNITS = (1000.0, 5000.0, 10000.0, 100.0)  # a metre
_NEAR_USUAL = 0.15
_SAME_UNIT = 1.3  # ratio of lengths up to which they may be in one unit: other errors are smaller


@dataclass(frozen=True)
class UsedCalibration:
    """The ``camera`` as it was calibrated, and the ``origin`` of the calibration: a file or a topic.

    ``depth_units_per_metre`` is the divisor of the values of depth images, ``None`` without depth images;
    ``depth_doubt`` is a reason to doubt that unit, or empty.
    """

    origin: str
    camera: Camera
    depth_units_per_metre: float | None = None
    depth_doubt: str = ""

    def depth_contradiction(self, ratio: float, lengths: str) -> str:
        """Return a warning that ``lengths``, from elsewhere, are ``ratio`` times those by depth, or an empty text."""
        if self.depth_units_per_metre is None or not math.isfinite(ratio) or 1 / _SAME_UNIT < ratio < _SAME_UNIT:
            return ""
        units = self.depth_units_per_metre / ratio
        units = next((usual for usual in _USUAL_UNITS if abs(units / usual - 1) < _NEAR_USUAL), units)
        return (
            f"{lengths} are {ratio:.3g} times as long as by the depth images: if they are in metres, the unit of the "
            f"depth images is wrong; depth_scale={units:.4g} instead of "
            f"{self.depth_units_per_metre:g} would agree"
        )

    def values(self) -> dict[str, Any]:
        """The calibration, ready for JSON."""
        camera = self.camera
        return {
            "origin": self.origin,
            "model": camera.distortion_model.value,
            "fx": camera.fx,
            "fy": camera.fy,
            "cx": camera.cx,
            "cy": camera.cy,
            "skew": camera.skew,
            "distortion": list(camera.distortion),
            "width": camera.width,
            "height": camera.height,
            "depth_units_per_metre": self.depth_units_per_metre,
            "depth_doubt": self.depth_doubt or None,
        }

    def summary(self) -> str:
        """The calibration in a line."""
        camera = self.camera
        model = camera.distortion_model.value if camera.has_distortion else "no distortion"
        coefficients = f" ({', '.join(f'{value:.4g}' for value in camera.distortion)})" if camera.has_distortion else ""
        skew = f" skew {camera.skew:.4g}" if camera.skew else ""
        return (
            f"{self.origin}: {camera.width}x{camera.height}, fx {camera.fx:.2f} fy {camera.fy:.2f} cx {camera.cx:.2f} "
            f"cy {camera.cy:.2f}{skew}, {model}{coefficients}"
        )

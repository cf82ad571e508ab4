"""Calibrations in tables: a matrix, a line ``fx fy cx cy ...``, COLMAP's ``cameras.txt``, DSO's ``camera.txt``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ros_matching.datatypes import DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.io.calibration.calibration import (
    Calibration,
    calibration_from_values,
    distortion_model,
    lens_of_opencv,
)
from ros_matching.io.calibration.fields import image_size, numbers
from ros_matching.io.calibration.mappings import chosen

# COLMAP's models and the names of their parameters. theta(1 + k1 theta^2 ...) of its fisheyes is OpenCV's.
_COLMAP = {
    "SIMPLE_PINHOLE": ("f cx cy", DistortionModel.NONE),
    "PINHOLE": ("fx fy cx cy", DistortionModel.NONE),
    "SIMPLE_RADIAL": ("f cx cy k1", DistortionModel.PLUMB_BOB),
    "RADIAL": ("f cx cy k1 k2", DistortionModel.PLUMB_BOB),
    "OPENCV": ("fx fy cx cy k1 k2 p1 p2", DistortionModel.PLUMB_BOB),
    "FULL_OPENCV": ("fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6", DistortionModel.RATIONAL_POLYNOMIAL),
    "SIMPLE_RADIAL_FISHEYE": ("f cx cy k1", DistortionModel.EQUIDISTANT),
    "RADIAL_FISHEYE": ("f cx cy k1 k2", DistortionModel.EQUIDISTANT),
    "OPENCV_FISHEYE": ("fx fy cx cy k1 k2 k3 k4", DistortionModel.EQUIDISTANT),
    "FOV": ("fx fy cx cy omega", DistortionModel.FOV),
}
_COLMAP_LINE = re.compile(r"^\d+\s+[A-Z][A-Z_0-9]+\s+\d+\s+\d+\s")
_DSO_MODELS = {"pinhole", "fov", "radtan", "equidistant", "kannalabrandt"}
_DSO_OUTPUTS = ("crop", "full", "none", "useK")


def calibration_from_colmap(
    origin: str, model: str, width: int, height: int, parameters: Sequence[float]
) -> Calibration:
    """The calibration of a camera of COLMAP, whose pixel centres are at (0.5, 0.5), in this package's convention.

    Raises ``CalibrationError`` for a model that is not supported, by its name, or another number of parameters.
    """
    if model not in _COLMAP:
        distortion_model(origin, model)  # names a model that is known and not supported
        raise CalibrationError(f"{origin}: COLMAP's model {model} is not known; known are {', '.join(_COLMAP)}")
    names, lens = _COLMAP[model]
    names = names.split()
    values = numbers(origin, f"the parameters {' '.join(names)} of {model}", list(parameters), len(names)).tolist()
    given = dict(zip(names, values, strict=True))
    fx, fy = (given.get(name, given.get("f")) for name in ("fx", "fy"))
    matrix = (fx, 0, given["cx"] - 0.5, 0, fy, given["cy"] - 0.5, 0, 0, 1)
    coefficients = [given[name] for name in names if name[0] in "kpo"]
    if lens is DistortionModel.EQUIDISTANT:  # also where COLMAP has no more than k1
        coefficients += [0.0] * (4 - len(coefficients))
    return calibration_from_values(origin, matrix, lens.value, coefficients, image_size(origin, (width, height)))


def is_colmap(lines: Sequence[str]) -> bool:
    """True if the first line (without comments) is one of a ``cameras.txt``."""
    return bool(lines and _COLMAP_LINE.match(lines[0]))


def read_colmap(origin: str, lines: Sequence[str], cam: str | None) -> Calibration:
    """The camera of a ``cameras.txt``; of several different ones that with the id ``cam``."""
    cells = [line.split() for line in lines]
    short = next((row for row in cells if len(row) < 5), None)
    if short is not None:
        raise CalibrationError(
            f"{origin}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS[], got {' '.join(short)[:80]!r}"
        )
    if cam is None and all(row[1:] == cells[0][1:] for row in cells):
        cells = cells[:1]
    cameras = {row[0]: lambda origin, row=row: calibration_from_colmap(origin, *row[1:4], row[4:]) for row in cells}
    return chosen(origin, cameras, cam)(origin)


def is_dso(lines: Sequence[str]) -> bool:
    """True if the lines are those of a ``camera.txt`` of DSO, LSD-SLAM or the monoVO data sets."""
    if not 2 <= len(lines) <= 5:
        return False
    first, second = lines[0].split(), lines[1].split()
    has_size = len(second) == 2 and all(re.fullmatch(r"\d+", cell) for cell in second)
    return has_size and (first[0].lower() in _DSO_MODELS or len(first) in (4, 5, 8))


def read_dso(origin: str, lines: Sequence[str]) -> Calibration:
    """``[Model] fx fy cx cy ...``, then width and height; with cx and cy below 1 all four are relative to these."""
    cells = lines[0].split()
    name = cells.pop(0) if cells[0].lower() in _DSO_MODELS else {5: "FOV", 8: "RadTan"}.get(len(cells), "Pinhole")
    values = numbers(origin, "the line fx fy cx cy ...", cells)
    if values.size < 4:
        raise CalibrationError(f"{origin}: expected fx fy cx cy and coefficients, got {lines[0]!r}")
    width, height = image_size(origin, lines[1].split())
    (fx, fy, cx, cy), coefficients = values[:4], values[4:]
    if cx < 1 and cy < 1:
        fx, fy, cx, cy = fx * width, fy * height, cx * width - 0.5, cy * height - 0.5
    output = lines[2].split()[0] if len(lines) > 2 else "crop"
    if output == "none" and coefficients.any():
        raise CalibrationError(f"{origin}: its third line, none, contradicts the coefficients {coefficients.tolist()}")
    model = DistortionModel.NONE if not coefficients.any() else distortion_model(origin, name)
    coefficients = coefficients if coefficients.any() else ()
    return calibration_from_values(origin, (fx, 0, cx, 0, fy, cy, 0, 0, 1), model.value, coefficients, (width, height))


def is_ost(lines: Sequence[str]) -> bool:
    """True if the lines are those of the INI file of ROS ``camera_calibration`` (``ost.txt``)."""
    return "[image]" in lines and "camera matrix" in lines


def read_ost(origin: str, lines: Sequence[str]) -> Calibration:
    """Headings without numbers, each followed by its lines of numbers."""
    parts: dict[str, list[float]] = {}
    name = ""
    for line in lines:
        rows = number_rows([line])
        if rows is None:
            name = line
        else:
            parts.setdefault(name, []).extend(value for row in rows for value in row)
    size = image_size(origin, [value for side in ("width", "height") for value in parts.get(side, [])[:1] or [None]])
    coefficients = parts.get("distortion", [])
    return calibration_from_values(
        origin, parts.get("camera matrix", []), DistortionModel.PLUMB_BOB.value, coefficients, size
    )


def number_rows(lines: Sequence[str]) -> list[list[float]] | None:
    """The numbers of each line, whatever separates them, or ``None`` if there is anything else."""
    rows = []
    for line in lines:
        cells = re.sub(r"[\[\](),;]", " ", line).split()
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            return None
    return [row for row in rows if row]


def read_rows(origin: str, rows: Sequence[Sequence[float]]) -> Calibration:
    """A 3x3 matrix (also 3x4 or 4x4 without translation), or ``fx fy cx cy [k1 k2 p1 p2 [k3]]``."""
    lengths = [len(row) for row in rows]
    if lengths in ([3] * 3, [4] * 3, [4] * 4):
        matrix = np.array(rows)
        if matrix.shape[1] == 4 and (
            matrix[:3, 3].any() or (len(rows) == 4 and not np.array_equal(matrix[3], [0, 0, 0, 1]))
        ):
            raise CalibrationError(
                f"{origin}: expected a calibration matrix K, got {matrix.tolist()}, whose fourth column is not 0; "
                "give the 3x3 matrix"
            )
        return calibration_from_values(origin, matrix[:3, :3])
    if len(rows) == 1 or set(lengths) == {1}:
        return _from_line(origin, [value for row in rows for value in row])
    raise CalibrationError(
        f"{origin}: expected a 3x3 calibration matrix, or one line fx fy cx cy [k1 k2 p1 p2 [k3]], "
        f"got {len(rows)} lines of {' '.join(map(str, lengths[:8]))} numbers"
    )


def _from_line(origin: str, values: Sequence[float]) -> Calibration:
    if len(values) == 9 and list(values[6:]) == [0, 0, 1] and values[3] == 0:
        return calibration_from_values(origin, values)
    if len(values) not in (4, 8, 9):
        raise CalibrationError(
            f"{origin}: expected 4, 8 or 9 numbers, fx fy cx cy [k1 k2 p1 p2 [k3]], or the 9 of a 3x3 matrix, "
            f"got {len(values)}: {list(values[:12])}"
        )
    fx, fy, cx, cy, *coefficients = values
    model = lens_of_opencv(origin, coefficients) if coefficients else DistortionModel.NONE.value
    return calibration_from_values(origin, (fx, 0, cx, 0, fy, cy, 0, 0, 1), model, coefficients)

"""Calibration files: ``K.txt`` (3x3), the YAML of ROS ``camera_calibration``, and EuRoC's ``sensor.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io.text import read_table

# The names in use -> the model and the numbers of coefficients it may have here; missing ones are 0.
_MODELS = {
    "none": (DistortionModel.NONE, (0,)),
    "plumb_bob": (DistortionModel.PLUMB_BOB, (5,)),
    "radial-tangential": (DistortionModel.PLUMB_BOB, (5,)),
    "radtan": (DistortionModel.PLUMB_BOB, (5,)),
    "rational_polynomial": (DistortionModel.RATIONAL_POLYNOMIAL, (8, 12, 14)),
    "equidistant": (DistortionModel.EQUIDISTANT, (4,)),
    "fisheye": (DistortionModel.EQUIDISTANT, (4,)),
    "fov": (DistortionModel.FOV, (1,)),
}
_MAX_SKEW = 0.1  # of the focal length; more is a matrix whose entries are in another order
_NO_SKEW = 1e-12  # of the focal length: rounding
_FOCAL_RANGE = (0.05, 300.0)  # of the longer side: from 3 rad across half of a fisheye to 0.2 degrees across the image
_MAX_ASPECT = 10.0  # of fx and fy: rows or columns may be binned alone
_MAX_OFFSET = 5.0  # focal lengths: 79 degrees from the axis


@dataclass(frozen=True)
class Calibration:
    """What a file says of a camera; ``image_size`` (width, height) is ``None`` where the file does not tell.

    ``body_from_camera`` (4, 4) is the mounting, in EuRoC's files. ``origin`` names the file in errors.
    """

    origin: str
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: DistortionModel = DistortionModel.NONE
    distortion: tuple[float, ...] = ()
    image_size: tuple[int, int] | None = None
    body_from_camera: np.ndarray | None = None
    skew: float = 0.0

    def camera(self, width: int, height: int) -> Camera:
        """The camera for images of this size; raises ``CalibrationError`` when the calibration does not fit them."""
        if self.image_size is not None and self.image_size != (width, height):
            raise CalibrationError(
                f"{self.origin} is for images of {self.image_size[0]}x{self.image_size[1]}, but they are "
                f"{width}x{height}; give the calibration of this resolution"
            )
        # Of a known size, the principal point may lie outside: the image may be a crop (region of interest).
        if self.image_size is None and not (0 < self.cx < width and 0 < self.cy < height):
            raise CalibrationError(
                f"{self.origin} has its principal point at ({self.cx:g}, {self.cy:g}), outside of the images of "
                f"{width}x{height}; give the calibration of this resolution"
            )
        intrinsics = (self.fx, self.fy, self.cx, self.cy)
        check_intrinsics(self.origin, *intrinsics, width, height)
        return Camera(width, height, *intrinsics, self.distortion_model, self.distortion, self.skew)


def check_intrinsics(origin: str, fx: float, fy: float, cx: float, cy: float, width: int, height: int) -> None:
    """Raise ``CalibrationError`` for intrinsics that no camera with images of this size has.

    The bounds leave room for fisheyes of 200 degrees, for telescopes and for crops far from the axis.
    """
    longer = max(width, height)
    low, high = (factor * longer for factor in _FOCAL_RANGE)
    focal_is_plausible = low <= min(fx, fy) and max(fx, fy) <= high and max(fx, fy) <= _MAX_ASPECT * min(fx, fy)
    center_is_plausible = abs(cx - width / 2) <= _MAX_OFFSET * fx and abs(cy - height / 2) <= _MAX_OFFSET * fy
    if not (focal_is_plausible and center_is_plausible):
        raise CalibrationError(
            f"{origin}: fx {fx:g} fy {fy:g} cx {cx:g} cy {cy:g} belong to no camera with images of {width}x{height}: "
            f"expected focal lengths from {low:g} to {high:g} pixels that differ by less than a factor of "
            f"{_MAX_ASPECT:g}, and a principal point within {_MAX_OFFSET:g} focal lengths of the image's center; "
            "calibrate the camera at this resolution"
        )


def read_calibration(path: str | Path) -> Calibration:
    """Read a calibration file of any known kind; raises ``CalibrationError`` for what is not one."""
    path = Path(path)
    if not path.is_file():
        raise CalibrationError(f"there is no calibration file {path}")
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path)
    try:
        matrix = read_table(path, 3, "a row of the 3x3 calibration matrix K").numbers()
    except SourceError as error:
        raise CalibrationError(str(error)) from error
    return calibration_from_values(str(path), matrix)


def calibration_from_values(
    origin: str,
    matrix: Any,
    model: str = "none",
    coefficients: Any = (),
    image_size: tuple[int, int] | None = None,
) -> Calibration:
    """A calibration from K (9 numbers, row by row) and distortion by its ROS or Kalibr name; ``""`` means none.

    Raises ``CalibrationError`` for a K that is not one (all zero: the camera was never calibrated), an unknown model,
    or more coefficients than it has.
    """
    k = _numbers(origin, "K", matrix)
    if k.size != 9 or not np.isfinite(k).all():
        raise CalibrationError(f"{origin}: expected a 3x3 calibration matrix K of finite numbers, got {k.tolist()}")
    k = k.reshape(3, 3)
    if not k.any():
        raise CalibrationError(f"{origin}: K is all zero, the camera is not calibrated; calibrate it")
    is_intrinsic = k[0, 0] > 0 and k[1, 1] > 0 and k[1, 0] == 0 and np.array_equal(k[2], (0, 0, 1))
    if not is_intrinsic or abs(k[0, 1]) > _MAX_SKEW * k[0, 0]:
        raise CalibrationError(f"{origin}: expected K = fx skew cx / 0 fy cy / 0 0 1, got {k.tolist()}")
    model, distortion = _distortion(origin, model, coefficients)
    intrinsics = (float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]))
    skew = float(k[0, 1]) if abs(k[0, 1]) > _NO_SKEW * k[0, 0] else 0.0
    return Calibration(origin, *intrinsics, model, distortion, image_size, skew=skew)


def _distortion(origin: str, model: str, coefficients: Any) -> tuple[DistortionModel, tuple[float, ...]]:
    values = _numbers(origin, "distortion coefficients", coefficients)
    if model not in _MODELS:
        if not values.any():
            return DistortionModel.NONE, ()
        raise CalibrationError(f"{origin}: distortion model {model!r} is not known; known are {', '.join(_MODELS)}")
    known, counts = _MODELS[model]
    # An equidistant lens is none without distortion where its coefficients are 0.
    if not values.any() and (known is not DistortionModel.EQUIDISTANT or values.size < counts[0]):
        return DistortionModel.NONE, ()
    if np.any(values[counts[-1] :]) or not np.isfinite(values).all():
        raise CalibrationError(f"{origin}: {model} takes up to {counts[-1]} finite coefficients, got {values.tolist()}")
    needed = int(np.max(np.flatnonzero(values), initial=0)) + 1
    count = next(count for count in counts if count >= needed)
    return known, tuple(np.pad(values[:count], (0, max(0, count - values.size))).tolist())


def _from_yaml(path: Path) -> Calibration:
    content = _load_yaml(path)
    if "camera_matrix" in content:  # ROS camera_calibration
        return calibration_from_values(
            str(path),
            _data(content["camera_matrix"]),
            content.get("distortion_model", "plumb_bob"),
            _data(content.get("distortion_coefficients", ())),
            _size(path, [content.get("image_width"), content.get("image_height")]),
        )
    if "intrinsics" in content:  # EuRoC
        return _from_euroc(path, content)
    raise CalibrationError(
        f"{path}: expected a ROS calibration (camera_matrix) or EuRoC's sensor.yaml (intrinsics), "
        f"got the keys {', '.join(map(str, content)) or 'none'}"
    )


def _from_euroc(path: Path, content: dict[str, Any]) -> Calibration:
    intrinsics = _numbers(str(path), "intrinsics", content["intrinsics"])
    if intrinsics.size != 4:
        raise CalibrationError(f"{path}: expected intrinsics: [fu, fv, cu, cv], got {content['intrinsics']}")
    fx, fy, cx, cy = intrinsics
    calibration = calibration_from_values(
        str(path),
        (fx, 0, cx, 0, fy, cy, 0, 0, 1),
        content.get("distortion_model", "none"),
        _data(content.get("distortion_coefficients", ())),
        _size(path, content.get("resolution")),
    )
    if "T_BS" not in content:
        return calibration
    mounting = _numbers(str(path), "T_BS", _data(content["T_BS"]))
    if mounting.size != 16:
        raise CalibrationError(f"{path}: expected 16 numbers in T_BS, got {mounting.size}")
    return replace(calibration, body_from_camera=mounting.reshape(4, 4))


def _load_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path} cannot be read as YAML ({error})") from error
    if not isinstance(content, dict):
        raise CalibrationError(f"{path}: expected a YAML mapping with the calibration, got {type(content).__name__}")
    return content


def _data(matrix: Any) -> Any:
    """The numbers of a YAML matrix, given as ``{rows, cols, data}`` or as a list."""
    return matrix.get("data", ()) if isinstance(matrix, dict) else matrix


def _numbers(origin: str, what: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise CalibrationError(f"{origin}: expected numbers for {what}, got {values!r}") from None


def _size(path: Path, sides: Any) -> tuple[int, int] | None:
    """The image size (width, height) of a file, or ``None`` where it gives none."""
    if sides in (None, [None, None]):
        return None
    if not (isinstance(sides, list) and len(sides) == 2 and all(isinstance(s, int) and s > 0 for s in sides)):
        raise CalibrationError(f"{path}: expected a positive image width and height, got {sides!r}")
    return sides[0], sides[1]

"""A camera's calibration, as files and messages of all kinds give it, and the names of lens models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.io.calibration.fields import numbers, short

# The numbers of coefficients that a model may have; missing ones are 0.
_COUNTS = {
    DistortionModel.NONE: (0,),
    DistortionModel.PLUMB_BOB: (5,),
    DistortionModel.RATIONAL_POLYNOMIAL: (8, 12, 14),
    DistortionModel.EQUIDISTANT: (4,),
    DistortionModel.FOV: (1,),
}
# The names in use, in lower case without signs between, and the model.
_MODELS = {
    "none": DistortionModel.NONE,
    "": DistortionModel.NONE,
    "pinhole": DistortionModel.NONE,
    "simplepinhole": DistortionModel.NONE,
    "perspective": DistortionModel.NONE,
    "rectified": DistortionModel.NONE,
    "frame": DistortionModel.NONE,
    "plumbbob": DistortionModel.PLUMB_BOB,
    "radtan": DistortionModel.PLUMB_BOB,
    "radialtangential": DistortionModel.PLUMB_BOB,
    "pinholeradtan": DistortionModel.PLUMB_BOB,
    "brown": DistortionModel.PLUMB_BOB,
    "brownconrady": DistortionModel.PLUMB_BOB,
    "distortionbrownconrady": DistortionModel.PLUMB_BOB,
    "opencv": DistortionModel.PLUMB_BOB,
    "simpleradial": DistortionModel.PLUMB_BOB,
    "radial": DistortionModel.PLUMB_BOB,
    "rationalpolynomial": DistortionModel.RATIONAL_POLYNOMIAL,
    "rational": DistortionModel.RATIONAL_POLYNOMIAL,
    "fullopencv": DistortionModel.RATIONAL_POLYNOMIAL,
    "pinholefull": DistortionModel.RATIONAL_POLYNOMIAL,
    "pinholeradtan8": DistortionModel.RATIONAL_POLYNOMIAL,
    "equidistant": DistortionModel.EQUIDISTANT,
    "pinholeequidistant": DistortionModel.EQUIDISTANT,
    "equi": DistortionModel.EQUIDISTANT,
    "fisheye": DistortionModel.EQUIDISTANT,
    "opencvfisheye": DistortionModel.EQUIDISTANT,
    "kannalabrandt": DistortionModel.EQUIDISTANT,
    "kannalabrandt4": DistortionModel.EQUIDISTANT,
    "kannalabrandt8": DistortionModel.EQUIDISTANT,
    "distortionkannalabrandt4": DistortionModel.EQUIDISTANT,
    "kb4": DistortionModel.EQUIDISTANT,
    "inversebrownconrady": DistortionModel.NONE,  # of RealSense cameras, whose coefficients are mostly 0
    "modifiedbrownconrady": DistortionModel.NONE,
    "fov": DistortionModel.FOV,
    "atan": DistortionModel.FOV,
}
# Models that no pinhole image with these coefficients follows, and the one sentence for each.
_REFUSED = {
    "omni": "omnidirectional",
    "omnidirectional": "omnidirectional",
    "mei": "omnidirectional (Mei)",
    "ds": "double sphere",
    "doublesphere": "double sphere",
    "eucm": "extended unified",
    "ucm": "unified",
    "unified": "unified",
    "scaramuzza": "omnidirectional (Scaramuzza, OCam)",
    "ocam": "omnidirectional (Scaramuzza, OCam)",
    "equirectangular": "equirectangular",
    "spherical": "equirectangular",
    "radialdivision": "division",
    "division": "division",
    "thinprismfisheye": "thin prism fisheye",
    "radtanthinprismfisheye": "thin prism fisheye",
    "ftheta": "f-theta",
    "simplefisheye": "COLMAP's simple fisheye",
    "orthographic": "orthographic",
}
_MAX_TANGENTIAL = 0.05
_MAX_SKEW = 0.1  # of the focal length; more is a matrix whose entries are in another order
_NO_SKEW = 1e-12  # of the focal length: rounding
_FOCAL_RANGE = (0.05, 300.0)  # of the longer side: from 3 rad across half of a fisheye to 0.2 degrees across the image
_MAX_ASPECT = 10.0  # of fx and fy: rows or columns may be binned alone
_MAX_OFFSET = 5.0  # focal lengths: 79 degrees from the axis
_MAX_OFF_CENTER = 0.2  # of a side of the image


@dataclass(frozen=True)
class Calibration:
    """The calibration of a camera; ``image_size`` (width, height) is ``None`` if the file does not state it.

    ``origin`` names the file in errors and reports. ``body_from_camera`` (4, 4) are the extrinsics in EuRoC's files.
    ``depth_units_per_metre`` is stated by a few files (``DepthMapFactor``). ``is_y_up``: the file's camera frame has
    its y axis up (a negative fy, ICL-NUIM); poses that come with it are of that left-handed frame. ``is_off_center``
    permits a principal point far from the image centre.
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
    depth_units_per_metre: float | None = None
    is_y_up: bool = False
    is_off_center: bool = False

    def camera(self, width: int, height: int) -> Camera:
        """The camera for images of this size; raises ``CalibrationError`` when the calibration does not fit them."""
        if self.image_size is not None and self.image_size != (width, height):
            raise CalibrationError(
                f"{self.origin} is for images of {self.image_size[0]}x{self.image_size[1]}, but they are "
                f"{width}x{height}; give the calibration of this resolution"
            )
        # Of a known size, the principal point may lie anywhere: the image may be a crop (region of interest).
        if self.image_size is None and not self.is_off_center:
            self._check_center(width, height)
        intrinsics = (self.fx, self.fy, self.cx, self.cy)
        check_intrinsics(self.origin, *intrinsics, width, height)
        return Camera(width, height, *intrinsics, self.distortion_model, self.distortion, self.skew)

    def agrees_with(self, other: Calibration) -> bool:
        """True if both are the same lens, up to the digits that files keep."""
        intrinsics, others = ((c.fx, c.fy, c.cx, c.cy) for c in (self, other))
        lenses = [(c.distortion_model, len(c.distortion)) for c in (self, other)]
        return (
            lenses[0] == lenses[1]
            and np.allclose(intrinsics, others, rtol=1e-3)
            and np.allclose((*self.distortion, self.skew), (*other.distortion, other.skew), rtol=1e-2, atol=1e-4)
        )

    def _check_center(self, width: int, height: int) -> None:
        """A principal point far from the centre is a calibration of another resolution more often than a crop."""
        point = f"{self.origin} has its principal point at ({self.cx:g}, {self.cy:g})"
        if not (0 < self.cx < width and 0 < self.cy < height):
            raise CalibrationError(
                f"{point}, outside of the images of {width}x{height}; give the calibration of this resolution"
            )
        off_center = max(abs(self.cx - (width - 1) / 2) / width, abs(self.cy - (height - 1) / 2) / height)
        if off_center > _MAX_OFF_CENTER:
            raise CalibrationError(
                f"{point}, {off_center:.0%} of a side from the centre of the images of {width}x{height} (up to "
                f"{_MAX_OFF_CENTER:.0%} is expected); give the calibration of this resolution, or off_center=true "
                "where the images are a crop"
            )


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


def distortion_model(origin: str, name: Any) -> DistortionModel:
    """The lens model by any of its names; raises ``CalibrationError`` that names one that is not supported."""
    if not isinstance(name, str):
        raise CalibrationError(f"{origin}: expected the name of a camera model, got {short(name)}")
    key = _signless(name)
    if key in _MODELS:
        return _MODELS[key]
    if key in _REFUSED:
        raise CalibrationError(
            f"{origin}: its camera model is {_REFUSED[key]} ({name}), which is not supported; calibrate with a pinhole "
            "camera and radial-tangential or equidistant (fisheye) distortion, or undistort the images"
        )
    raise CalibrationError(
        f"{origin}: distortion model {short(name)} is not known; known are none, plumb_bob (radtan), "
        "rational_polynomial, equidistant (fisheye) and fov"
    )


def lens_of_names(origin: str, names: Iterable[Any], *, is_fisheye: bool = False) -> str | None:
    """The one lens model that the names of a file agree on, or ``None`` if they name a projection alone.

    A name for images without distortion is returned unchanged, so that coefficients with it are an error.
    """
    plain = [re.sub(r"^(distortion\.|camera_model_)", "", n.lower()) if isinstance(n, str) else n for n in names]
    models = {name: distortion_model(origin, name) for name in plain}
    lenses = {model for model in models.values() if model is not DistortionModel.NONE}
    lenses |= {DistortionModel.EQUIDISTANT} if is_fisheye else set()
    undistorted = [name for name, model in models.items() if model is DistortionModel.NONE and not _is_projection(name)]
    if len(lenses) + bool(undistorted) > 1:
        named = [*undistorted[:1], *sorted(lens.value for lens in lenses)]
        raise CalibrationError(f"{origin}: the lens models {' and '.join(named)} contradict each other; keep one")
    return undistorted[0] if undistorted else lenses.pop().value if lenses else None


def lens_of_opencv(origin: str, coefficients: Sequence[float]) -> str:
    """The model of coefficients in OpenCV's order (k1 k2 p1 p2 k3 ...) that come without a name.

    Four with tangential ones that no lens has are those of a fisheye: a ``CalibrationError`` requests the model.
    """
    if len(coefficients) == 4 and max(map(abs, coefficients[2:])) > _MAX_TANGENTIAL:
        raise CalibrationError(
            f"{origin} has the coefficients {list(coefficients)} without their model: as k1 k2 p1 p2 they belong to "
            "no lens; state distortion_model: equidistant if they are a fisheye's k1 k2 k3 k4, or plumb_bob"
        )
    return (DistortionModel.RATIONAL_POLYNOMIAL if any(coefficients[5:]) else DistortionModel.PLUMB_BOB).value


def calibration_from_values(
    origin: str,
    matrix: Any,
    model: str = "none",
    coefficients: Any = (),
    image_size: tuple[int, int] | None = None,
) -> Calibration:
    """A calibration from K (9 numbers, row by row) and distortion by its ROS or Kalibr name; ``""`` means none.

    Raises ``CalibrationError`` for a K that is not one (all zero: the camera was never calibrated), an unknown model,
    or more coefficients than it has. K may be given column by column, as Open3D writes it.
    """
    k = numbers(origin, "K", matrix)
    if k.size != 9:
        raise CalibrationError(f"{origin}: expected a 3x3 calibration matrix K, got {k.tolist()}")
    k = k.reshape(3, 3)
    if not k.any():
        raise CalibrationError(f"{origin}: K is all zero, the camera is not calibrated; calibrate it")
    if np.array_equal(k[:, 2], (0, 0, 1)) and k[2, :2].any():
        k = k.T
    is_intrinsic = k[0, 0] > 0 and k[1, 1] != 0 and k[1, 0] == 0 and np.array_equal(k[2], (0, 0, 1))
    if not is_intrinsic or abs(k[0, 1]) > _MAX_SKEW * k[0, 0]:
        raise CalibrationError(f"{origin}: expected K = fx skew cx / 0 fy cy / 0 0 1, got {k.tolist()}")
    lens, distortion = _distortion(origin, model, coefficients)
    skew = float(k[0, 1]) if abs(k[0, 1]) > _NO_SKEW * k[0, 0] else 0.0
    intrinsics = (float(k[0, 0]), float(abs(k[1, 1])), float(k[0, 2]), float(k[1, 2]))
    return Calibration(origin, *intrinsics, lens, distortion, image_size, skew=skew, is_y_up=bool(k[1, 1] < 0))


def _distortion(origin: str, name: str, coefficients: Any) -> tuple[DistortionModel, tuple[float, ...]]:
    values = numbers(origin, "distortion coefficients", coefficients)
    key = _signless(name)
    if not values.any() and (key not in _MODELS or values.size == 0) and key not in _REFUSED:
        return DistortionModel.NONE, ()
    model = distortion_model(origin, name)
    if model is DistortionModel.PLUMB_BOB and np.any(values[5:]):
        model = DistortionModel.RATIONAL_POLYNOMIAL  # drivers write the first name with the coefficients of the second
    counts = _COUNTS[model]
    if np.any(values[counts[-1] :]):
        raise CalibrationError(
            f"{origin}: {name or 'none'} takes up to {counts[-1]} coefficients, got {values.tolist()}"
        )
    # An equidistant lens is none without distortion where its coefficients are 0.
    if not values.any() and (model is not DistortionModel.EQUIDISTANT or values.size < counts[0]):
        return DistortionModel.NONE, ()
    needed = int(np.max(np.flatnonzero(values), initial=0)) + 1
    count = next(count for count in counts if count >= needed)
    return model, tuple(np.pad(values[:count], (0, max(0, count - values.size))).tolist())


def _is_projection(name: str) -> bool:
    """Return True for the name of a projection without distortion."""
    return _signless(name) in ("", "pinhole", "simplepinhole", "perspective", "frame")


def _signless(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()) if isinstance(name, str) else ""

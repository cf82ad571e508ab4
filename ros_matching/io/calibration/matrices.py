"""Calibrations of one camera with lists of numbers: K and D of ROS and OpenCV, ``intrinsics`` of Kalibr and EuRoC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from ros_matching.datatypes import DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.io.calibration.calibration import (
    Calibration,
    calibration_from_values,
    distortion_model,
    lens_of_names,
    lens_of_opencv,
)
from ros_matching.io.calibration.fields import image_size, numbers, refuse_unread, short


def is_rectified(image_topic: str) -> bool:
    """Return True for the topic name of rectified images (``image_rect``, ``image_rect_color``)."""
    return "image_rect" in image_topic


def calibration_from_info(info: Any, origin: str, *, rectified: bool = False) -> Calibration:
    """The calibration of the images that a ``CameraInfo`` comes with.

    K is of the full sensor: binning and the region of interest are taken into account, pixel centres at integers. Of
    ``rectified`` images the intrinsics are those of P, without distortion. Raises ``CalibrationError`` for a camera
    that was never calibrated (K all zero) or a distortion model that is not known.
    """
    if info.width == 0 or info.height == 0:
        raise CalibrationError(
            f"{origin}: its images are {info.width}x{info.height}, it is not calibrated; calibrate it"
        )
    k = np.array(info.p, dtype=np.float64).reshape(3, 4)[:, :3] if rectified else np.reshape(info.k, (3, 3))
    binning = np.array([max(1, info.binning_x), max(1, info.binning_y)])
    roi = info.roi
    whole = roi.width == 0 or roi.height == 0
    offset = np.zeros(2) if whole else np.array([roi.x_offset, roi.y_offset])
    size = np.array([info.width, info.height] if whole else [roi.width, roi.height]) // binning
    calibration = calibration_from_values(
        origin, k, "none" if rectified else info.distortion_model, () if rectified else info.d
    )
    if calibration.is_y_up:
        raise CalibrationError(f"{origin}: expected a positive fy, got {k.tolist()}; ROS images have their y axis down")
    cx, cy = (np.array([calibration.cx, calibration.cy]) - offset + 0.5) / binning - 0.5
    return replace(
        calibration,
        fx=calibration.fx / float(binning[0]),
        fy=calibration.fy / float(binning[1]),
        cx=float(cx),
        cy=float(cy),
        skew=calibration.skew / float(binning[0]),
        image_size=(int(size[0]), int(size[1])),
    )


MATRIX_KEYS = ("camera_matrix", "Camera_Matrix", "cameraMatrix", "CameraMatrix", "intrinsic_matrix", "intrinsic", "mtx")
MATRIX_KEYS += ("K", "k", "M")
_COEFFICIENTS = ("distortion_coefficients", "Distortion_Coefficients", "distCoeffs", "dist_coeffs", "dist_coeff")
_COEFFICIENTS += ("distortion_coeffs", "DistortionCoefficients", "DistCoeffs", "distortion", "dist", "D", "d")
_SIZES = (("image_width", "image_height"), ("width", "height"), ("img_width", "img_height"))
_IS_FISHEYE = ("fisheye_model", "fisheye")


def read_intrinsics(origin: str, content: Mapping[str, Any]) -> Calibration:
    """``intrinsics: [fu, fv, cu, cv]`` of Kalibr's camchain and EuRoC's ``sensor.yaml``."""
    camera = distortion_model(origin, content.get("camera_model") or "pinhole")  # refuses omni, ds, eucm by name
    name = content.get("distortion_model")
    model = camera if name is None else distortion_model(origin, name)
    if camera not in (DistortionModel.NONE, model):
        raise CalibrationError(f"{origin}: camera_model {camera.value} contradicts distortion_model {name}")
    key, coefficients = _first(origin, content, ("distortion_coefficients", "distortion_coeffs"))
    coefficients = numbers(origin, "distortion coefficients", () if coefficients is None else coefficients)
    if name is None and camera is DistortionModel.NONE and coefficients.any():
        raise CalibrationError(f"{origin} has {key} without a distortion_model; state it")
    intrinsics = numbers(origin, "intrinsics: [fu, fv, cu, cv]", content["intrinsics"])
    if intrinsics.size == 5 and model is DistortionModel.FOV:
        intrinsics, coefficients = intrinsics[:4], intrinsics[4:]
    fx, fy, cx, cy = numbers(origin, "intrinsics: [fu, fv, cu, cv]", intrinsics, 4)
    read = ("camera_model", "distortion_model", "intrinsics", "resolution", "T_BS", *([key] if key else []))
    refuse_unread(origin, content, read)
    size = content.get("resolution")
    if size is not None and not (isinstance(size, list) and len(size) == 2):
        raise CalibrationError(f"{origin}: expected resolution: [width, height], got {short(size)}")
    matrix = (fx, 0, cx, 0, fy, cy, 0, 0, 1)
    calibration = calibration_from_values(origin, matrix, model.value, coefficients, image_size(origin, size or ()))
    if "T_BS" not in content:
        return calibration
    return replace(calibration, body_from_camera=numbers(origin, "T_BS", content["T_BS"], 16).reshape(4, 4))


def read_matrix(origin: str, content: Mapping[str, Any]) -> Calibration:
    """A 3x3 matrix with coefficients in OpenCV's order: ROS ``camera_calibration``, OpenCV's FileStorage, Open3D."""
    matrix_key, matrix = _first(origin, content, MATRIX_KEYS)
    key, coefficients = _first(origin, content, _COEFFICIENTS)
    coefficients = numbers(origin, "distortion coefficients", () if coefficients is None else coefficients)
    model = _matrix_model(origin, content, coefficients)
    read = [matrix_key, "distortion_model", "camera_model", "model", *_IS_FISHEYE, *([key] if key else [])]
    keys = {key.lower(): key for key in content}
    sides = [keys[side] for side in next((pair for pair in _SIZES if keys.keys() & pair), ()) if side in keys]
    size_key = next((key for key in ("image_size", "img_size", "resolution") if key in content), "image_size")
    harmless = r"^(rectification_matrix|projection_matrix|image_points|grid_points)"
    refuse_unread(origin, content, (*read, *sides, size_key), harmless)
    given = [content[side] for side in sides]
    if not given and content.get(size_key) is not None:
        given = numbers(origin, size_key, content[size_key], 2).tolist()
    if len(given) == 1:
        raise CalibrationError(f"{origin}: expected an image width and height, got {sides[0]} alone")
    size = image_size(origin, given)
    return calibration_from_values(origin, matrix, model, coefficients, size)


def _matrix_model(origin: str, content: Mapping[str, Any], coefficients: Any) -> str:
    """The one model that the keys name; without one OpenCV's own, by the number of coefficients."""
    names = [content[key] for key in ("distortion_model", "camera_model", "model") if content.get(key) is not None]
    is_fisheye = any(str(content.get(key)).lower() in ("1", "true", "1.0", "yes") for key in _IS_FISHEYE)
    if names and not coefficients.any() and not is_fisheye:
        return names[0]
    model = lens_of_names(origin, names, is_fisheye=is_fisheye)
    # cv2.fisheye calls its results K and D, as ROS does, which names the model too.
    if model is None and coefficients.size == 4 and coefficients.any() and {"K", "D"} <= content.keys():
        raise CalibrationError(
            f"{origin} has K and four coefficients D without a model; state distortion_model: plumb_bob (k1 k2 p1 "
            "p2) or equidistant (fisheye)"
        )
    return model or lens_of_opencv(origin, coefficients.tolist())


def read_camera_info(origin: str, content: Mapping[str, Any]) -> Calibration:
    """A message as ``ros2 topic echo`` or ``rostopic echo`` prints it."""
    from ros_matching.io.calibration.matrices import calibration_from_info

    lower = {key.lower(): value for key, value in content.items()}
    roi = lower.get("roi") if isinstance(lower.get("roi"), Mapping) else {}
    names = ("header", "width", "height", "distortion_model", "binning_x", "binning_y", "roi")
    refuse_unread(origin, content, (*names, *(key for key in content if key.lower() in ("d", "k", "r", "p"))))

    def integer(values: Mapping[str, Any], name: str) -> int:
        value = numbers(origin, name, values.get(name, 0), 1)[0]
        if not 0 <= value < 2**31 or not value.is_integer():
            raise CalibrationError(f"{origin}: expected a whole number for {name}, got {value:g}")
        return int(value)

    info = SimpleNamespace(
        k=numbers(origin, "k", lower["k"], 9),
        d=numbers(origin, "d", lower["d"]),
        p=(),
        distortion_model=lower.get("distortion_model") or "",
        roi=SimpleNamespace(**{key: integer(roi, key) for key in ("x_offset", "y_offset", "width", "height")}),
        **{key: integer(lower, key) for key in ("width", "height", "binning_x", "binning_y")},
    )
    if "distortion_model" not in lower:
        info.distortion_model = _matrix_model(origin, content, info.d)
    return calibration_from_info(info, origin)


def _first(origin: str, content: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    """The one of several keys that is there, and its value; ``("", None)`` without any.

    Others that hold zeros alone are left out.
    """
    found = [name for name in names if content.get(name) is not None]
    filled = [name for name in found if numbers(origin, name, content[name]).any()] if len(found) > 1 else found
    if len(filled) > 1:
        raise CalibrationError(f"{origin} has both {' and '.join(filled[:2])}; keep the right one")
    key = next(iter(filled or found), "")
    return key, content.get(key)

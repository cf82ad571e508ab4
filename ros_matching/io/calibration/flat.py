"""Calibrations whose intrinsics are keys of their own: ``fx fy cx cy`` with ``k1 k2 p1 p2 k3``, by many spellings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ros_matching.datatypes import DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.io.calibration.calibration import (
    Calibration,
    calibration_from_values,
    distortion_model,
    lens_of_names,
    lens_of_opencv,
)
from ros_matching.io.calibration.fields import image_size, number, numbers, refuse_unread, short, shown

# Each value and the keys that give it, in lower case.
_FX = ("fx", "fl_x", "fu", "focal_x", "mu")
_FY = ("fy", "fl_y", "fv", "focal_y", "mv")
_CX = ("cx", "ppx", "u0", "cu")
_CY = ("cy", "ppy", "v0", "cv")
_WIDTH = ("width", "w", "image_width", "cols")
_HEIGHT = ("height", "h", "image_height", "rows")
_MODEL = ("camera_model", "model", "type", "camera_type", "distortion_model")
_IS_FISHEYE = ("is_fisheye",)
_LIST = ("distortion", "coeffs", "distortion_coefficients", "dist_coeffs")
_DEPTH = ("depthmapfactor", "png_depth_scale")
_OPENCV_ORDER = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6", "s1", "s2", "s3", "s4")
_FISHEYE_ORDER = ("k1", "k2", "k3", "k4")
_TRUE = ("true", "1", "yes", "on")


def has_intrinsics(content: Mapping[str, Any]) -> bool:
    """True if a mapping has both a focal length and a principal point as keys of their own."""
    keys = {key.lower() for key in content}
    return any(name in keys for name in _FX) and any(name in keys for name in _CX)


def read_flat(
    origin: str, content: Mapping[str, Any], *, half_pixel: bool = False, harmless: str = "", order: Sequence[str] = ()
) -> Calibration:
    """The calibration of flat keys. ``half_pixel``: the file has the first pixel's centre at (0.5, 0.5).

    ``order`` names the coefficients where a format has names of its own. Raises ``CalibrationError`` for a key that
    may change the camera model and was not read.
    """
    keys = {key.lower(): key for key in content}
    read: list[str] = []

    def take(names: Sequence[str]) -> Any:
        found = [keys[name] for name in names if name in keys and content[keys[name]] is not None]
        read.extend(found)
        if len(found) > 1 and len({str(content[key]) for key in found}) > 1:
            raise CalibrationError(
                f"{origin} has {' and '.join(map(shown, found))} with different values; keep the right one"
            )
        return content[found[0]] if found else None

    fx, fy, cx, cy = (_required(origin, names, take(names)) for names in (_FX, _FY, _CX, _CY))
    size = image_size(origin, (take(_WIDTH), take(_HEIGHT)))
    names = [name for name in (take([name]) for name in _MODEL) if name is not None]
    model = lens_of_names(origin, names, is_fisheye=str(take(_IS_FISHEYE)).lower() in _TRUE)
    model, coefficients = _coefficients(origin, model, take, order)
    depth = take(_DEPTH)
    refuse_unread(origin, content, read, harmless)
    shift = 0.5 if half_pixel else 0.0
    matrix = (fx, 0, cx - shift, 0, fy, cy - shift, 0, 0, 1)
    calibration = calibration_from_values(origin, matrix, model, coefficients, size)
    if depth is None:
        return calibration
    return replace(calibration, depth_units_per_metre=_depth_units(origin, depth))


def _depth_units(origin: str, value: Any) -> float | None:
    """Units a metre; some settings give 1.0 if the depth is in metres already, which images of integers are not."""
    units = number(origin, "the depth units a metre", value)
    if not 0 < units < 1e6:
        raise CalibrationError(f"{origin}: expected a positive number of depth units a metre, got {units:g}")
    return units if units > 1 else None


def _required(origin: str, names: Sequence[str], value: Any) -> float:
    if value is None:
        raise CalibrationError(f"{origin}: expected {names[0]} among its keys, got no such key")
    return number(origin, names[0], value)


def _coefficients(origin: str, model: str | None, take: Any, order: Sequence[str]) -> tuple[str, list[float]]:
    listed = take(_LIST)
    if listed is not None:
        values = numbers(origin, "distortion coefficients", listed).tolist()
        return model or lens_of_opencv(origin, values), values
    if model == DistortionModel.FOV.value:
        return model, [_number_or_zero(origin, "omega", take(("omega", "w1")))]
    names = order or (_FISHEYE_ORDER if model == DistortionModel.EQUIDISTANT.value else _OPENCV_ORDER)
    values = [_number_or_zero(origin, name, take((name,))) for name in names]
    if model in (None, DistortionModel.PLUMB_BOB.value) and any(values[5:]) and not any(values[6:]):
        raise CalibrationError(
            f"{origin} has k4 without k5 and k6: state the model, OPENCV_FISHEYE (equidistant) or FULL_OPENCV "
            "(rational_polynomial)"
        )
    return model or lens_of_opencv(origin, values), values


def _number_or_zero(origin: str, name: str, value: Any) -> float:
    return 0.0 if value is None else number(origin, name, value)


def read_transforms(origin: str, content: Mapping[str, Any]) -> Calibration:
    """The camera of nerfstudio's and instant-ngp's ``transforms.json``; it must be the same for all frames."""
    odd = next((key for key in content if key.startswith("ftheta") or key == "latlong"), None)
    if odd is not None and content[odd]:
        raise CalibrationError(f"{origin}: its camera model ({odd}) is not supported; undistort the images")
    shared = {key: value for key, value in content.items() if key != "frames"}
    frames = content.get("frames")
    frames = [frame for frame in frames if isinstance(frame, dict)] if isinstance(frames, list) else []
    own = [_intrinsic_keys(frame) for frame in frames]
    if any(keys != own[0] for keys in own):
        raise CalibrationError(f"{origin}: its frames are of several cameras; give a file with one")
    camera = shared | (own[0] if own else {})
    width, height = (camera.get(side) for side in ("w", "h"))
    if "fl_x" not in camera:
        angle = number(origin, "camera_angle_x", camera.get("camera_angle_x"))
        if width is None or height is None or not 0 < angle < math.pi:
            raise CalibrationError(f"{origin}: expected fl_x, or camera_angle_x (radians) with the image size w and h")
        camera["fl_x"] = 0.5 * number(origin, "w", width) / math.tan(0.5 * angle)
    camera.setdefault("fl_y", camera["fl_x"])
    for key, side in (("cx", width), ("cy", height)):
        if key not in camera and side is not None:
            camera[key] = 0.5 * number(origin, "the image size", side)
    harmless = r"^(camera_angle_[xy]|applied_\w+|(integer_depth_)?scale|(depth_unit_)?scale_factor|offset|aabb\w*)$"
    return read_flat(origin, camera, half_pixel=True, harmless=harmless)


def _intrinsic_keys(frame: Mapping[str, Any]) -> dict[str, Any]:
    known = (*_FX, *_FY, *_CX, *_CY, *_WIDTH, *_HEIGHT, *_MODEL, *_IS_FISHEYE, *_LIST, *_OPENCV_ORDER)
    return {key: value for key, value in frame.items() if key in known}


def read_camodocal(origin: str, content: Mapping[str, Any]) -> Calibration:
    """The camera of VINS-Mono and VINS-Fusion (camodocal): PINHOLE, PINHOLE_FULL or KANNALA_BRANDT."""
    distortion_model(origin, content["model_type"])  # refuses MEI and SCARAMUZZA by name
    parts = [content.get(key) for key in ("projection_parameters", "distortion_parameters")]
    if not isinstance(parts[0], Mapping) or not isinstance(parts[1], (Mapping, type(None))):
        raise CalibrationError(f"{origin}: expected mappings of parameters, got {short(parts)}")
    camera = {**parts[0], **(parts[1] or {})}
    camera |= {key: content.get(key) for key in ("image_width", "image_height")} | {"model": content["model_type"]}
    read = ("model_type", "image_width", "image_height", "projection_parameters", "distortion_parameters")
    # fisheye turns a mask on there; the model is model_type.
    refuse_unread(origin, content, read, r"^(fisheye|fisheye_mask|fisheye_path|camera_name)$")
    is_fisheye = distortion_model(origin, content["model_type"]) is DistortionModel.EQUIDISTANT
    return read_flat(origin, camera, order=("k2", "k3", "k4", "k5") if is_fisheye else ())


def read_metashape(origin: str, content: Mapping[str, Any]) -> Calibration:
    """The camera of Metashape's XML: cx, cy from the image centre, p1 and p2 in the other order than OpenCV's."""
    distortion_model(origin, content.get("projection") or content.get("type"))
    values = {
        key: _number_or_zero(origin, key, content.get(key))
        for key in ("f", "cx", "cy", "b1", "b2", "k1", "k2", "k3", "k4", "p1", "p2", "p3", "p4")
    }
    if any(values[key] for key in ("k4", "p3", "p4")):
        raise CalibrationError(f"{origin}: k4, p3 and p4 of Metashape are not supported; calibrate without them")
    size = image_size(origin, (content.get("width"), content.get("height")))
    if size is None:
        raise CalibrationError(f"{origin}: expected width and height, from whose centre Metashape counts cx and cy")
    refuse_unread(origin, content, ("projection", "type", "width", "height", *values), r"^resolution\.")
    f, cx, cy = (values[key] for key in ("f", "cx", "cy"))
    matrix = (f + values["b1"], values["b2"], cx + 0.5 * size[0] - 0.5, 0, f, cy + 0.5 * size[1] - 0.5, 0, 0, 1)
    coefficients = [values[key] for key in ("k1", "k2", "p2", "p1", "k3")]
    return calibration_from_values(origin, matrix, DistortionModel.PLUMB_BOB.value, coefficients, size)

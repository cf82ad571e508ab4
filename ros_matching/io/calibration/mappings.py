"""Calibrations in YAML, JSON, XML and INI: which kind a mapping is, and its one camera among several."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ros_matching.datatypes import DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.io.calibration.calibration import Calibration, calibration_from_values, distortion_model
from ros_matching.io.calibration.fields import image_size, numbers, refuse_unread, short, shown
from ros_matching.io.calibration.flat import (
    has_intrinsics,
    read_camodocal,
    read_flat,
    read_metashape,
    read_transforms,
)
from ros_matching.io.calibration.matrices import MATRIX_KEYS, read_camera_info, read_intrinsics, read_matrix

_STEREO = re.compile(r"^(M|K|D|(?i:camera_?matrix|dist_?coeffs|distortion_coefficients))_?([12]|l|r|left|right)$")
_CAMERA_PREFIX = re.compile(r"^((?:camera|cam)\d*)\.(.+)$", re.IGNORECASE)
# Sections of the settings of ORB-SLAM and stella_vslam that are no concern of the lens.
_SLAM_SECTIONS = (
    r"^(ORBextractor|Viewer|PangolinViewer|IridescenceViewer|SocketPublisher|MapPublisher|IMU|System|Feature|Mapping"
    r"|Tracking|Initializer|Relocalizer|KeyframeInserter|LoopDetector|LoopBundleAdjuster|LoopClosing|GraphOptimizer"
    r"|GlobalOptimizer|Stereo|RGBD|Preprocessing|File|Marker\w*|Lidar|mapping|tracking|meshing|rendering|data)\."
)
_DEPTH_KEYS = ("DepthMapFactor", "RGBD.DepthMapFactor", "Preprocessing.depthmap_factor", "depthmap_factor")
_ZED_SIZES = {"2K": (2208, 1242), "FHD": (1920, 1080), "FHD1200": (1920, 1200), "HD": (1280, 720), "VGA": (672, 376)}

Read = Callable[[str], Calibration]


def read_mapping(origin: str, content: Any, cam: str | None) -> Calibration:
    """The calibration in the content of a file; of several cameras the one that ``cam`` names."""
    if not isinstance(content, Mapping):
        raise CalibrationError(
            f"{origin}: expected a YAML mapping or JSON object with the calibration, got {type(content).__name__}"
        )
    cameras = _cameras(content)
    if not cameras:
        raise CalibrationError(
            f"{origin}: expected a calibration of ROS or OpenCV (camera_matrix), EuRoC or Kalibr (intrinsics), VINS "
            "(model_type), ORB-SLAM or stella_vslam (Camera.fx), nerfstudio (fl_x) or fx, fy, cx, cy, "
            f"got the keys {', '.join(map(shown, list(content)[:12])) or 'none'}{_advice(content)}"
        )
    return chosen(origin, cameras, cam)(origin)


def chosen(origin: str, cameras: Mapping[str, Read], cam: str | None) -> Read:
    """The reader of the camera with this name, or with this number at the end of its name."""
    if cam is None:
        if len(cameras) == 1:
            return next(iter(cameras.values()))
        raise CalibrationError(
            f"{origin} holds several cameras, {', '.join(map(shown, list(cameras)[:12]))}; choose one, for example "
            f"cam={shown(next(iter(cameras)))}"
        )
    found = cameras.get(cam) or next((cameras[name] for name in cameras if _number_of(name) == cam), None)
    if found is None:
        raise CalibrationError(f"{origin} has no camera {cam}; it has {', '.join(map(shown, list(cameras)[:12]))}")
    return found


def _number_of(name: str) -> str:
    return re.search(r"\d*$", name).group()


def _cameras(content: Mapping[str, Any]) -> dict[str, Read]:
    """A reader for each camera of the content, by name; empty if there is none."""
    kinds = (_kalibr, _basalt, _depthai, _camodocal, _transforms, _stereo, _single, _prefixed, _zed)
    return next((cameras for kind in kinds if (cameras := kind(content))), {})


def _kalibr(content: Mapping[str, Any]) -> dict[str, Read]:
    named = {key: value for key, value in content.items() if re.fullmatch(r"cam\d+", key)}
    return {
        name: lambda origin, name=name, camera=camera: read_intrinsics(f"{origin}, {name}", camera)
        for name, camera in named.items()
        if isinstance(camera, Mapping) and "intrinsics" in camera
    }


def _single(content: Mapping[str, Any]) -> dict[str, Read]:
    """The kinds of files with one camera."""
    if {"k", "d"} <= {key.lower() for key in content} and {"width", "height"} <= content.keys():
        return {"camera_info": lambda origin: read_camera_info(origin, content)}
    if any(key in content for key in MATRIX_KEYS):
        return {"camera": lambda origin: read_matrix(origin, content)}
    if "intrinsics" in content:
        nested = content["intrinsics"]
        if isinstance(nested, Mapping) and has_intrinsics(nested):
            rest = {key: value for key, value in content.items() if key != "intrinsics"}
            return {"camera": lambda origin: read_flat(origin, {**rest, **nested})}
        return {"camera": lambda origin: read_intrinsics(origin, content)}
    if "f" in content and {"projection", "type"} & content.keys():
        return {"camera": lambda origin: read_metashape(origin, content)}
    if has_intrinsics(content):
        return {"camera": lambda origin: read_flat(origin, content)}
    return {}


def _camodocal(content: Mapping[str, Any]) -> dict[str, Read]:
    return {"camera": lambda origin: read_camodocal(origin, content)} if "model_type" in content else {}


def _transforms(content: Mapping[str, Any]) -> dict[str, Read]:
    is_transforms = "fl_x" in content or "camera_angle_x" in content or isinstance(content.get("frames"), list)
    return {"camera": lambda origin: read_transforms(origin, content)} if is_transforms else {}


def _prefixed(content: Mapping[str, Any]) -> dict[str, Read]:
    """``Camera.fx`` of ORB-SLAM, or ``Camera: fx`` of stella_vslam and others."""
    flat = _flattened(content)
    groups: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        if match := _CAMERA_PREFIX.match(key):
            groups.setdefault(match[1], {})[match[2]] = value
    if not any(has_intrinsics(group) for group in groups.values()):
        return {name: partial(_refuse_model, group=group) for name, group in groups.items() if "model" in group}
    groups = {name: group for name, group in groups.items() if has_intrinsics(group)}
    # Camera2 without parameters of its own in ORB-SLAM3 leaves Camera1; general keys are under Camera.
    general = {} if "Camera" in groups else {k[7:]: v for k, v in flat.items() if k.startswith("Camera.")}
    return {
        name: lambda origin, group={**general, **group}: _read_slam(origin, flat, group)
        for name, group in groups.items()
    }


def _refuse_model(origin: str, group: Mapping[str, Any]) -> Calibration:
    """Name the model of a camera without focal length and principal point."""
    distortion_model(origin, group["model"])
    raise CalibrationError(f"{origin}: expected fx, fy, cx and cy of its camera, got {', '.join(map(shown, group))}")


def _read_slam(origin: str, flat: Mapping[str, Any], group: Mapping[str, Any]) -> Calibration:
    harmless = r"^(newWidth|newHeight|RGB|color_order|setup|name|bf|fps|focal_x_baseline|depth_threshold)$"
    is_replica = "w" in group and "scale" in group  # scale is of the depth images there
    group = {"png_depth_scale" if is_replica and key == "scale" else key: value for key, value in group.items()}
    calibration = read_flat(origin, group, harmless=harmless)
    refuse_unread(origin, flat, (), rf"{_SLAM_SECTIONS}|(?i:{_CAMERA_PREFIX.pattern})|^ThDepth$|^(?i:depth)")
    depth = next((flat[key] for key in _DEPTH_KEYS if flat.get(key) is not None), None)
    if depth is None:
        return calibration
    units = float(numbers(origin, "DepthMapFactor", depth, 1)[0])
    return replace(calibration, depth_units_per_metre=units) if units > 1 else calibration


def _basalt(content: Mapping[str, Any]) -> dict[str, Read]:
    value = content.get("value0")
    cameras = value.get("intrinsics") if isinstance(value, Mapping) else None
    if not isinstance(cameras, list):
        return {}
    sizes = value.get("resolution")
    sizes = sizes if isinstance(sizes, list) and len(sizes) == len(cameras) else [[None, None]] * len(cameras)

    def read(origin: str, camera: Any, size: Any) -> Calibration:
        if not isinstance(camera, Mapping) or not isinstance(camera.get("intrinsics"), Mapping):
            raise CalibrationError(f"{origin}: expected a camera_type with intrinsics, got {short(camera)}")
        distortion_model(origin, camera.get("camera_type"))
        width, height = size if isinstance(size, list) and len(size) == 2 else (None, None)
        own = camera["intrinsics"] | {"model": camera["camera_type"], "width": width, "height": height}
        return read_flat(origin, own, harmless=r"^rpmax$")

    return {
        f"cam{index}": lambda origin, camera=camera, size=size: read(origin, camera, size)
        for index, (camera, size) in enumerate(zip(cameras, sizes, strict=True))
    }


def _depthai(content: Mapping[str, Any]) -> dict[str, Read]:
    cameras = content.get("cameraData")
    if not isinstance(cameras, list):
        return {}

    def read(origin: str, camera: Mapping[str, Any]) -> Calibration:
        is_fisheye = numbers(origin, "cameraType", camera.get("cameraType", 0), 1)[0] != 0
        model = DistortionModel.EQUIDISTANT if is_fisheye else DistortionModel.RATIONAL_POLYNOMIAL
        size = image_size(origin, (camera.get("width"), camera.get("height")))
        coefficients = camera.get("distortionCoeff", ())
        return calibration_from_values(origin, camera.get("intrinsicMatrix"), model.value, coefficients, size)

    pairs = [item for item in cameras if isinstance(item, list) and len(item) == 2 and isinstance(item[1], Mapping)]
    return {
        f"{number:g}" if isinstance(number, float) else str(number): lambda origin, camera=camera: read(origin, camera)
        for number, camera in pairs
    }


def _stereo(content: Mapping[str, Any]) -> dict[str, Read]:
    """``M1 D1 M2 D2`` of OpenCV's stereo calibration, and its other spellings."""
    cameras: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        match = _STEREO.match(key)
        if match and isinstance(value, (list, Mapping)):
            is_matrix = match[1].lower() in ("m", "k", "cameramatrix", "camera_matrix")
            name = "camera_matrix" if is_matrix else "distortion_coefficients"
            cameras.setdefault(match[2], {})[name] = value
    shared = {key: value for key, value in content.items() if not _STEREO.match(key)}
    return {
        which: lambda origin, which=which, camera=camera: read_matrix(f"{origin}, {which}", {**shared, **camera})
        for which, camera in cameras.items()
        if "camera_matrix" in camera
    }


def _zed(content: Mapping[str, Any]) -> dict[str, Read]:
    """The sections ``[LEFT_CAM_HD]`` ... of a ZED camera's settings, one for each resolution."""
    sections = {key: value for key, value in content.items() if isinstance(value, Mapping) and has_intrinsics(value)}

    def read(origin: str, name: str, section: Mapping[str, Any]) -> Calibration:
        other = {key: value for key, value in content.items() if key == name.split("_")[0] + "_DISTO"}
        refuse_unread(origin, other, ())
        calibration = read_flat(origin, section)
        size = _ZED_SIZES.get(name.rsplit("_", 1)[-1]) if calibration.image_size is None else calibration.image_size
        return replace(calibration, image_size=size)

    return {
        name: lambda origin, name=name, section=section: read(f"{origin}, {name}", name, section)
        for name, section in sections.items()
    }


def _flattened(content: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted keys; matrices (``data``) are leaves."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and "data" not in value:
            flat |= _flattened(value, name + ".")
        else:
            flat[name] = value
    return flat


def _advice(content: Mapping[str, Any]) -> str:
    files = [str(content[key]) for key in ("cam0_calib", "cam1_calib", "relative_config_imucam") if content.get(key)]
    return f"; it names other files, give one of these: {', '.join(map(short, files))}" if files else ""

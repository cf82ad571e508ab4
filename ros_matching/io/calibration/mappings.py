"""Calibrations in YAML, JSON, XML and INI: which kind a mapping is, and its one camera among several."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from ros_matching.datatypes import DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.io.calibration.calibration import Calibration, calibration_from_values, distortion_model
from ros_matching.io.calibration.fields import image_size, numbers, refuse_unread, short
from ros_matching.io.calibration.flat import (
    has_intrinsics,
    model_of_opencv,
    read_camodocal,
    read_flat,
    read_metashape,
    read_transforms,
)

_MATRIX = ("camera_matrix", "Camera_Matrix", "cameraMatrix", "CameraMatrix", "intrinsic_matrix", "mtx", "K", "k", "M")
_COEFFICIENTS = ("distortion_coefficients", "Distortion_Coefficients", "distCoeffs", "dist_coeffs", "dist_coeff")
_COEFFICIENTS += ("distortion_coeffs", "DistortionCoefficients", "DistCoeffs", "dist", "D", "d")
_SIZES = (("image_width", "image_height"), ("image_Width", "image_Height"), ("width", "height"))
_IS_FISHEYE = ("fisheye_model", "fisheye")
_STEREO = re.compile(
    r"^(M|K|D|camera_?matrix|dist_?coeffs|distortion_coefficients)_?([12]|l|r|left|right)$", re.IGNORECASE
)
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
            f"got the keys {', '.join(map(str, list(content)[:12])) or 'none'}{_advice(content)}"
        )
    return chosen(origin, cameras, cam)(origin)


def chosen(origin: str, cameras: Mapping[str, Read], cam: str | None) -> Read:
    """The reader of the camera with this name, or with this number at the end of its name."""
    if cam is None:
        if len(cameras) == 1:
            return next(iter(cameras.values()))
        raise CalibrationError(
            f"{origin} holds several cameras, {', '.join(cameras)}; choose one, for example cam={next(iter(cameras))}"
        )
    found = cameras.get(cam) or next((cameras[name] for name in cameras if _number_of(name) == cam), None)
    if found is None:
        raise CalibrationError(f"{origin} has no camera {cam}; it has {', '.join(cameras)}")
    return found


def _number_of(name: str) -> str:
    return re.search(r"\d*$", name).group()


def _cameras(content: Mapping[str, Any]) -> dict[str, Read]:
    """A reader for each camera of the content, by name; empty where there is none."""
    kinds = (_kalibr, _basalt, _depthai, _camodocal, _transforms, _stereo, _single, _prefixed, _zed)
    return next((cameras for kind in kinds if (cameras := kind(content))), {})


def _kalibr(content: Mapping[str, Any]) -> dict[str, Read]:
    named = {key: value for key, value in content.items() if re.fullmatch(r"cam\d+", key)}
    return {
        name: lambda origin, name=name, camera=camera: _read_intrinsics(f"{origin}, {name}", camera)
        for name, camera in named.items()
        if isinstance(camera, Mapping) and "intrinsics" in camera
    }


def _single(content: Mapping[str, Any]) -> dict[str, Read]:
    """The kinds of files with one camera."""
    if {"k", "d"} <= {key.lower() for key in content} and {"width", "height"} <= content.keys():
        return {"camera_info": lambda origin: _read_camera_info(origin, content)}
    if any(key in content for key in _MATRIX):
        return {"camera": lambda origin: _read_matrix(origin, content)}
    if "intrinsics" in content:
        nested = content["intrinsics"]
        if isinstance(nested, Mapping) and has_intrinsics(nested):
            rest = {key: value for key, value in content.items() if key != "intrinsics"}
            return {"camera": lambda origin: read_flat(origin, {**rest, **nested})}
        return {"camera": lambda origin: _read_intrinsics(origin, content)}
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
    raise CalibrationError(f"{origin}: expected fx, fy, cx and cy of its camera, got {', '.join(map(str, group))}")


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
        if match := _STEREO.match(key):
            is_matrix = match[1].lower() in ("m", "k", "cameramatrix", "camera_matrix")
            name = "camera_matrix" if is_matrix else "distortion_coefficients"
            cameras.setdefault(match[2], {})[name] = value
    shared = {key: value for key, value in content.items() if not _STEREO.match(key)}
    return {
        which: lambda origin, which=which, camera=camera: _read_matrix(f"{origin}, {which}", {**shared, **camera})
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


def _read_intrinsics(origin: str, content: Mapping[str, Any]) -> Calibration:
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


def _read_matrix(origin: str, content: Mapping[str, Any]) -> Calibration:
    """A 3x3 matrix with coefficients in OpenCV's order: ROS ``camera_calibration``, OpenCV's FileStorage, Open3D."""
    matrix_key, matrix = _first(origin, content, _MATRIX)
    key, coefficients = _first(origin, content, _COEFFICIENTS)
    coefficients = numbers(origin, "distortion coefficients", () if coefficients is None else coefficients)
    model = _matrix_model(origin, content, coefficients)
    read = [matrix_key, "distortion_model", "camera_model", "model", *_IS_FISHEYE, *([key] if key else [])]
    sides = next((pair for pair in _SIZES if any(side in content for side in pair)), ("image_size",))
    refuse_unread(
        origin, content, (*read, *sides), r"^(rectification_matrix|projection_matrix|image_points|grid_points)"
    )
    size = content.get("image_size") if len(sides) == 1 else [content.get(side) for side in sides]
    size = image_size(
        origin, numbers(origin, "image_size", size, 2).tolist() if len(sides) == 1 and size else size or ()
    )
    return calibration_from_values(origin, matrix, model, coefficients, size)


def _matrix_model(origin: str, content: Mapping[str, Any], coefficients: Any) -> str:
    """The one model that the keys name; without one OpenCV's own, by the number of coefficients."""
    names = [content[key] for key in ("distortion_model", "camera_model", "model") if content.get(key) is not None]
    models = {distortion_model(origin, name) for name in names} if coefficients.any() or len(names) > 1 else set()
    models -= {DistortionModel.NONE}
    if any(str(content.get(key, "0")).lower() in ("1", "true", "1.0", "yes") for key in _IS_FISHEYE):
        models.add(DistortionModel.EQUIDISTANT)
    if len(models) > 1:
        raise CalibrationError(f"{origin}: {' and '.join(sorted(m.value for m in models))} contradict each other")
    if models:
        return models.pop().value
    if names and not coefficients.any():
        return names[0]
    if any(distortion_model(origin, name) is DistortionModel.NONE and name != "pinhole" for name in names):
        return DistortionModel.NONE.value
    return model_of_opencv(coefficients.tolist())


def _read_camera_info(origin: str, content: Mapping[str, Any]) -> Calibration:
    """A message as ``ros2 topic echo`` or ``rostopic echo`` prints it."""
    from ros_matching.io.camera_info import calibration_from_info

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
    """The one of several keys that is there, and its value; ``("", None)`` without any."""
    found = [name for name in names if content.get(name) is not None]
    if len(found) > 1:
        raise CalibrationError(f"{origin} has both {' and '.join(found[:2])}; keep the right one")
    return (found[0], content[found[0]]) if found else ("", None)


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

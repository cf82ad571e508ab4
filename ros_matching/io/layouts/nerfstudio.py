"""``transforms.json`` of nerfstudio and instant-ngp, with the images that it lists.

A frame's ``transform_matrix`` is its ``world_from_camera`` with OpenGL's camera axes. Intrinsics are common or stand in
each frame: images whose intrinsics differ a little are brought to those of the first one. Depth images
(``depth_file_path``) have ``depth_unit_scale_factor`` metres a unit, a millimetre unless stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io.calibration import Calibration, CalibrationChoice, read_calibration
from ros_matching.io.calibration.documents import MAX_BYTES, parse_json
from ros_matching.io.calibration.flat import read_transforms
from ros_matching.io.folder import DEFAULT_FPS
from ros_matching.io.images import IMAGE_SUFFIXES, image_file_size, in_natural_order
from ros_matching.io.listing import stamps_of_names
from ros_matching.io.poses import rigid_transforms, swap_opengl
from ros_matching.io.sequence import ImageRecord, ImageSequence
from ros_matching.io.source_format import SourceFormat, stamps_at_rate
from ros_matching.io.text import read_text

FILE = "transforms.json"
_MILLIMETRE = 1e-3
_MAX_DIFFERENCE = 0.1


def matches(path: Path) -> bool:
    """Return True for a folder with ``transforms.json``, or for such a file."""
    return _file(path).is_file()


def open_transforms(
    path: Path, *, calibration: Path | CalibrationChoice | None = None, fps: float | None = None
) -> ImageSequence:
    """Open the images of a file; without stamps as names, they come at ``fps`` in the order of their names."""
    file = _file(path.resolve())
    try:
        content = parse_json(str(file), read_text(file, MAX_BYTES * 4))
    except CalibrationError as error:
        raise SourceError(str(error)) from error
    frames = _frames(file, content)
    known, own = _calibrations(file, content, frames)
    if isinstance(calibration, Path) or (calibration is not None and calibration.path is not None):
        known, own = read_calibration(calibration), [None] * len(frames)
    stamps_ns = stamps_of_names([image for image, _ in frames]) if fps is None else None
    if stamps_ns is None:
        stamps_ns = stamps_at_rate(len(frames), DEFAULT_FPS if fps is None else fps, str(file))
    poses = _poses(file, [frame for _, frame in frames])
    rows = sorted(range(len(frames)), key=lambda row: stamps_ns[row])
    records = [
        ImageRecord(
            index, stamps_ns[row], frames[row][0], poses[row], _depth(file, frames[row][1]), calibration=own[row]
        )
        for index, row in enumerate(rows)
    ]
    unit = content.get("depth_unit_scale_factor", _MILLIMETRE)
    if not isinstance(unit, (int, float)) or not 1e-6 <= unit <= 1:
        raise SourceError(f"{file}: expected depth_unit_scale_factor to be metres a unit, got {unit!r}")
    return ImageSequence(file.parent.name, records, known, depth_units_per_metre=1 / unit)


def _file(path: Path) -> Path:
    """The file of a folder; or a file that is given, which may be one of several: ``transforms_train.json``."""
    is_named = path.suffix == ".json" and path.name.startswith("transforms") and not path.is_dir()
    return path if is_named else path / FILE


def _frames(file: Path, content: Any) -> list[tuple[Path, Mapping[str, Any]]]:
    """The image of each frame, and the frame, in the order of the images' names."""
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise SourceError(f"{file}: expected a list of frames, got {type(frames).__name__}")
    by_name = {}
    for number, frame in enumerate(frames):
        name = frame.get("file_path")
        if not isinstance(name, str) or not name or "\0" in name:
            raise SourceError(f"{file}, frame {number}: expected file_path, got {name!r}")
        if name in by_name:
            raise SourceError(f"{file} lists {name} twice; keep one")
        by_name[name] = frame
    return [(_image(file.parent, name), by_name[name]) for name in in_natural_order(by_name)]


def _image(folder: Path, name: str) -> Path:
    """The image file of a frame, whose suffix may be left out (Blender's data sets)."""
    path = folder / name
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return path
    return next((found for suffix in IMAGE_SUFFIXES if (found := Path(f"{path}{suffix}")).is_file()), path)


def _calibrations(
    file: Path, content: Mapping[str, Any], frames: Sequence[tuple[Path, Mapping[str, Any]]]
) -> tuple[Calibration, list[Calibration | None]]:
    """The calibration of the first image, and those of the images that have another one."""
    shared = {key: value for key, value in content.items() if key != "frames"}
    if "w" not in shared and "h" not in shared and not any("w" in frame for _, frame in frames):
        shared["w"], shared["h"] = map(float, image_file_size(frames[0][0]))
    found: dict[str, Calibration] = {}
    calibrations = []
    for image, frame in frames:
        intrinsics = {key: value for key, value in frame.items() if not isinstance(value, (list, dict, str))}
        key = repr(sorted(intrinsics.items()))
        if key not in found:
            found[key] = read_transforms(f"{file}, {image.name}", {**shared, "frames": [frame]})
        calibrations.append(found[key])
    first = calibrations[0]
    for calibration in found.values():
        if calibration.image_size != first.image_size or abs(calibration.fx - first.fx) > _MAX_DIFFERENCE * first.fx:
            raise CalibrationError(
                f"{calibration.origin} has another size or a focal length that differs by more than "
                f"{_MAX_DIFFERENCE:.0%} from that of {first.origin}; give a file with the images of one camera"
            )
    return first, [None if _are_equal(calibration, first) else calibration for calibration in calibrations]


def _are_equal(one: Calibration, other: Calibration) -> bool:
    """Return True for equal intrinsics of two frames."""
    names = ("fx", "fy", "cx", "cy", "skew", "distortion_model", "distortion")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _poses(file: Path, frames: Sequence[Mapping[str, Any]]) -> np.ndarray:
    matrices = []
    for frame in frames:
        try:
            matrix = np.array(frame.get("transform_matrix"), dtype=np.float64)
        except (TypeError, ValueError):
            matrix = np.zeros(0)
        if matrix.shape not in ((3, 4), (4, 4)) or not np.isfinite(matrix).all():
            raise SourceError(f"{file}, {frame['file_path']}: expected a 4x4 transform_matrix of finite numbers")
        matrices.append(np.vstack([matrix[:3], [0.0, 0.0, 0.0, 1.0]]))
    return swap_opengl(rigid_transforms(np.array(matrices), lambda row: f"{file}, {frames[row]['file_path']}"))


def _depth(file: Path, frame: Mapping[str, Any]) -> Path | None:
    name = frame.get("depth_file_path")
    return file.parent / name if isinstance(name, str) and name else None


FORMAT = SourceFormat(
    name="transforms.json",
    looks_for="transforms.json of nerfstudio or instant-ngp, and the images that it lists",
    matches=matches,
    open=open_transforms,
    options=("calibration", "fps"),
    has_own_calibration_file=True,
)

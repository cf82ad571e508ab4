"""RGB-D data sets with a pose for each image: ICL-NUIM, Replica as NICE-SLAM renders it, exported ScanNet scenes.

7-Scenes (Shotton et al., CVPR 2013): a folder of ``frame-000000.color.png`` and ``.pose.txt`` a sequence.

Its colour camera was never calibrated: without a calibration file the focal length is 525 px, the usual choice. The
depth maps are not registered to the colour images and are left out; the poses (KinectFusion) are those of the depth
camera, some centimetres apart.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io.calibration import Calibration, CalibrationChoice, calibration_from_values, read_calibration
from ros_matching.io.faults import FrameFault
from ros_matching.io.folder import CALIBRATION_NAMES, DEFAULT_FPS, find_calibration
from ros_matching.io.images import image_file_size, list_images, number_of_name
from ros_matching.io.poses import pose_or_none, poses_from_quaternions, read_matrices, read_pose
from ros_matching.io.sequence import ImageRecord, ImageSequence
from ros_matching.io.source_format import SourceFormat, stamps_at_rate, stamps_of_numbers
from ros_matching.io.text import read_table

_ICL_NAME = re.compile(r"(^|_)traj\d")
_ICL_CALIBRATION = Calibration("ICL-NUIM's calibration", 481.2, 480.0, 319.5, 239.5, image_size=(640, 480))
_ICL_UNITS_PER_METRE = 5000.0
_MIRROR = np.diag([1.0, -1.0, 1.0, 1.0])
_SCANNET_UNITS_PER_METRE = 1000.0


def _is_icl_nuim(path: Path) -> bool:
    has_truth = next(path.glob("*.gt.freiburg"), None) is not None
    is_listed = (path / "associations.txt").is_file() and not (path / "rgb.txt").is_file()
    return (path / "rgb").is_dir() and (has_truth or (is_listed and bool(_ICL_NAME.search(path.resolve().name))))


def open_icl_nuim(path: Path, *, calibration: Path | None = None, fps: float | None = None) -> ImageSequence:
    """Open ICL-NUIM (Handa et al., ICRA 2014) in its TUM-compatible form: ``rgb/N.png``, ``depth/N.png``.

    The poses (``*.gt.freiburg``) begin with the number of their image. They are of a camera whose y axis points up, in
    a world of the same kind, both left-handed: hence the negative fy (-480) on the web page. Here both
    are mirrored, so that y points down and fy is 480, as the images are stored. Depth has 5000 units a metre. There are
    no stamps: image N comes N frames after the first, at ``fps``.
    """
    path = path.resolve()
    images = {number_of_name(image): image for image in list_images(path / "rgb")}
    if not images:
        raise SourceError(f"{path / 'rgb'} holds no images")
    depths = {number_of_name(image): image for image in list_images(path / "depth")}
    poses = _icl_poses(path)
    numbers = sorted(images)
    stamps_ns = stamps_of_numbers(numbers, DEFAULT_FPS if fps is None else fps, str(path))
    records = [
        ImageRecord(index, stamp_ns, images[number], poses.get(number), depths.get(number))
        for index, (number, stamp_ns) in enumerate(zip(numbers, stamps_ns, strict=True))
    ]
    # The poses are mirrored here already, whatever the sign of fy in a calibration that is given.
    known = _ICL_CALIBRATION if calibration is None else replace(read_calibration(calibration), is_y_up=False)
    return ImageSequence(path.name, records, known, depth_units_per_metre=_ICL_UNITS_PER_METRE)


def _icl_poses(folder: Path) -> dict[int, np.ndarray]:
    """``world_from_camera`` (4, 4) by the number of the image."""
    files = sorted(folder.glob("*.gt.freiburg"))
    if not files:
        return {}
    if len(files) > 1:
        raise SourceError(f"{folder} has {len(files)} ground truths: {', '.join(f.name for f in files)}; keep one")
    table = read_table(files[0], 8, "the number of an image, tx ty tz qx qy qz qw")
    values = table.numbers()
    numbers = values[:, 0]
    if not np.array_equal(numbers, np.round(numbers)):
        raise SourceError(f"{files[0]}: expected whole image numbers in front, got {numbers[0]:g}")
    poses = _MIRROR @ poses_from_quaternions(values[:, 1:], table.where) @ _MIRROR
    return dict(zip(numbers.astype(int).tolist(), poses, strict=True))


def _is_replica(path: Path) -> bool:
    return bool(list_images(path / "results", "frame*"))


def open_replica(path: Path, *, calibration: Path | None = None, fps: float | None = None) -> ImageSequence:
    """Open a Replica scene (Straub et al., 2019) as NICE-SLAM renders it: ``results/frame*.jpg``, ``depth*.png``.

    ``traj.txt`` holds a row-major 4x4 ``world_from_camera`` a line, with our camera axes. ``cam_params.json``, in the
    folder or the one above, contains the intrinsics and the units of depth. There are no stamps.
    """
    path = path.resolve()
    images = list_images(path / "results", "frame*")
    if not images:
        raise SourceError(f"{path / 'results'} holds no frame*.jpg")
    known, units_per_metre = _replica_camera(path)
    poses = _replica_poses(path / "traj.txt", images)
    depths = {number_of_name(image): image for image in list_images(path / "results", "depth*")}
    stamps_ns = stamps_of_numbers(map(number_of_name, images), DEFAULT_FPS if fps is None else fps, str(path))
    records = [
        ImageRecord(index, stamp_ns, image, pose, depths.get(number_of_name(image)))
        for index, (stamp_ns, image, pose) in enumerate(zip(stamps_ns, images, poses, strict=True))
    ]
    if calibration is not None:
        known = read_calibration(calibration)
    return ImageSequence(path.name, records, known, depth_units_per_metre=units_per_metre)


def _replica_poses(path: Path, images: list[Path]) -> list[np.ndarray | None]:
    """The pose of image N is in line N, counted from 0."""
    if not path.is_file():
        return [None] * len(images)
    matrices, last = read_matrices(path, 16), number_of_name(images[-1])
    if len(matrices) <= last:
        raise SourceError(f"{path} holds {len(matrices)} poses, but there is an image number {last}; is it cut off?")
    return [pose_or_none(matrices[number_of_name(image)]) for image in images]


def _replica_camera(folder: Path) -> tuple[Calibration, float]:
    file = next(
        (parent / "cam_params.json" for parent in (folder, folder.parent) if (parent / "cam_params.json").is_file()),
        None,
    )
    if file is None:
        raise CalibrationError(f"no cam_params.json in {folder} or in {folder.parent}; it comes with the data set")
    known = read_calibration(file)
    if known.depth_units_per_metre is None:
        raise CalibrationError(
            f"{file}: expected a positive scale (units of depth a metre) in 'camera', got none above 1"
        )
    return known, known.depth_units_per_metre


def _is_scannet(path: Path) -> bool:
    return bool(list_images(path / "color")) and (path / "pose").is_dir() and (path / "intrinsic").is_dir()


def open_scannet(path: Path, *, calibration: Path | None = None, fps: float | None = None) -> ImageSequence:
    """Open a ScanNet scene (Dai et al., CVPR 2017) as its SensReader exports it: ``color/N.jpg``, ``pose/N.txt``.

    A pose is a 4x4 ``world_from_camera`` with our camera axes, infinite where unknown. ``intrinsic_color.txt`` and
    ``intrinsic_depth.txt`` in ``intrinsic/`` are 4x4; depth is in millimetres, of a camera at the same position, and
    brought into the colour image. There are no stamps: image N comes N frames after the first, at ``fps``.
    """
    path = path.resolve()
    images = list_images(path / "color")
    if not images:
        raise SourceError(f"{path / 'color'} holds no images")
    depths = {number_of_name(image): image for image in list_images(path / "depth")}
    stamps_ns = stamps_of_numbers(map(number_of_name, images), DEFAULT_FPS if fps is None else fps, str(path))
    records = [
        ImageRecord(index, stamp_ns, image, _scannet_pose(path, image), depths.get(number_of_name(image)))
        for index, (image, stamp_ns) in enumerate(zip(images, stamps_ns, strict=True))
    ]
    folder = path / "intrinsic"
    known = _scannet_camera(folder / "intrinsic_color.txt") if calibration is None else read_calibration(calibration)
    depth_known = None
    if depths:
        size = image_file_size(next(iter(depths.values())))
        depth_known = replace(_scannet_camera(folder / "intrinsic_depth.txt"), image_size=size)
    return ImageSequence(
        path.name, records, known, depth_units_per_metre=_SCANNET_UNITS_PER_METRE, depth_calibration=depth_known
    )


def _scannet_camera(path: Path) -> Calibration:
    if not path.is_file():
        raise CalibrationError(f"there is no {path}; export the scene with its intrinsics, or give calibration=PATH")
    table = read_table(path, 3, "a row of a 4x4 calibration matrix", is_ragged=True)
    if len(table) not in (3, 4):
        raise CalibrationError(f"{path}: expected a 3x3 or 4x4 calibration matrix, got {len(table)} rows")
    return calibration_from_values(str(path), table.numbers(last=3)[:3])


def _scannet_pose(folder: Path, image: Path) -> np.ndarray | None:
    path = folder / "pose" / f"{image.stem}.txt"
    if not path.is_file():
        return None
    return read_pose(path)


WITH_POSES = (
    SourceFormat(
        name="ICL-NUIM",
        looks_for="rgb/ and depth/ with *.gt.freiburg or associations.txt",
        matches=_is_icl_nuim,
        open=open_icl_nuim,
        options=("calibration", "fps"),
    ),
    SourceFormat(
        name="Replica",
        looks_for="results/frame000000.jpg with traj.txt and cam_params.json",
        matches=_is_replica,
        open=open_replica,
        options=("calibration", "fps"),
    ),
    SourceFormat(
        name="ScanNet",
        looks_for="color/, depth/, pose/ and intrinsic/ of an exported scene",
        matches=_is_scannet,
        open=open_scannet,
        options=("calibration", "fps"),
    ),
)


_PATTERN = "frame-*.color.*"
_CALIBRATION = Calibration("the usual calibration of 7-Scenes", 525.0, 525.0, 320.0, 240.0, image_size=(640, 480))


def matches_seven_scenes(path: Path) -> bool:
    """Return True for a folder with ``frame-*.color.png``."""
    return next(iter(list_images(path, _PATTERN)), None) is not None


def open_seven_scenes(path: Path, *, calibration: Path | CalibrationChoice | None = None) -> ImageSequence:
    """Open a sequence; a frame without a good ``.pose.txt`` while others have one is incomplete (``faults``)."""
    path = path.resolve()
    images = list_images(path, _PATTERN)
    poses, faults = _poses(images)
    stamps_ns = stamps_at_rate(len(images), DEFAULT_FPS, str(path))
    records = [ImageRecord(index, *fields) for index, fields in enumerate(zip(stamps_ns, images, poses, strict=True))]
    known = _CALIBRATION
    if calibration is not None or any((path / name).is_file() for name in CALIBRATION_NAMES):
        known = find_calibration(path, calibration)
    return ImageSequence(f"{path.parent.name}_{path.name}", records, known, faults=faults)


def _poses(images: list[Path]) -> tuple[list[np.ndarray | None], list[FrameFault]]:
    paths = [image.with_name(f"{image.name.split('.')[0]}.pose.txt") for image in images]
    poses: list[np.ndarray | None] = [None] * len(paths)
    faults: list[FrameFault] = []
    if not any(path.is_file() for path in paths):
        return poses, faults
    for index, path in enumerate(paths):
        poses[index], fault = _pose_or_fault(index, path)
        faults += [fault] if fault is not None else []
    return poses, faults


def _pose_or_fault(index: int, path: Path) -> tuple[np.ndarray | None, FrameFault | None]:
    try:
        return read_pose(path), None
    except SourceError as error:
        return None, FrameFault(index, str(error), skipped=False)


SEVEN_SCENES = SourceFormat(
    name="7-Scenes",
    looks_for="frame-000000.color.png",
    matches=matches_seven_scenes,
    open=open_seven_scenes,
    has_own_calibration_file=True,
)

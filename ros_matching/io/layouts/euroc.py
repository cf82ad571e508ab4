"""EuRoC MAV (Burri et al., IJRR 2016), and TUM-VI (Schubert et al., IROS 2018) in its EuRoC export.

EuRoC MAV (Burri et al., IJRR 2016): ``mav0/cam0`` with ``data.csv``, ``sensor.yaml`` and ``data/``.

The ground truth in ``mav0/state_groundtruth_estimate0`` is of the body (the IMU); ``T_BS`` of the camera's
``sensor.yaml``, its pose in the body, moves it to the camera.


TUM-VI (Schubert et al., IROS 2018) in its EuRoC export: ``mav0/cam0``, ``mav0/mocap0`` and ``dso/camchain.yaml``.

The images are 16-bit fisheye images. There is no ``sensor.yaml``: the intrinsics and ``T_cam_imu``, which takes points
of the IMU into a camera, are in Kalibr's ``camchain.yaml``. The ground truth is of the IMU, and known at the start and
the end of most sequences only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ros_matching.datatypes import ImuRecording
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.se3 import invert
from ros_matching.io.calibration import Calibration, CalibrationChoice, read_calibration
from ros_matching.io.calibration.documents import parse_yaml
from ros_matching.io.calibration.fields import numbers
from ros_matching.io.imu import read_imu_files, read_imu_noise, read_imu_samples
from ros_matching.io.listing import Listing, read_listing
from ros_matching.io.poses import pose_or_none, rigid_transforms
from ros_matching.io.sequence import ImageRecord, ImageSequence, RightCamera
from ros_matching.io.source_format import SourceFormat
from ros_matching.io.text import read_lines
from ros_matching.io.trajectory import read_euroc

OTHER_CAMERAS = {"cam0": "cam1", "cam1": "cam0"}
CAMERAS = ("cam0", "cam1")
IMU = Path("imu0", "data.csv")
GROUND_TRUTH = Path("state_groundtruth_estimate0", "data.csv")


def matches_euroc(path: Path) -> bool:
    """Return True for a sequence, its ``mav0``, or one of its cameras, but not for TUM-VI."""
    folder = camera_folder(path)
    return (folder / "data.csv").is_file() and not is_tum_vi(folder)


def is_tum_vi(folder: Path) -> bool:
    """Return True for a camera's folder of TUM-VI, which has Kalibr's calibration and no ``sensor.yaml``."""
    return not (folder / "sensor.yaml").is_file() and (folder.parent.parent / "dso" / "camchain.yaml").is_file()


def open_euroc(path: Path, *, calibration: Path | None = None, stereo: bool = False) -> ImageSequence:
    """Open a sequence (its ``cam0``) or one of its cameras; ``calibration`` replaces the intrinsics, not ``T_BS``.

    ``stereo`` adds the images of the other camera that have the same stamp.
    """
    folder = camera_folder(path.resolve())
    listing = read_images(folder)
    sensor = read_calibration(folder / "sensor.yaml")
    poses = _poses(folder, sensor.body_from_camera, np.array(listing.stamps_ns, dtype=np.int64))
    records = [
        ImageRecord(index, stamp_ns, folder / "data" / name, pose_or_none(pose))
        for index, stamp_ns, name, pose in zip(listing.indices, listing.stamps_ns, listing.names, poses, strict=True)
    ]
    name = f"{folder.parent.parent.name}_{folder.name}"
    known, right = sensor if calibration is None else read_calibration(calibration), None
    if stereo:
        right_folder = folder.parent / OTHER_CAMERAS[folder.name]
        right = _right_camera(folder, sensor, right_folder)
        records = with_right_images(records, right_folder)
    imu = _imu_reader(folder, sensor.body_from_camera)
    return ImageSequence(name, records, known, right=right, faults=listing.faults, imu=imu)


def _imu_reader(folder: Path, body_from_camera: np.ndarray | None) -> Callable[[], ImuRecording | None]:
    """Return the reader of ``imu0`` next to a camera's folder: its axes are those of the body."""
    path = folder.parent / IMU

    def read() -> ImuRecording | None:
        if not path.is_file():
            return None
        sensor = path.parent / "sensor.yaml"
        noise = read_imu_noise(sensor) if sensor.is_file() else None
        extrinsics = body_from_camera
        if extrinsics is not None:
            extrinsics = rigid_transforms(extrinsics[None], lambda _: f"{folder / 'sensor.yaml'}, T_BS")[0]
        return ImuRecording(read_imu_samples(path), str(path), extrinsics, noise, 0.0)

    return read


def read_images(folder: Path) -> Listing:
    """The images of a camera's folder with their stamps."""
    return read_listing(folder / "data.csv", separator=",", in_seconds=False)


def with_right_images(records: Sequence[ImageRecord], folder: Path) -> list[ImageRecord]:
    """The records with the images of another camera's folder that have the same stamps."""
    images = read_images(folder)
    by_stamp = dict(zip(images.stamps_ns, images.names, strict=True))
    return [
        replace(record, right=folder / "data" / by_stamp[record.stamp_ns]) if record.stamp_ns in by_stamp else record
        for record in records
    ]


def _right_camera(folder: Path, sensor: Calibration, right_folder: Path) -> RightCamera:
    right = read_calibration(right_folder / "sensor.yaml")
    for calibration, where in ((sensor, folder), (right, right_folder)):
        if calibration.body_from_camera is None:
            raise CalibrationError(f"{where / 'sensor.yaml'} has no T_BS, the extrinsics of the cameras")
    extrinsics = rigid_transforms(
        np.stack([sensor.body_from_camera, right.body_from_camera]), lambda row: f"{folder}, T_BS of camera {row}"
    )
    return RightCamera(right, invert(extrinsics[1]) @ extrinsics[0])


def camera_folder(path: Path) -> Path:
    """The folder of the camera that a path means: a camera's own, or ``cam0`` of a sequence or its ``mav0``."""
    if path.name in CAMERAS:
        return path
    return (path if path.name == "mav0" else path / "mav0") / CAMERAS[0]


def _poses(folder: Path, body_from_camera: np.ndarray | None, stamps_ns: np.ndarray) -> np.ndarray:
    """The ground-truth poses (N, 4, 4) at the stamps of the images, NaN if unknown."""
    path = folder.parent / GROUND_TRUTH
    if not path.is_file():
        return np.full((len(stamps_ns), 4, 4), np.nan)
    if body_from_camera is None:
        raise CalibrationError(f"{folder / 'sensor.yaml'} has no T_BS, which the ground truth of the camera needs")
    body_from_camera = rigid_transforms(body_from_camera[None], lambda _: f"{folder / 'sensor.yaml'}, T_BS")[0]
    return read_euroc(path).at(stamps_ns) @ body_from_camera


EUROC = SourceFormat(
    name="EuRoC",
    looks_for="mav0/cam0/data.csv with sensor.yaml",
    matches=matches_euroc,
    open=open_euroc,
    options=("calibration", "stereo"),
)


CHAIN = Path("dso", "camchain.yaml")
NOISE = Path("dso", "imu_config.yaml")
TUM_VI_GROUND_TRUTH = Path("mocap0", "data.csv")


def matches_tum_vi(path: Path) -> bool:
    """Return True for a sequence, its ``mav0``, or one of its cameras."""
    folder = camera_folder(path.resolve())
    return (folder / "data.csv").is_file() and is_tum_vi(folder)


def open_tum_vi(
    path: Path, *, calibration: Path | CalibrationChoice | None = None, stereo: bool = False
) -> ImageSequence:
    """Open a sequence (its ``cam0``) or one of its cameras; ``stereo`` adds the other camera's images."""
    folder = camera_folder(path.resolve())
    root = folder.parent.parent
    listing = read_images(folder)
    camera_from_imu = _camera_from_imu(root / CHAIN, folder.name)
    poses = np.full((len(listing.names), 4, 4), np.nan)
    if (folder.parent / TUM_VI_GROUND_TRUTH).is_file():
        world_from_imu = read_euroc(folder.parent / TUM_VI_GROUND_TRUTH).at(np.array(listing.stamps_ns, dtype=np.int64))
        poses = world_from_imu @ invert(camera_from_imu)
    records = [
        ImageRecord(index, stamp_ns, folder / "data" / name, pose_or_none(pose))
        for index, stamp_ns, name, pose in zip(listing.indices, listing.stamps_ns, listing.names, poses, strict=True)
    ]
    right = None
    if stereo:
        other = OTHER_CAMERAS[folder.name]
        records = with_right_images(records, folder.parent / other)
        other_known = read_calibration(CalibrationChoice(root / CHAIN, cam=other))
        right = RightCamera(other_known, _camera_from_imu(root / CHAIN, other) @ invert(camera_from_imu))
    choice = CalibrationChoice(root / CHAIN, cam=folder.name)
    known = read_calibration(choice if calibration is None else calibration)
    return ImageSequence(
        f"{root.name}_{folder.name}",
        records,
        known,
        right=right,
        faults=listing.faults,
        imu=lambda: _tum_vi_imu(folder, root),
    )


def _tum_vi_imu(folder: Path, root: Path) -> ImuRecording | None:
    path, noise = folder.parent / IMU, root / NOISE
    if not path.is_file():
        return None
    return read_imu_files(path, root / CHAIN, noise if noise.is_file() else None, folder.name)


def _camera_from_imu(path: Path, camera: str) -> np.ndarray:
    try:
        content = (parse_yaml(str(path), "\n".join(read_lines(path))) or [None])[0]
    except CalibrationError:
        raise
    except SourceError as error:
        raise CalibrationError(str(error)) from error
    chain = content.get(camera) if isinstance(content, dict) else None
    if not isinstance(chain, dict) or "T_cam_imu" not in chain:
        raise CalibrationError(
            f"{path}: expected {camera} with T_cam_imu, which transforms the ground truth to the camera"
        )
    matrix = numbers(str(path), "T_cam_imu", chain["T_cam_imu"], 16).reshape(1, 4, 4)
    return rigid_transforms(matrix, lambda _: f"{path}, {camera}, T_cam_imu")[0]


TUM_VI = SourceFormat(
    name="TUM-VI",
    looks_for="mav0/cam0/data.csv without sensor.yaml, and dso/camchain.yaml",
    matches=matches_tum_vi,
    open=open_tum_vi,
    options=("calibration", "stereo"),
)

"""TUM-VI (Schubert et al., IROS 2018) in its EuRoC export: ``mav0/cam0``, ``mav0/mocap0`` and ``dso/camchain.yaml``.

The images are 16-bit fisheye images. There is no ``sensor.yaml``: the intrinsics and ``T_cam_imu``, which takes points
of the IMU into a camera, are in Kalibr's ``camchain.yaml``. The ground truth is of the IMU, and known at the start and
the end of most sequences only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.se3 import invert
from ros_matching.io.calibration import CalibrationChoice, read_calibration
from ros_matching.io.calibration.documents import parse_yaml
from ros_matching.io.calibration.fields import numbers
from ros_matching.io.euroc import PARTNERS, camera_folder, is_tum_vi, read_images, with_right_images
from ros_matching.io.format import SourceFormat
from ros_matching.io.poses import pose_or_none, rigid_transforms
from ros_matching.io.sequence import ImageRecord, ImageSequence, PartnerCamera
from ros_matching.io.text import read_lines
from ros_matching.io.trajectory import read_euroc

CHAIN = Path("dso", "camchain.yaml")
TRUTH = Path("mocap0", "data.csv")


def matches(path: Path) -> bool:
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
    if (folder.parent / TRUTH).is_file():
        world_from_imu = read_euroc(folder.parent / TRUTH).at(np.array(listing.stamps_ns, dtype=np.int64))
        poses = world_from_imu @ invert(camera_from_imu)
    records = [
        ImageRecord(index, stamp_ns, folder / "data" / name, pose_or_none(pose))
        for index, stamp_ns, name, pose in zip(listing.indices, listing.stamps_ns, listing.names, poses, strict=True)
    ]
    partner = None
    if stereo:
        other = PARTNERS[folder.name]
        records = with_right_images(records, folder.parent / other)
        other_known = read_calibration(CalibrationChoice(root / CHAIN, cam=other))
        partner = PartnerCamera(other_known, _camera_from_imu(root / CHAIN, other) @ invert(camera_from_imu))
    choice = CalibrationChoice(root / CHAIN, cam=folder.name)
    known = read_calibration(choice if calibration is None else calibration)
    return ImageSequence(f"{root.name}_{folder.name}", records, known, partner=partner, faults=listing.faults)


def _camera_from_imu(path: Path, camera: str) -> np.ndarray:
    try:
        content = (parse_yaml(str(path), "\n".join(read_lines(path))) or [None])[0]
    except CalibrationError:
        raise
    except SourceError as error:
        raise CalibrationError(str(error)) from error
    chain = content.get(camera) if isinstance(content, dict) else None
    if not isinstance(chain, dict) or "T_cam_imu" not in chain:
        raise CalibrationError(f"{path}: expected {camera} with T_cam_imu, which takes the ground truth to the camera")
    matrix = numbers(str(path), "T_cam_imu", chain["T_cam_imu"], 16).reshape(1, 4, 4)
    return rigid_transforms(matrix, lambda _: f"{path}, {camera}, T_cam_imu")[0]


FORMAT = SourceFormat(
    name="TUM-VI",
    looks_for="mav0/cam0/data.csv without sensor.yaml, and dso/camchain.yaml",
    matches=matches,
    open=open_tum_vi,
    options=("calibration", "stereo"),
)

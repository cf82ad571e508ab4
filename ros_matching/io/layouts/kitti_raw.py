"""KITTI raw recordings (Geiger et al., IJRR 2013): folders ``DATE_drive_NNNN_sync`` with ``image_02`` and ``oxts``.

The calibration lies in the folder of the date above, or in the drive itself: ``calib_cam_to_cam.txt`` and, for the
ground truth, ``calib_velo_to_cam.txt`` and ``calib_imu_to_velo.txt``. Drives named ``_extract`` hold images that are
neither rectified nor synchronised; they are recognised by the size that the calibration gives for such images.

Ground truth are the poses of the GPS/INS unit (``oxts``) in a Mercator plane from the first one on: x east, y north, z
up. In ``_sync`` drives a packet belongs to the image of its name; otherwise poses are interpolated.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np

from ros_matching.datatypes import ImuRecording, ImuSamples
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.io.calibration import Calibration, calibration_from_values, read_calibration
from ros_matching.io.folder import rows_of_images
from ros_matching.io.images import image_file_size, list_images
from ros_matching.io.poses import pose_or_none, rigid_transforms
from ros_matching.io.sequence import ImageRecord, ImageSequence, RightCamera
from ros_matching.io.source_format import SourceFormat
from ros_matching.io.text import numbers_by_name, read_lines, read_table
from ros_matching.io.trajectory import Trajectory

CAMERAS = ("image_02", "image_00", "image_03", "image_01")  # in order of preference: colour, then left
OTHER_CAMERAS = {"image_02": "image_03", "image_03": "image_02", "image_00": "image_01", "image_01": "image_00"}
CAMERA_FILE, VELODYNE_FILE, IMU_FILE = "calib_cam_to_cam.txt", "calib_velo_to_cam.txt", "calib_imu_to_velo.txt"
_EARTH_RADIUS_M = 6378137.0
_MAX_GAP_S = 0.25


def matches(path: Path) -> bool:
    """Return True for a drive, or one of its cameras (``image_02`` or ``image_02/data``)."""
    drive, camera = _drive_and_camera(path)
    return camera is not None and (drive / camera / "data").is_dir()


def open_kitti_raw(path: Path, *, calibration: Path | None = None, stereo: bool = False) -> ImageSequence:
    """Open a drive (its left colour camera where it has one) or one of its cameras.

    ``stereo`` adds the images of the other camera of the pair, which have the same names.
    """
    drive, camera = _drive_and_camera(path.resolve())
    if camera is None:
        raise SourceError(f"{path} has no image_02/data or other camera of a KITTI raw drive")
    images = list_images(drive / camera / "data")
    if not images:
        raise SourceError(f"{drive / camera / 'data'} holds no images")
    stamps_ns = _stamps(drive / camera / "timestamps.txt", images)
    width, height = image_file_size(images[0])
    rig = _Rig(drive, (width, height))
    poses = _poses(drive, rig, camera, images, stamps_ns)
    records = [ImageRecord(index, *fields) for index, fields in enumerate(zip(stamps_ns, images, poses, strict=True))]
    known, right = rig.calibration(camera) if calibration is None else read_calibration(calibration), None
    if stereo:
        other = OTHER_CAMERAS[camera]
        records = [replace(record, right=drive / other / "data" / record.image.name) for record in records]
        right = RightCamera(
            rig.calibration(other), rig.camera_from_camera0(other) @ invert(rig.camera_from_camera0(camera))
        )
    return ImageSequence(drive.name, records, known, right=right, imu=lambda: _imu(drive, rig, camera))


def _imu(drive: Path, rig: _Rig, camera: str) -> ImuRecording | None:
    """Read the rates and accelerations of ``oxts``: 10 Hz in ``_sync`` drives, 100 Hz in ``_extract`` ones."""
    packets = sorted((drive / "oxts" / "data").glob("*.txt"))
    if not packets or not rig.has_imu():
        return None
    tables = [read_table(packet, 20, "lat lon alt ... wx wy wz ...", is_ragged=True) for packet in packets]
    values = np.array([table.numbers(last=20)[0] for table in tables])
    stamps_ns = np.array(_stamps(drive / "oxts" / "timestamps.txt", packets), dtype=np.int64)
    samples = ImuSamples(stamps_ns, values[:, 17:20], values[:, 11:14])
    imu_from_camera = invert(rig.camera_from_camera0(camera) @ rig.camera0_from_imu())
    return ImuRecording(samples, str(drive / "oxts"), imu_from_camera, None, 0.0)


def _drive_and_camera(path: Path) -> tuple[Path, str | None]:
    if path.name == "data" and path.parent.name in CAMERAS:
        path = path.parent
    if path.name in CAMERAS:
        return path.parent, path.name
    return path, next((name for name in CAMERAS if list_images(path / name / "data")), None)


class _Rig:
    """The extrinsics of the cameras, for rectified or raw images, depending on their ``size`` (width, height)."""

    def __init__(self, drive: Path, size: tuple[int, int]) -> None:
        self._folder = next((folder for folder in (drive, drive.parent) if (folder / CAMERA_FILE).is_file()), None)
        if self._folder is None:
            raise CalibrationError(
                f"no {CAMERA_FILE} in {drive} or in {drive.parent}; download the calibration of the date"
            )
        self._origin = self._folder / CAMERA_FILE
        self._values = numbers_by_name(self._origin)
        sizes = {kind: tuple(self._get(f"S_{kind}02", 2).astype(int).tolist()) for kind in ("rect_", "")}
        self.is_rectified = sizes["rect_"] == size
        if size not in sizes.values():
            raise CalibrationError(
                f"{self._origin} is for images of {sizes['rect_']} (rectified) or {sizes['']} (raw), "
                f"but they are {size}"
            )
        self._size = size

    def calibration(self, camera: str) -> Calibration:
        """The calibration of a camera."""
        number = camera[-2:]
        if self.is_rectified:
            matrix = self._get(f"P_rect_{number}", 12).reshape(3, 4)[:, :3]
            return calibration_from_values(str(self._origin), matrix, image_size=self._size)
        matrix, distortion = self._get(f"K_{number}", 9), self._get(f"D_{number}", 5)
        return calibration_from_values(str(self._origin), matrix, "plumb_bob", distortion, self._size)

    def camera_from_camera0(self, camera: str) -> np.ndarray:
        """A camera from the (rectified or raw) camera 0, (4, 4)."""
        number = camera[-2:]
        if not self.is_rectified:
            return _rigid(self._origin, self._get(f"R_{number}", 9), self._get(f"T_{number}", 3))
        projection = self._get(f"P_rect_{number}", 12).reshape(3, 4)
        return pose_from(np.eye(3), np.linalg.solve(projection[:, :3], projection[:, 3]))

    def camera0_from_imu(self) -> np.ndarray:
        """The (rectified or raw) camera 0 from the GPS/INS unit, (4, 4)."""
        camera_from_imu = np.eye(4)
        for name in (IMU_FILE, VELODYNE_FILE):
            values = numbers_by_name(self._folder / name)
            if not {"R", "T"} <= values.keys():
                raise CalibrationError(f"{self._folder / name} has no lines R: and T:")
            camera_from_imu = _rigid(self._folder / name, values["R"], values["T"]) @ camera_from_imu
        if self.is_rectified:
            camera_from_imu = _rigid(self._origin, self._get("R_rect_00", 9), np.zeros(3)) @ camera_from_imu
        return camera_from_imu

    def has_imu(self) -> bool:
        """Return True if the extrinsics of the GPS/INS unit and the cameras are present."""
        return all((self._folder / name).is_file() for name in (IMU_FILE, VELODYNE_FILE))

    def _get(self, name: str, count: int) -> np.ndarray:
        values = self._values.get(name)
        if values is None or values.size != count or not np.isfinite(values).all():
            raise CalibrationError(f"{self._origin}: expected a line {name}: with {count} numbers")
        return values


def _rigid(origin: Path, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    if rotation.size != 9 or translation.size != 3:
        raise CalibrationError(
            f"{origin}: expected 9 numbers for R and 3 for T, got {rotation.size} and {translation.size}"
        )
    return rigid_transforms(pose_from(rotation.reshape(3, 3), translation)[None], lambda _: str(origin))[0]


def _stamps(path: Path, files: list[Path]) -> list[int]:
    """The stamps (ns) of files, by lines like ``2011-09-26 13:02:25.964389445``, taken as UTC."""
    lines = [line.strip() for line in read_lines(path) if line.strip()]
    stamps = []
    for number, line in enumerate(lines, start=1):
        whole, _, fraction = line.partition(".")
        try:
            moment = datetime.datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
            stamps.append(int(moment.timestamp()) * 10**9 + int(fraction.ljust(9, "0")[:9]))
        except ValueError:
            raise SourceError(
                f"{path}, line {number}: expected 2011-09-26 13:02:25.964389445, got {line[:60]!r}"
            ) from None
    return [stamps[row] for row in rows_of_images(path, len(stamps), files)]


def _poses(drive: Path, rig: _Rig, camera: str, images: list[Path], stamps_ns: list[int]) -> list[np.ndarray | None]:
    """``world_from_camera`` of the images, ``None`` if the drive has none."""
    packets = sorted((drive / "oxts" / "data").glob("*.txt"))
    if not packets:
        return [None] * len(images)
    if not rig.has_imu():
        raise CalibrationError(
            f"{drive} has oxts, but its calibration lacks {IMU_FILE} or {VELODYNE_FILE}, which tie it to the cameras; "
            "download the calibration of the date, or remove oxts"
        )
    world_from_imu = _mercator_poses(packets)
    imu_from_camera = invert(rig.camera_from_camera0(camera) @ rig.camera0_from_imu())
    if drive.name.endswith("_extract"):
        trajectory = Trajectory(np.array(_stamps(drive / "oxts" / "timestamps.txt", packets)), world_from_imu)
        poses = trajectory.in_order_of(drive / "oxts").at(np.array(stamps_ns), max_gap_s=_MAX_GAP_S) @ imu_from_camera
        return [pose_or_none(pose) for pose in poses]
    by_name = {packet.stem: pose @ imu_from_camera for packet, pose in zip(packets, world_from_imu, strict=True)}
    return [by_name.get(image.stem) for image in images]


def _mercator_poses(packets: list[Path]) -> np.ndarray:
    """Poses (N, 4, 4) of the GPS/INS unit: x forward, y left, z up, in metres from the first one."""
    tables = [read_table(packet, 6, "lat lon alt roll pitch yaw ...", is_ragged=True) for packet in packets]
    values = np.array([table.numbers(last=6)[0] for table in tables])
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1) | (np.abs(values[:, 0]) > 89))
    if bad.size:
        raise SourceError(
            f"{packets[bad[0]]}: expected a finite latitude (below 89 degrees), longitude, altitude and angles"
        )
    latitude, longitude = np.radians(values[:, 0]), np.radians(values[:, 1])
    scale = np.cos(latitude[0]) * _EARTH_RADIUS_M
    north = scale * np.log(np.tan(np.pi / 4 + latitude / 2))
    positions = np.column_stack([scale * longitude, north, values[:, 2]])
    roll, pitch, yaw = (exp_so3(np.outer(values[:, 3 + axis], np.eye(3)[axis])) for axis in range(3))
    return pose_from(yaw @ pitch @ roll, positions - positions[0])


FORMAT = SourceFormat(
    name="KITTI raw",
    looks_for="image_02/data with timestamps.txt, oxts/, and calib_cam_to_cam.txt there or one folder up",
    matches=matches,
    open=open_kitti_raw,
    options=("calibration", "stereo"),
)

"""Models of COLMAP (Schoenberger and Frahm, CVPR 2016): cameras, images and points, in its binary and text files.

COLMAP's poses are ``camera_from_world`` with our camera axes. Its pixel coordinates have the centre of the first pixel
at (0.5, 0.5); those of a ``ColmapModel`` have it at (0, 0), as all in this package, and are moved in its files.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.se3 import pose_from, quaternion_from_rotation, rotation_from_quaternion
from ros_matching.io.text import stream_lines

NO_POINT = -1
_PIXEL_CENTER = 0.5
# Name and number of parameters by the number of a model in binary files.
_MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    12: ("SIMPLE_DIVISION", 4),
    13: ("DIVISION", 5),
    14: ("SIMPLE_FISHEYE", 3),
    15: ("FISHEYE", 4),
}
_MODEL_NUMBERS = {name: number for number, (name, _) in _MODELS.items()}
_MAX_NAME = 4096


@dataclass(frozen=True)
class ModelCamera:
    """A camera: the name of COLMAP's ``model`` and its ``parameters``, in COLMAP's pixel coordinates."""

    id: int
    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class ModelImage:
    """An image of known pose; pixels ``points_px`` (P, 2) observe points ``point_ids`` (P,), ``NO_POINT`` for none."""

    id: int
    name: str
    camera_id: int
    camera_from_world: np.ndarray
    points_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    point_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class ModelPoints:
    """Points: ``ids`` (N,), ``positions`` (N, 3), ``colors`` (N, 3) uint8 RGB, ``errors_px`` (N,) of reprojection."""

    ids: np.ndarray
    positions: np.ndarray
    colors: np.ndarray
    errors_px: np.ndarray


@dataclass(frozen=True)
class ColmapModel:
    """Cameras by their ids and images; the points of models that are read are left out."""

    cameras: Mapping[int, ModelCamera]
    images: Sequence[ModelImage]
    points: ModelPoints | None = None


def pinhole_camera(id: int, width: int, height: int, matrix: np.ndarray) -> ModelCamera:
    """The camera of undistorted images with the calibration matrix K (3, 3)."""
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2] + _PIXEL_CENTER, matrix[1, 2] + _PIXEL_CENTER
    return ModelCamera(id, "PINHOLE", width, height, tuple(map(float, (fx, fy, cx, cy))))


def is_model(folder: Path) -> bool:
    """Return True for a folder with ``cameras`` and ``images``, both binary or both text."""
    return any(all((folder / f"{name}.{kind}").is_file() for name in ("cameras", "images")) for kind in ("bin", "txt"))


def read_model(folder: Path) -> ColmapModel:
    """Read cameras and images of a model; of the two forms the binary one, as COLMAP does.

    Raises ``SourceError`` that names the file and the line or byte.
    """
    if (folder / "cameras.bin").is_file() and (folder / "images.bin").is_file():
        cameras, images = _read_binary_cameras(folder / "cameras.bin"), _read_binary_images(folder / "images.bin")
    else:
        cameras, images = _read_text_cameras(folder / "cameras.txt"), _read_text_images(folder / "images.txt")
    for image in images:
        if image.camera_id not in cameras:
            raise SourceError(f"{folder}: image {image.name} is of camera {image.camera_id}, which is not in cameras")
    return ColmapModel(cameras, images)


def write_model(folder: Path, model: ColmapModel, *, as_text: bool = False) -> list[Path]:
    """Write cameras, images and points; the paths written. Raises ``OSError``."""
    points = model.points or ModelPoints(
        np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0)
    )
    tracks = _tracks(model.images)
    writers = (
        ("cameras", (_camera_lines if as_text else _camera_bytes)(model.cameras)),
        ("images", (_image_lines if as_text else _image_bytes)(model.images)),
        ("points3D", (_point_lines if as_text else _point_bytes)(points, tracks)),
    )
    written = []
    for name, content in writers:
        path = folder / f"{name}.{'txt' if as_text else 'bin'}"
        write_atomic(path, "".join(content) if as_text else b"".join(content))
        written.append(path)
    return written


def _tracks(images: Sequence[ModelImage]) -> dict[int, list[tuple[int, int]]]:
    """Image id and row in its points of all that see a point, by the point's id."""
    tracks: dict[int, list[tuple[int, int]]] = {}
    for image in images:
        for row in np.flatnonzero(image.point_ids != NO_POINT).tolist():
            tracks.setdefault(int(image.point_ids[row]), []).append((image.id, row))
    return tracks


def _pose_values(image: ModelImage) -> list[float]:
    """The quaternion w x y z and the translation."""
    x, y, z, w = quaternion_from_rotation(image.camera_from_world[:3, :3]).tolist()
    return [w, x, y, z, *image.camera_from_world[:3, 3].tolist()]


def _camera_lines(cameras: Mapping[int, ModelCamera]) -> Iterator[str]:
    yield "# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]\n"
    for camera in cameras.values():
        yield f"{camera.id} {camera.model} {camera.width} {camera.height} {' '.join(map(repr, camera.parameters))}\n"


def _image_lines(images: Sequence[ModelImage]) -> Iterator[str]:
    yield "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line with X Y POINT3D_ID of each keypoint\n"
    for image in images:
        yield f"{image.id} {' '.join(map(repr, _pose_values(image)))} {image.camera_id} {image.name}\n"
        rows = zip((image.points_px + _PIXEL_CENTER).tolist(), image.point_ids.tolist(), strict=True)
        yield " ".join(f"{x:.3f} {y:.3f} {point}" for (x, y), point in rows) + "\n"


def _point_lines(points: ModelPoints, tracks: Mapping[int, list[tuple[int, int]]]) -> Iterator[str]:
    yield "# POINT3D_ID X Y Z R G B ERROR TRACK[] as IMAGE_ID, POINT2D_IDX\n"
    columns = (points.ids.tolist(), points.positions.tolist(), points.colors.tolist(), points.errors_px.tolist())
    for id, position, color, error in zip(*columns, strict=True):
        track = " ".join(f"{image} {row}" for image, row in tracks.get(id, []))
        yield f"{id} {' '.join(map(repr, position))} {' '.join(map(str, color))} {error:.4f} {track}\n"


def _camera_bytes(cameras: Mapping[int, ModelCamera]) -> Iterator[bytes]:
    yield struct.pack("<Q", len(cameras))
    for camera in cameras.values():
        yield struct.pack("<iiQQ", camera.id, _MODEL_NUMBERS[camera.model], camera.width, camera.height)
        yield struct.pack(f"<{len(camera.parameters)}d", *camera.parameters)


def _image_bytes(images: Sequence[ModelImage]) -> Iterator[bytes]:
    yield struct.pack("<Q", len(images))
    for image in images:
        yield struct.pack("<i7di", image.id, *_pose_values(image), image.camera_id) + image.name.encode() + b"\0"
        keypoints = np.zeros(len(image.points_px), dtype=[("x", "<f8"), ("y", "<f8"), ("id", "<i8")])
        keypoints["x"], keypoints["y"] = (image.points_px + _PIXEL_CENTER).T
        keypoints["id"] = image.point_ids
        yield struct.pack("<Q", len(keypoints)) + keypoints.tobytes()


def _point_bytes(points: ModelPoints, tracks: Mapping[int, list[tuple[int, int]]]) -> Iterator[bytes]:
    yield struct.pack("<Q", len(points.ids))
    columns = (points.ids.tolist(), points.positions.tolist(), points.colors.tolist(), points.errors_px.tolist())
    for id, position, color, error in zip(*columns, strict=True):
        track = tracks.get(id, [])
        yield struct.pack("<Q3d3BdQ", id, *position, *color, error, len(track))
        yield np.array(track, dtype="<i4").tobytes()


def _read_text_cameras(path: Path) -> dict[int, ModelCamera]:
    cameras = {}
    for number, line in _numbered_lines(path):
        cells = line.split()
        try:
            id, model, width, height = int(cells[0]), cells[1], int(cells[2]), int(cells[3])
            cameras[id] = ModelCamera(id, model, width, height, tuple(map(float, cells[4:])))
        except (ValueError, IndexError):
            raise CalibrationError(
                f"{path}, line {number}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS[], got {line[:80]!r}"
            ) from None
    return cameras


def _read_text_images(path: Path) -> list[ModelImage]:
    """Yield the two lines of each image; the second, with the keypoints, may be empty."""
    images, is_pose = [], True
    for number, line in _numbered_lines(path, with_empty=True):
        if not is_pose:
            is_pose = True
        elif line:
            is_pose = False
            cells = line.split(maxsplit=9)
            try:
                id, values, camera_id, name = int(cells[0]), list(map(float, cells[1:8])), int(cells[8]), cells[9]
            except (ValueError, IndexError):
                raise SourceError(
                    f"{path}, line {number}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, got {line[:80]!r}"
                ) from None
            images.append(ModelImage(id, name, camera_id, _pose(f"{path}, line {number}", values)))
    return images


def _numbered_lines(path: Path, *, with_empty: bool = False) -> Iterator[tuple[int, str]]:
    """The lines, stripped, that are no comments, with their numbers."""
    for number, line in enumerate(stream_lines(path), start=1):
        stripped = line.strip()
        if not stripped.startswith("#") and (stripped or with_empty):
            yield number, stripped


def _pose(where: str, values: Sequence[float]) -> np.ndarray:
    """``camera_from_world`` of w x y z and a translation; COLMAP's quaternions are normalised here."""
    w, x, y, z = values[:4]
    if not np.isfinite(values).all() or not 1e-6 < np.linalg.norm(values[:4]) < 1e6:
        raise SourceError(f"{where}: expected a finite quaternion w x y z and translation, got {list(values)}")
    return pose_from(rotation_from_quaternion(np.array([x, y, z, w])), np.array(values[4:]))


class _Bytes:
    """A binary file, read from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} cannot be read ({error})") from error

    def unpack(self, layout: str) -> tuple:
        """The next values of a ``struct`` layout."""
        return struct.unpack_from(layout, self._data, self._skip(struct.calcsize(layout)))

    def count(self, least_bytes: int) -> int:
        """Read the number of the next records, each of a minimum size."""
        (count,) = self.unpack("<Q")
        left = len(self._data) - self._offset
        if count * least_bytes > left:
            raise SourceError(
                f"{self._path}, byte {self._offset}: {count} records are announced, but {left} bytes are left; "
                "is it cut off, or not a model of COLMAP?"
            )
        return count

    def text(self) -> str:
        """The next text, which a zero byte ends."""
        end = self._data.find(b"\0", self._offset, self._offset + _MAX_NAME)
        if end < 0:
            raise SourceError(f"{self._path}, byte {self._offset}: expected a name that ends; is it cut off?")
        name = self._data[self._offset : end]
        self._offset = end + 1
        return name.decode(errors="replace")

    def skip(self, count: int) -> None:
        """Skip ``count`` bytes."""
        self._skip(count)

    def where(self) -> str:
        """The current position, for messages."""
        return f"{self._path}, byte {self._offset}"

    def _skip(self, count: int) -> int:
        start = self._offset
        if start + count > len(self._data):
            raise SourceError(f"{self._path} ends at byte {len(self._data)}, within a record; is it cut off?")
        self._offset += count
        return start


def _read_binary_cameras(path: Path) -> dict[int, ModelCamera]:
    data, cameras = _Bytes(path), {}
    for _ in range(data.count(48)):
        id, number, width, height = data.unpack("<iiQQ")
        if number not in _MODELS:
            raise CalibrationError(f"{data.where()}: the camera model number {number} is not known")
        name, count = _MODELS[number]
        cameras[id] = ModelCamera(id, name, width, height, data.unpack(f"<{count}d"))
    return cameras


def _read_binary_images(path: Path) -> list[ModelImage]:
    data, images = _Bytes(path), []
    for _ in range(data.count(73)):
        where = data.where()
        id, *values, camera_id = data.unpack("<i7di")
        name = data.text()
        data.skip(24 * data.count(24))
        images.append(ModelImage(id, name, camera_id, _pose(where, values)))
    return images

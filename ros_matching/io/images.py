"""Image files: colour images and depth maps, with errors that name the file."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.errors import SourceError
from ros_matching.io.encodings import decode_compressed, decode_payload, metres_from_raw, payload_size

_MAX_BYTES = 1 << 28  # of one file
_MAX_FILES = 1_000_000


@dataclass(frozen=True)
class ArchivedFile:
    """A file in an open archive; it has the names of a ``Path``, and its content."""

    path: Path  # of the archive
    member: str
    archive: zipfile.ZipFile = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name without its folders."""
        return PurePosixPath(self.member).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.member).stem

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return PurePosixPath(self.member).suffix

    @property
    def folder(self) -> str:
        """The folders within the archive, empty at its top."""
        parent = str(PurePosixPath(self.member).parent)
        return "" if parent == "." else parent

    @property
    def parent(self) -> Path:
        """The archive, for messages."""
        return self.path

    def __str__(self) -> str:
        return f"{self.path}/{self.member}"

    def read_bytes(self) -> bytes:
        """The content; raises ``SourceError`` if it is damaged, encrypted or too large."""
        try:
            size = self.archive.getinfo(self.member).file_size
            if size > _MAX_BYTES:
                raise SourceError(f"it has {size} bytes; files of up to {_MAX_BYTES} bytes are read from archives")
            return self.archive.read(self.member)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            raise SourceError(f"it cannot be unpacked ({error})") from error


def archived_files(path: Path) -> list[ArchivedFile]:
    """The files of a zip archive; raises ``SourceError`` if it is missing or none."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as a zip archive ({error}); is it cut off?") from error
    if len(archive.namelist()) > _MAX_FILES:
        raise SourceError(f"{path} holds {len(archive.namelist())} files; up to {_MAX_FILES} are read")
    return [ArchivedFile(path, member, archive) for member in archive.namelist() if not member.endswith("/")]


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


def list_archived_images(archive: Path, folder: str = "") -> list[ArchivedFile]:
    """The image files of a folder in a zip archive, as ``list_images`` orders them, without unpacking it."""
    files = [file for file in archived_files(archive) if file.folder == folder]
    files = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")]
    return sorted(files, key=natural_order)


def list_images(folder: Path, pattern: str = "*") -> list[Path]:
    """The image files of a folder in the order of their names, numbers by value (``2.png`` before ``10.png``).

    Hidden files are left out: some systems create ``._0001.jpg`` with ``0001.jpg``, which is no image.
    """
    if not folder.is_dir():
        return []
    paths = [path for path in folder.glob(pattern) if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted((path for path in paths if not path.name.startswith(".")), key=natural_order)


def read_image(path: Path | ArchivedFile) -> np.ndarray:
    """The colour image of a file, (H, W, 3) uint8 RGB, as it is stored (a camera's EXIF orientation is left alone).

    Raises ``SourceError`` if it is missing, cut off or no image.
    """
    try:
        return decode_compressed(_bytes(path))
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error


def image_file_size(path: Path | ArchivedFile) -> tuple[int, int]:
    """The width and height that the header of an image file states."""
    try:
        return payload_size(_bytes(path))
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error


def read_depth(path: Path, units_per_metre: float, width: int, height: int) -> np.ndarray:
    """A depth map for an image of ``width`` x ``height``: (height, width) float32 metres, NaN unknown (stored as 0).

    A map that is smaller by a whole number k holds every k-th pixel: its pixel (u, v) is pixel (k u, k v) of the image,
    and the pixels between are unknown. Besides 16-bit images there are float32 arrays (``.npy``) and PNGs whose pixels
    are the four bytes of a float32 (TartanAir), both in metres.
    """
    mismatch = f"expected a depth map of the image's size {width}x{height} or of every k-th pixel of it, got "
    try:
        if path.suffix.lower() == ".npy":
            depth = _depth_of_array(path, width, height, mismatch)
        else:
            depth = _depth_of_image(path, units_per_metre, width, height, mismatch)
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    if depth.shape == (height, width):
        return depth
    step = -(-width // depth.shape[1])
    sparse = np.full((height, width), np.nan, dtype=np.float32)
    if sparse[::step, ::step].shape != depth.shape:
        raise SourceError(f"{path}: {mismatch}{depth.shape[1]}x{depth.shape[0]}")
    sparse[::step, ::step] = depth
    return sparse


def _depth_of_image(path: Path, units_per_metre: float, width: int, height: int, mismatch: str) -> np.ndarray:
    payload = _bytes(path)
    raw_width, raw_height = payload_size(payload)
    if raw_width > width or raw_height > height:
        raise SourceError(f"{mismatch}{raw_width}x{raw_height}")
    raw = decode_payload(payload)
    if raw.ndim == 2 and raw.dtype == np.uint16:
        return metres_from_raw(raw, units_per_metre)
    if raw.ndim == 3 and raw.shape[2] == 4 and raw.dtype == np.uint8:
        return _known_depth(np.ascontiguousarray(raw).view("<f4")[..., 0])
    raise SourceError(f"expected a 16-bit image of one channel as depth, got {raw.shape} {raw.dtype}")


def _depth_of_array(path: Path, width: int, height: int, mismatch: str) -> np.ndarray:
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)  # the header alone
    except FileNotFoundError:
        raise SourceError("there is no such file") from None
    except Exception as error:  # NumPy parses the header as Python, which can raise any error
        raise SourceError(f"it cannot be read as an array ({error})") from error
    if stored.ndim != 2 or stored.dtype.kind != "f":
        raise SourceError(f"expected an array (H, W) of floats as depth, got {stored.shape} {stored.dtype}")
    if stored.shape[0] > height or stored.shape[1] > width or 0 in stored.shape:
        raise SourceError(f"{mismatch}{stored.shape[1]}x{stored.shape[0]}")
    return _known_depth(np.asarray(stored))


def _known_depth(metres: np.ndarray) -> np.ndarray:
    """Depth in metres (H, W) as float32, NaN where it is not finite and positive."""
    with np.errstate(over="ignore"):
        depth = metres.astype(np.float32)
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


def read_raw_depth(path: Path) -> np.ndarray:
    """The values (h, w) uint16 of a depth map as they are stored, 0 unknown; ``SourceError`` for other depth maps."""
    try:
        raw = decode_payload(_bytes(path))
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise SourceError(f"{path}: expected a 16-bit image of one channel as depth, got {raw.shape} {raw.dtype}")
    return raw


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image atomically, encoded by the file's suffix: (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16.

    Raises ``OSError``.
    """
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    encoded, payload = cv2.imencode(path.suffix, stored)
    if not encoded:
        raise OSError(f"{path}: an image of shape {image.shape} cannot be encoded as {path.suffix}")
    write_atomic(path, payload.tobytes())


def _bytes(path: Path | ArchivedFile) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SourceError("there is no such file") from None
    except OSError as error:
        raise SourceError(f"it cannot be read ({error.strerror})") from error


def number_of_name(file: Path | ArchivedFile) -> int:
    """The number that a file's name ends with, before its suffix; raises ``SourceError`` if it has none."""
    digits = re.search(r"(\d{1,9})$", file.stem)
    if digits is None:
        raise SourceError(f"{file}: expected a file name that ends with a number")
    return int(digits[1])


def natural_order(path: Path | ArchivedFile) -> list[tuple[int, int, str]]:
    """The key that sorts names with their numbers by value: ``2.png`` before ``10.png``."""
    return _natural_key(path.name)


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Names with their folders in the order of ``natural_order``."""
    return sorted(names, key=_natural_key)


def _natural_key(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]

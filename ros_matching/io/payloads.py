"""Compressed images: the size in the header of a JPEG, PNG or other image file, and its pixels, or why it has none."""

from __future__ import annotations

import io
import re
from types import ModuleType
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ros_matching.errors import MissingDependencyError, SourceError

if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview | np.ndarray

MAX_PIXELS = 2**26
"""The largest image that is decoded: 67 megapixels. A file of 100 kB may claim to be of any size."""

_MAX_SCANS = 200  # of a JPEG: a progressive one has about ten, and each costs time in proportion to the whole image

# Warnings of libjpeg that whole images cause too: many USB cameras pad the end of their JPEG images.
_HARMLESS = re.compile(
    r"\b(\d|1[0-6]) extraneous bytes before marker 0xd9|SOS parameters for sequential"
    r"|Adobe color transform|JFIF revision"
)


def payload_size(data: Buffer, most_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of a compressed image by its header; nothing is decoded.

    Raises ``SourceError`` where it is empty, no image, or has more than ``most_pixels``.
    """
    payload = bytes(memoryview(data).cast("B"))
    if not payload:
        raise SourceError("the image holds no data")
    width, height = _jpeg_header(payload)[:2] if _is_jpeg(payload) else _size_by_pillow(payload)
    if width * height > most_pixels:
        raise SourceError(
            f"the image is {width}x{height} by its header, in {len(payload)} bytes; images of up to "
            f"{most_pixels} pixels are read"
        )
    return width, height


def decode_payload(data: Buffer) -> np.ndarray:
    """The pixels of a JPEG, PNG or other image file as they are: OpenCV's channel order, 8 or 16 bit.

    Raises ``SourceError`` when it is empty, unreadable, too large, cut off or damaged. Decoders fill up what is missing
    in a JPEG and return the image; here the warnings of libjpeg count as errors.
    """
    width, height = payload_size(data)
    payload = bytes(memoryview(data).cast("B"))
    if _is_cut_off(payload):
        raise SourceError(f"the image is cut off after {len(payload)} bytes")
    image = _decode_jpeg(payload) if _is_jpeg(payload) else _decode_by_opencv(payload)
    if image.shape[:2] != (height, width):
        raise SourceError(f"the image is {width}x{height} by its header, but {image.shape[1]}x{image.shape[0]}")
    return image


def _simplejpeg() -> ModuleType:
    try:
        import simplejpeg
    except ImportError as error:  # rosdep does not know it
        raise MissingDependencyError("JPEG images need simplejpeg; install it with: pip install simplejpeg") from error
    return simplejpeg


def _is_jpeg(payload: bytes) -> bool:
    return payload.startswith(b"\xff\xd8")


def _is_cut_off(payload: bytes) -> bool:
    """Return True for a JPEG or PNG without its end. Entropy-coded data hold no markers: the last scan needs an EOI."""
    if _is_jpeg(payload):
        return payload.rfind(b"\xff\xd9") < payload.rfind(b"\xff\xda") or b"\xff\xd9" not in payload
    return payload.startswith(b"\x89PNG") and payload.rfind(b"IEND") < 0


def _jpeg_header(payload: bytes) -> tuple[int, int, str]:
    """Width, height and color space of a JPEG; the latter empty for a subsampling that simplejpeg does not know."""
    simplejpeg = _simplejpeg()
    try:
        height, width, color_space, _ = simplejpeg.decode_jpeg_header(payload, strict=False)
    except (ValueError, KeyError) as error:  # KeyError: color components that no JPEG has
        if "subsampling" in str(error):
            return *_size_by_pillow(payload), ""
        raise SourceError(f"the image cannot be decoded: it is no whole JPEG ({error})") from error
    return width, height, color_space


def _size_by_pillow(payload: bytes) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(payload)) as header:  # reads no pixels
            return header.size
    except Image.DecompressionBombError as error:
        raise SourceError(f"the image is too large to be read: {error}") from error
    except Exception as error:  # a damaged header raises whatever the format's parser fails with
        raise SourceError(
            f"the image cannot be decoded: {len(payload)} bytes, starting {payload[:8]!r}, are no known image file"
        ) from error


def _decode_jpeg(payload: bytes) -> np.ndarray:
    simplejpeg = _simplejpeg()
    scans = payload.count(b"\xff\xda")
    if scans > _MAX_SCANS:
        raise SourceError(f"the image is damaged: a JPEG has up to {_MAX_SCANS} scans, got {scans}")
    color_space = _jpeg_header(payload)[2]
    if color_space not in ("Gray", "RGB", "YCbCr"):
        return _decode_by_opencv(payload)
    target = "GRAY" if color_space == "Gray" else "BGR"
    try:
        image = simplejpeg.decode_jpeg(payload, target)
    except ValueError as error:
        if not _HARMLESS.search(str(error)):
            raise SourceError(f"the image is damaged: {error}") from error
        image = simplejpeg.decode_jpeg(payload, target, strict=False)
    return image[:, :, 0] if target == "GRAY" else image


def _decode_by_opencv(payload: bytes) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise SourceError(f"the image cannot be decoded ({error})") from error
    if image is None:
        raise SourceError(f"the image cannot be decoded: {len(payload)} bytes, starting {payload[:8]!r}")
    return image

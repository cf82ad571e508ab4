"""Pixels from bytes: the encodings of ``sensor_msgs/Image`` and the payloads of ``sensor_msgs/CompressedImage``.

Colour comes out as (H, W, 3) uint8 RGB. Sixteen-bit images are brought to eight bits by the full range,
``round(value * 255 / 65535)``, as cv_bridge does; 12-bit data in 16-bit words must be scaled by the driver. ``8UC3``
and ``8UC4`` carry no channel order and are taken in OpenCV's, BGR and BGRA. ``16UC1`` as an image is ``mono16``.
"""

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

    Raises ``SourceError`` if it is empty, no image, or has more than ``most_pixels``.
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

    Raises ``SourceError`` when it is empty, unreadable, too large, cut off or damaged. Decoders fill up missing parts
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


# name -> bytes per channel, channels, OpenCV conversion to RGB (None: it is RGB already).
# OpenCV names a Bayer pattern by its second row, ROS by its first: bayer_rggb is COLOR_BayerBG.
_PACKED: dict[str, tuple[int, int, int | None]] = {
    "mono8": (1, 1, cv2.COLOR_GRAY2RGB),
    "mono16": (2, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, 1, cv2.COLOR_GRAY2RGB),
    "16UC1": (2, 1, cv2.COLOR_GRAY2RGB),
    "rgb8": (1, 3, None),
    "rgb16": (2, 3, None),
    "bgr8": (1, 3, cv2.COLOR_BGR2RGB),
    "bgr16": (2, 3, cv2.COLOR_BGR2RGB),
    "8UC3": (1, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (1, 4, cv2.COLOR_RGBA2RGB),
    "rgba16": (2, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (1, 4, cv2.COLOR_BGRA2RGB),
    "bgra16": (2, 4, cv2.COLOR_BGRA2RGB),
    "8UC4": (1, 4, cv2.COLOR_BGRA2RGB),
    "bayer_rggb8": (1, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, 1, cv2.COLOR_BayerGB2RGB),
    "bayer_rggb16": (2, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr16": (2, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg16": (2, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg16": (2, 1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (1, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (1, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (1, 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (1, 2, cv2.COLOR_YUV2RGB_YUY2),
}
# Luma plane of H rows, then interleaved chroma of H / 2 rows of the same step.
_SEMI_PLANAR: dict[str, int] = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}

IMAGE_ENCODINGS: tuple[str, ...] = (*_PACKED, *_SEMI_PLANAR)
DEPTH_ENCODINGS: tuple[str, ...] = ("16UC1", "mono16", "32FC1")


def decode_image(
    data: Buffer, encoding: str, width: int, height: int, step: int = 0, is_bigendian: bool = False
) -> np.ndarray:
    """The colour image of a raw ``sensor_msgs/Image``: (height, width, 3) uint8 RGB.

    ``step`` is the row length in bytes (0: rows are packed). An unpadded ``rgb8`` image is a view of ``data``, as
    read-only as that is. Raises ``SourceError`` for an unknown encoding, a wrong size, or too few bytes.
    """
    if encoding in _SEMI_PLANAR:
        if width % 2 or height % 2:
            raise SourceError(f"a {encoding} image needs even sides, got {width}x{height}")
        rows = _rows(data, encoding, np.dtype(np.uint8), 1, width, height * 3 // 2, step)
        return cv2.cvtColor(rows, _SEMI_PLANAR[encoding])
    if encoding not in _PACKED:
        raise SourceError(f"image encoding {encoding!r} is not supported; supported are: {', '.join(IMAGE_ENCODINGS)}")
    size, channels, conversion = _PACKED[encoding]
    if encoding.startswith("bayer") and (width < 2 or height < 2):
        raise SourceError(f"a {encoding} image needs at least 2x2 pixels, got {width}x{height}")
    if conversion in (cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2RGB_YUY2) and width % 2:
        raise SourceError(f"a {encoding} image needs an even width, got {width}")
    image = _rows(data, encoding, _word(size, is_bigendian), channels, width, height, step)
    return _to_rgb8(image, conversion)


def decode_depth(
    data: Buffer, encoding: str, width: int, height: int, step: int = 0, is_bigendian: bool = False
) -> np.ndarray:
    """The depth image of a raw ``sensor_msgs/Image``: (height, width) float32 metres, NaN where unknown (REP-118).

    16-bit depth is in millimetres with 0 unknown; ``32FC1`` is in metres, and values that are not finite and positive
    are unknown. Raises ``SourceError`` as ``decode_image``.
    """
    if encoding not in DEPTH_ENCODINGS:
        raise SourceError(f"depth encoding {encoding!r} is not supported; supported are: {', '.join(DEPTH_ENCODINGS)}")
    if encoding == "32FC1":
        dtype = np.dtype(">f4" if is_bigendian else "<f4")
        depth = _rows(data, encoding, dtype, 1, width, height, step).astype(np.float32)
        depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
        return depth
    return metres_from_raw(_rows(data, encoding, _word(2, is_bigendian), 1, width, height, step), units_per_metre=1000)


def metres_from_raw(raw: np.ndarray, units_per_metre: float) -> np.ndarray:
    """Integer depth (H, W) with 0 unknown as float32 metres with NaN unknown."""
    depth = raw.astype(np.float32)
    depth[raw == 0] = np.nan
    depth /= np.float32(units_per_metre)
    return depth


def decode_compressed(data: Buffer, format: str = "") -> np.ndarray:
    """The colour image of a ``sensor_msgs/CompressedImage`` or of an image file's bytes: (H, W, 3) uint8 RGB.

    ``format`` is the message's field, such as ``jpeg`` or ``bayer_rggb8; jpeg compressed``: only a Bayer pattern named
    in it matters, the payload contains the rest. Raises ``SourceError`` for data that cannot be decoded or are cut off.
    """
    if "compressedDepth" in format:
        raise SourceError(
            f"a compressed colour image was expected, got depth (format {format!r}); choose a colour topic"
        )
    image = decode_payload(data)
    channels = 1 if image.ndim == 2 else image.shape[2]
    source = format.split(";")[0].strip()
    if channels == 1 and source.startswith("bayer") and source in _PACKED:
        return _to_rgb8(image, _PACKED[source][2])
    conversions = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    if channels not in conversions or image.dtype.itemsize > 2:
        raise SourceError(
            f"an image of 1, 3 or 4 channels of 8 or 16 bit was expected, got {channels} of {image.dtype}"
        )
    return _to_rgb8(image, conversions[channels])


def _word(size: int, is_bigendian: bool) -> np.dtype:
    return np.dtype(np.uint8) if size == 1 else np.dtype(">u2" if is_bigendian else "<u2")


def _rows(
    data: Buffer, encoding: str, dtype: np.dtype, channels: int, width: int, height: int, step: int
) -> np.ndarray:
    """View ``data`` as (height, width[, channels]) of ``dtype``, without the padding of rows."""
    if width < 1 or height < 1:
        raise SourceError(f"an image needs a positive size, got {width}x{height} ({encoding})")
    row_bytes = width * channels * dtype.itemsize
    step = step or row_bytes
    buffer = np.frombuffer(data, np.uint8)
    needed = step * (height - 1) + row_bytes  # the last row may come without its padding
    if step < row_bytes or buffer.size < needed:
        raise SourceError(
            f"a {width}x{height} {encoding} image needs rows of at least {row_bytes} bytes and {needed} bytes in all, "
            f"got rows of {step} and {buffer.size} in all"
        )
    rows = np.lib.stride_tricks.as_strided(buffer, (height, row_bytes), (step, 1), writeable=buffer.flags.writeable)
    if dtype.itemsize > 1:
        rows = np.ascontiguousarray(rows)  # a step need not be a multiple of the word
    pixels = rows.view(dtype)
    return pixels if channels == 1 else pixels.reshape(height, width, channels)


def _to_rgb8(image: np.ndarray, conversion: int | None) -> np.ndarray:
    if image.dtype != np.uint8:
        image = cv2.convertScaleAbs(image.astype(np.uint16, copy=False), alpha=255 / 65535)
    if conversion is None:
        return image if image.flags.c_contiguous else np.ascontiguousarray(image)
    return cv2.cvtColor(image, conversion)

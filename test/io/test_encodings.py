"""Pixels of known value in every encoding, and what must be refused."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ros_matching.errors import SourceError
from ros_matching.io.encodings import (
    DEPTH_ENCODINGS,
    IMAGE_ENCODINGS,
    decode_compressed,
    decode_depth,
    decode_image,
)

W, H = 8, 6
ORDERS = {"rgb8": "rgb", "bgr8": "bgr", "8UC3": "bgr", "rgba8": "rgba", "bgra8": "bgra", "8UC4": "bgra"}
ORDERS |= {"rgb16": "rgb", "bgr16": "bgr", "rgba16": "rgba", "bgra16": "bgra"}


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)


def in_order(rgb: np.ndarray, order: str) -> np.ndarray:
    alpha = np.full((*rgb.shape[:2], 1), 77, np.uint8)
    return np.ascontiguousarray(np.concatenate([rgb, alpha], axis=2)[..., ["rgba".index(c) for c in order]])


def padded(rows: np.ndarray, padding: int) -> tuple[bytes, int]:
    """The bytes of an image with rows that are longer than they need be, and their length."""
    flat = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    wide = np.pad(flat, ((0, 0), (0, padding)), constant_values=200)
    return wide.tobytes(), wide.shape[1]


@pytest.mark.parametrize("encoding", ORDERS)
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("big", [False, True])
def test_colour_channels_come_out_in_rgb(rgb: np.ndarray, encoding: str, padding: int, big: bool) -> None:
    pixels = in_order(rgb, ORDERS[encoding])
    if encoding.endswith("16"):
        pixels = (pixels.astype(np.uint16) * 257).astype(">u2" if big else "<u2")
    data, step = padded(pixels, padding)
    np.testing.assert_array_equal(decode_image(data, encoding, W, H, step, big), rgb)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16", "16UC1"])
@pytest.mark.parametrize("big", [False, True])
def test_grey_fills_all_channels(encoding: str, big: bool) -> None:
    grey = np.arange(H * W, dtype=np.uint8).reshape(H, W)
    pixels = (grey.astype(np.uint16) * 257).astype(">u2" if big else "<u2") if "16" in encoding else grey
    image = decode_image(pixels.tobytes(), encoding, W, H, 0, big)
    np.testing.assert_array_equal(image, np.dstack([grey] * 3))


def test_sixteen_bits_become_eight_by_the_full_range() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(values * (255 / 65535)).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(values.tobytes(), "mono16", 256, 256)[..., 1], expected)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_bayer_of_one_colour_decodes_to_that_colour(pattern: str, bits: int) -> None:
    colour = {"r": 200, "g": 100, "b": 30}
    mosaic = np.zeros((H, W), np.uint16)
    for place, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        mosaic[row::2, column::2] = colour[pattern[place]]
    data = mosaic.astype(np.uint8) if bits == 8 else mosaic * 257
    image = decode_image(data.tobytes(), f"bayer_{pattern}{bits}", W, H)
    np.testing.assert_array_equal(image, np.broadcast_to([200, 100, 30], (H, W, 3)))


def yuv_of(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """ITU-R BT.601, limited range."""
    r, g, b = (c / 255 for c in rgb)
    y = 16 + 65.481 * r + 128.553 * g + 24.966 * b
    u = 128 - 37.797 * r - 74.203 * g + 112.0 * b
    v = 128 + 112.0 * r - 93.786 * g - 18.214 * b
    return round(y), round(u), round(v)


@pytest.mark.parametrize("rgb", [(200, 40, 90), (10, 250, 128), (128, 128, 128)])
@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"])
def test_yuv_of_one_colour_decodes_to_that_colour(encoding: str, rgb: tuple[int, int, int]) -> None:
    y, u, v = yuv_of(rgb)
    if encoding.startswith("nv"):
        chroma = [u, v] if encoding == "nv12" else [v, u]
        data = bytes([y] * W * H + chroma * (W * H // 4))
    else:
        data = bytes(([u, y, v, y] if encoding in ("yuv422", "uyvy") else [y, u, y, v]) * (W * H // 2))
    image = decode_image(data, encoding, W, H)
    assert image.shape == (H, W, 3)
    assert np.abs(image.astype(int) - rgb).max() <= 2


@pytest.mark.parametrize(
    "kind", [bytes, bytearray, memoryview, lambda b: array.array("B", b), lambda b: np.frombuffer(b, np.uint8)]
)
def test_any_buffer_will_do(rgb: np.ndarray, kind) -> None:
    np.testing.assert_array_equal(decode_image(kind(rgb.tobytes()), "rgb8", W, H, W * 3), rgb)


def test_an_unpadded_rgb_image_is_not_copied(rgb: np.ndarray) -> None:
    assert np.shares_memory(decode_image(rgb.reshape(-1), "rgb8", W, H), rgb)


def test_the_last_row_may_lack_its_padding(rgb: np.ndarray) -> None:
    data, step = padded(rgb, 8)
    np.testing.assert_array_equal(decode_image(data[:-8], "rgb8", W, H, step), rgb)
    with pytest.raises(SourceError, match="bytes in all"):
        decode_image(data[:-9], "rgb8", W, H, step)


@pytest.mark.parametrize("encoding", IMAGE_ENCODINGS)
def test_too_few_bytes_are_refused(encoding: str) -> None:
    with pytest.raises(SourceError, match=f"{encoding}.*got rows of"):
        decode_image(bytes(W * H // 2), encoding, W, H)


@pytest.mark.parametrize(
    ("encoding", "width", "height", "step", "expected"),
    [
        ("rgb8", 0, 6, 0, "positive size"),
        ("rgb8", 8, 6, 23, "rows of at least 24"),
        ("yuv422", 7, 6, 0, "even width"),
        ("nv12", 8, 5, 0, "even sides"),
        ("bayer_rggb8", 8, 1, 0, "at least 2x2"),
    ],
)
def test_sizes_that_cannot_be_are_refused(encoding: str, width: int, height: int, step: int, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        decode_image(bytes(1000), encoding, width, height, step)


def test_an_unknown_encoding_lists_the_known() -> None:
    with pytest.raises(SourceError, match=r"'64FC1' is not supported.*rgb8.*yuv422"):
        decode_image(b"", "64FC1", W, H)
    with pytest.raises(SourceError, match="16UC1, mono16, 32FC1"):
        decode_depth(b"", "rgb8", W, H)


@pytest.mark.parametrize("big", [False, True])
def test_depth_is_in_metres_with_nan_where_unknown(big: bool) -> None:
    millimetres = np.array([[0, 1000], [2500, 65535]], dtype=">u2" if big else "<u2")
    expected = np.array([[np.nan, 1.0], [2.5, 65.535]], dtype=np.float32)
    np.testing.assert_allclose(decode_depth(millimetres.tobytes(), "16UC1", 2, 2, 0, big), expected)
    metres = np.array([[-1.0, 0.0], [np.inf, 2.5]], dtype=">f4" if big else "<f4")
    expected = np.array([[np.nan, np.nan], [np.nan, 2.5]], dtype=np.float32)
    decoded = decode_depth(metres.tobytes(), "32FC1", 2, 2, 0, big)
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == np.float32
    assert "32FC1" in DEPTH_ENCODINGS


@given(
    st.sampled_from(IMAGE_ENCODINGS), st.integers(1, 9), st.integers(1, 9), st.integers(0, 90), st.binary(max_size=700)
)
@settings(deadline=None, max_examples=100)
def test_any_bytes_give_an_image_or_a_source_error(
    encoding: str, width: int, height: int, step: int, data: bytes
) -> None:
    try:
        image = decode_image(data, encoding, width, height, step)
    except SourceError:
        return
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8


def smooth_image() -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_compressed_images_come_out_in_rgb(suffix: str) -> None:
    rgb = smooth_image()
    data = cv2.imencode(suffix, rgb[..., ::-1])[1].tobytes()
    assert np.abs(decode_compressed(data, f"bgr8; {suffix[1:]} compressed bgr8").astype(int) - rgb).mean() < 3


def test_compressed_grey_alpha_and_sixteen_bits() -> None:
    rgb = smooth_image()
    for pixels in (rgb[..., 0], np.dstack([rgb[..., ::-1], rgb[..., 0]]), rgb[..., ::-1].astype(np.uint16) * 257):
        expected = rgb if pixels.ndim == 3 else np.dstack([rgb[..., 0]] * 3)
        np.testing.assert_array_equal(decode_compressed(cv2.imencode(".png", pixels)[1]), expected)


def test_a_compressed_bayer_image_is_demosaiced() -> None:
    mosaic = np.tile(np.array([[200, 100], [100, 30]], np.uint8), (5, 5))
    image = decode_compressed(cv2.imencode(".png", mosaic)[1], "bayer_rggb8; png compressed ")
    np.testing.assert_array_equal(image[3:-3, 3:-3], np.broadcast_to([200, 100, 30], (4, 4, 3)))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".ppm"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_cut_off_images_are_refused(suffix: str, share: float) -> None:
    data = cv2.imencode(suffix, smooth_image())[1].tobytes()
    with pytest.raises(SourceError, match=r"cut off|cannot be decoded|no data"):
        decode_compressed(data[: int(share * len(data))])


def test_a_jpeg_with_a_thumbnail_that_is_cut_off_is_refused() -> None:
    data = cv2.imencode(".jpg", smooth_image())[1].tobytes()
    thumbnail = b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data  # an APP1 segment that holds a whole JPEG
    whole = data[:2] + thumbnail + data[2:]
    assert decode_compressed(whole).shape == (60, 80, 3)
    with pytest.raises(SourceError, match="cut off"):
        decode_compressed(whole[: len(whole) - 200])


def test_depth_is_not_taken_for_colour() -> None:
    with pytest.raises(SourceError, match="choose a colour topic"):
        decode_compressed(b"", "16UC1; compressedDepth png")

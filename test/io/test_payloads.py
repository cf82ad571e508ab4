"""Compressed images: whole ones of every kind, damaged ones, and headers that claim too much."""

from __future__ import annotations

import struct
import sys

import cv2
import numpy as np
import pytest
from limited import huge_png, run_limited

from ros_matching.errors import MissingDependencyError, SourceError
from ros_matching.io.encodings import MAX_PIXELS, decode_payload, payload_size

WIDTH, HEIGHT = 160, 120


def photo() -> np.ndarray:
    """An image with structure everywhere, so that every part of its JPEG holds many bits."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def jpeg(*settings: int, grey: bool = False) -> bytes:
    image = photo()[:, :, 0] if grey else photo()
    return cv2.imencode(".jpg", image, list(settings))[1].tobytes()


KINDS = {
    "baseline": (),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart markers": (cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
    "optimised": (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    "no subsampling": (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
}


def scan_start(data: bytes) -> int:
    """Where the entropy-coded bytes of the first scan begin."""
    marker = data.index(b"\xff\xda")
    return marker + 2 + int.from_bytes(data[marker + 2 : marker + 4], "big")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grey", [False, True])
def test_a_whole_jpeg_has_the_pixels_that_opencv_reads(kind, grey):
    data = jpeg(*KINDS[kind], grey=grey)
    assert payload_size(data) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(
        decode_payload(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_part_of_a_jpeg_with_an_end_marker_is_damaged(kind, kept):
    data = jpeg(*KINDS[kind])
    start = scan_start(data)
    with pytest.raises(SourceError, match="damaged"):
        decode_payload(data[: start + int(kept * (len(data) - start))] + b"\xff\xd9")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_noise_inside_a_jpeg_is_damage(kind, seed):
    data, rng = bytearray(jpeg(*KINDS[kind])), np.random.default_rng(seed)
    start = int(rng.integers(scan_start(data), len(data) - 410))
    data[start : start + 400] = rng.integers(0, 256, 400, dtype=np.uint8).tobytes()
    with pytest.raises(SourceError, match=r"damaged|cannot be decoded|cut off"):
        decode_payload(bytes(data))


def test_padding_before_the_end_as_usb_cameras_send_it_is_no_damage():
    data = jpeg()
    np.testing.assert_array_equal(decode_payload(data[:-2] + b"\0" * 4 + b"\xff\xd9"), decode_payload(data))
    with pytest.raises(SourceError, match="damaged"):
        decode_payload(data[:-2] + b"\0" * 100 + b"\xff\xd9")


def test_noise_inside_a_png_is_damage():
    data = bytearray(cv2.imencode(".png", photo())[1].tobytes())
    data[len(data) // 2] ^= 0x55
    with pytest.raises(SourceError, match="cannot be decoded"):
        decode_payload(bytes(data))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff", ".ppm", ".pgm"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_header_states_the_size_of_every_kind_of_file(suffix, dtype):
    image = photo()[:, :, 0] if suffix == ".pgm" else photo()
    if dtype is np.uint16 and suffix in (".bmp", ".webp"):
        pytest.skip("the format has 8 bit")
    data = cv2.imencode(suffix, image.astype(dtype))[1].tobytes()
    assert payload_size(data) == (WIDTH, HEIGHT)
    assert decode_payload(data).shape[:2] == (HEIGHT, WIDTH)


def huge_jpeg(side: int) -> bytes:
    data = bytearray(jpeg())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(data)


@pytest.mark.parametrize("make", [huge_png, huge_jpeg])
def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(make, tmp_path):
    side = 32000
    assert side**2 > MAX_PIXELS
    file = tmp_path / "huge"
    file.write_bytes(make(side))
    printed = run_limited(
        "import cv2, simplejpeg\n"
        "from PIL import Image\n"
        "from pathlib import Path\n"
        "from ros_matching.io.images import read_depth, read_image\n"
        "Image.init(); limit_memory(100)\n"
        f"file = Path({str(file)!r})\n"
        "for read in (read_image, lambda path: read_depth(path, 1000.0, 320, 240)):\n"
        "    try: read(file)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    assert printed.count("SourceError") == 2
    assert "32000x32000" in printed or "1024000000 pixels" in printed


def test_a_depth_map_larger_than_its_image_is_refused_before_memory_is_taken(tmp_path):
    from ros_matching.io.images import read_depth

    cv2.imwrite(str(tmp_path / "depth.png"), np.ones((HEIGHT, WIDTH), np.uint16))
    with pytest.raises(SourceError, match=r"depth.png.*80x60.*160x120"):
        read_depth(tmp_path / "depth.png", 1000.0, 80, 60)


def test_an_unusual_subsampling_is_read():
    data = bytearray(cv2.imencode(".jpg", np.full((48, 48, 3), 99, np.uint8))[1].tobytes())
    components = data.index(b"\xff\xc0") + 10
    for row in range(3):
        data[components + 1 + 3 * row] = (0x31, 0x11, 0x11)[row]
    assert payload_size(bytes(data)) == (48, 48)


def test_a_jpeg_of_endless_scans_is_refused():
    data = jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(SourceError, match="scans"):
        decode_payload(data[:last] + data[last:-2] * 300 + b"\xff\xd9")


def test_without_simplejpeg_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _, payload = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(MissingDependencyError, match="pip install simplejpeg"):
        decode_payload(payload)

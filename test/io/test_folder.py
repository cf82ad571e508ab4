"""The image folder: its frames, and the errors of its files."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from recordings import HEIGHT, WIDTH, K, colour, folder, image, matrix_text, pose, write, write_image

from ros_matching.datatypes import Frame
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io import FrameSource, open_source
from ros_matching.io.faults import FrameFault


def frames_and_faults(path: Path) -> tuple[list[Frame], list[FrameFault]]:
    source = open_source(path)
    return list(source), list(source.faults)


def test_frames_are_delivered_with_all_that_is_known(tmp_path: Path) -> None:
    source = open_source(folder(tmp_path / "walk"))
    assert isinstance(source, FrameSource)
    assert (source.name, len(source)) == ("walk", 4)
    assert (source.camera.width, source.camera.height) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(source.camera.matrix, K)
    for _ in range(2):  # a source may be read again
        frames = list(source)
        assert [frame.index for frame in frames] == [0, 1, 2, 3]
        assert [frame.stamp_ns for frame in frames] == [1_000_000_000, 1_033_333_333, 1_066_666_667, 1_100_000_000]
        for index, frame in enumerate(frames):
            np.testing.assert_array_equal(frame.image, image(index))
            np.testing.assert_allclose(frame.true_world_from_camera, pose(index), atol=1e-12)
            assert frame.depth is None


def test_a_plain_folder_of_images_will_do(tmp_path: Path) -> None:
    for index in (2, 10, 9):  # numbers without leading zeros come by value
        write_image(tmp_path / f"{index}.png", image(index))
    write(tmp_path / "._2.png", "what macOS leaves behind")
    write(tmp_path / "K.txt", matrix_text(K))
    frames = list(open_source(tmp_path, fps=10))
    assert [tuple(frame.image[0, 0]) for frame in frames] == [tuple(colour(index)) for index in (2, 9, 10)]
    assert [frame.stamp_ns for frame in frames] == [1_000_000_000, 1_100_000_000, 1_200_000_000]
    assert all(frame.true_world_from_camera is None for frame in frames)


def test_stamps_come_from_times(tmp_path: Path) -> None:
    write(folder(tmp_path) / "times.txt", "1403636580.838555648\n1403636581\n1403636581.5\n1403636582\n")
    stamps_ns = [frame.stamp_ns for frame in open_source(tmp_path)]
    assert stamps_ns[:2] == [1_403_636_580_838_555_648, 1_403_636_581_000_000_000]


START = 1_403_636_579_763_555_584


@pytest.mark.parametrize(
    "name",
    [
        lambda ns: f"{ns}",
        lambda ns: f"{ns // 1000}",
        lambda ns: f"{ns // 10**6}",
        lambda ns: f"{ns // 10**9}.{ns % 10**9:09d}",
        lambda ns: f"{ns // 10**9}.{ns % 10**9 // 1000:06d}",
        lambda ns: f"frame_{ns // 10**9}.{ns % 10**9:09d}".rstrip("0"),  # decimals of different lengths
        lambda ns: f"{ns // 10**9}_{ns % 10**9:09d}",
        lambda ns: f"{(ns - START + 5 * 10**8) / 1e9:.6f}",  # seconds since the start
    ],
)
def test_names_may_be_stamps(name, tmp_path: Path) -> None:
    expected = [START + index * 33_333_333 for index in range(13)]
    for index, stamp_ns in enumerate(expected):
        write_image(tmp_path / "images" / f"{name(stamp_ns)}.png", image(index))
    write(tmp_path / "K.txt", matrix_text(K))
    frames = list(open_source(tmp_path))
    assert [tuple(frame.image[0, 0]) for frame in frames] == [tuple(colour(index)) for index in range(13)]
    steps = np.diff([frame.stamp_ns for frame in frames])
    assert np.abs(steps - 33_333_333).max() <= 10**6  # of milliseconds
    assert frames[0].stamp_ns in (5 * 10**8, *range(START - 10**6, START + 1))
    assert [frame.stamp_ns for frame in open_source(tmp_path, fps=10)][:2] == [10**9, 11 * 10**8]


def test_whole_seconds_since_1970_are_stamps(tmp_path: Path) -> None:
    for index in range(3):
        write_image(tmp_path / f"{1_403_636_579 + 2 * index}.jpg", image(index))
    write(tmp_path / "K.txt", matrix_text(K))
    assert [frame.stamp_ns for frame in open_source(tmp_path)] == [
        1_403_636_579 * 10**9 + 2 * 10**9 * k for k in range(3)
    ]


@pytest.mark.parametrize("names", [["0000000005", "0000000006"], ["img_1", "img_2"], ["1.5", "x"], ["left", "right"]])
def test_numbers_and_words_are_no_stamps(names: list[str], tmp_path: Path) -> None:
    for index, name in enumerate(names):
        write_image(tmp_path / f"{name}.png", image(index))
    write(tmp_path / "K.txt", matrix_text(K))
    assert [frame.stamp_ns for frame in open_source(tmp_path)] == [10**9, 1_033_333_333]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["20231105123045123", "20231105123045156"], "years 2000 to 2100"),  # a date
        (["1403636579763555584", "1403636579763555585"], "1e-09 s apart"),
        (["1403636579.5", "1403936579.5"], "3e\\+05 s apart"),
        (["1403636579.5", "1403636579.50"], "the same stamp"),
    ],
)
def test_names_that_are_no_plausible_stamps_are_refused(names: list[str], expected: str, tmp_path: Path) -> None:
    for index, name in enumerate(names):
        write_image(tmp_path / f"{name}.png", image(index))
    write(tmp_path / "K.txt", matrix_text(K))
    with pytest.raises(SourceError, match=expected):
        open_source(tmp_path)
    assert len(open_source(tmp_path, fps=20)) == 2


def test_poses_may_be_3x4(tmp_path: Path) -> None:
    lines = (folder(tmp_path) / "poses.txt").read_text().splitlines()
    write(tmp_path / "poses.txt", "\n".join(",".join(text.split()[:12]) for text in lines))
    for frame in open_source(tmp_path):
        np.testing.assert_allclose(frame.true_world_from_camera, pose(frame.index), atol=1e-12)


def test_a_pose_that_is_nan_is_unknown(tmp_path: Path) -> None:
    lines = (folder(tmp_path) / "poses.txt").read_text().splitlines()
    lines[1] = " ".join(["nan"] * 16)
    write(tmp_path / "poses.txt", "\n".join(lines))
    poses = [frame.true_world_from_camera for frame in open_source(tmp_path)]
    assert [known is None for known in poses] == [False, True, False, False]


def test_depth_of_half_the_size_is_known_at_every_second_pixel(tmp_path: Path) -> None:
    folder(tmp_path)
    millimetres = np.arange(WIDTH // 2 * HEIGHT // 2, dtype=np.uint16).reshape(HEIGHT // 2, WIDTH // 2)
    write_image(tmp_path / "depth" / "00001.png", millimetres)
    frames = list(open_source(tmp_path))
    assert [frame.depth is None for frame in frames] == [True, False, True, True]
    depth = frames[1].depth
    assert depth.shape == (HEIGHT, WIDTH)
    assert depth.dtype == np.float32
    expected = np.where(millimetres == 0, np.nan, millimetres / 1000)
    np.testing.assert_allclose(depth[::2, ::2], expected, rtol=1e-6)
    assert np.isfinite(depth).sum() == millimetres.size - 1


@pytest.mark.parametrize(("width", "height"), [(WIDTH, HEIGHT), (WIDTH // 3, HEIGHT // 3), (10, 9), (16, 18)])
def test_depth_sizes(width: int, height: int, tmp_path: Path) -> None:
    folder(tmp_path)
    write_image(tmp_path / "depth" / "00000.png", np.full((height, width), 1500, np.uint16))
    step = WIDTH // width
    if (width, height) == (10, 9) or step * height != HEIGHT:
        frames, faults = frames_and_faults(tmp_path)
        assert frames[0].depth is None
        assert f"got {width}x{height}" in faults[0].reason
    else:
        depth = next(iter(open_source(tmp_path))).depth
        assert (depth[::step, ::step] == 1.5).all()


def test_depth_of_another_camera_is_left_out(tmp_path: Path) -> None:
    write(folder(tmp_path) / "K_depth.txt", matrix_text(K))
    write_image(tmp_path / "depth" / "00000.png", np.full((HEIGHT, WIDTH), 1500, np.uint16))
    assert next(iter(open_source(tmp_path))).depth is None


def test_depth_of_another_camera_can_be_registered(tmp_path: Path) -> None:
    wider = K.copy()
    wider[0, 0], wider[1, 1] = 0.5 * K[0, 0], 0.5 * K[1, 1]
    write(folder(tmp_path) / "K_depth.txt", matrix_text(wider))
    raw = np.full((HEIGHT, WIDTH), 1500, np.uint16)
    center = np.round(K[:2, 2]).astype(int)
    raw[center[1], center[0]] = 2000
    write_image(tmp_path / "depth" / "00000.png", raw)
    depth = next(iter(open_source(f"{tmp_path}?register_depth=true"))).depth
    assert depth[center[1], center[0]] == pytest.approx(2)
    # One pixel from the centre of the depth image is two from that of the image.
    assert depth[center[1], center[0] + 2] == pytest.approx(1.5)
    known = np.isfinite(depth)
    assert 0.2 < known.mean() < 0.3
    assert np.isin(np.round(depth[known], 3), [1.5, 2.0]).all()


def test_depth_must_be_of_sixteen_bits(tmp_path: Path) -> None:
    write_image(folder(tmp_path) / "depth" / "00000.png", image(0))
    frames, faults = frames_and_faults(tmp_path)
    assert frames[0].depth is None
    assert [(fault.index, fault.skipped) for fault in faults] == [(0, False)]
    assert "00000.png: expected a 16-bit image" in faults[0].reason


def test_a_missing_calibration_names_the_expected_files(tmp_path: Path) -> None:
    (folder(tmp_path) / "K.txt").unlink()
    with pytest.raises(CalibrationError, match=r"no calibration in .*K\.txt.*calibration=PATH"):
        open_source(tmp_path)


@pytest.mark.parametrize("first", [0, 1])
def test_images_that_were_lost_are_found_by_their_numbers(first: int, tmp_path: Path) -> None:
    images = folder(tmp_path, 5) / "images"
    for index in reversed(range(5)):
        (images / f"{index:05d}.png").rename(images / f"{index + first:05d}.png")
    (images / f"{2 + first:05d}.png").unlink()
    write(tmp_path / "times.txt", "10\n11\n12\n13\n14\n")
    frames, faults = frames_and_faults(tmp_path)
    assert [frame.stamp_ns for frame in frames] == [10_000_000_000, 11_000_000_000, 13_000_000_000, 14_000_000_000]
    for frame, index in zip(frames, (0, 1, 3, 4), strict=True):
        np.testing.assert_allclose(frame.true_world_from_camera, pose(index), atol=1e-9)
        assert tuple(frame.image[5, 5]) == tuple(colour(index))
    assert not faults


def test_more_poses_than_images_without_frame_numbers(tmp_path: Path) -> None:
    images = folder(tmp_path) / "images"
    (images / "00000.png").unlink()
    with pytest.raises(SourceError, match=r"poses.txt holds 4 lines for 3 images"):
        open_source(tmp_path)  # 1 to 4 without 4, or 0 to 3 without 0?
    (images / "00001.png").rename(images / "a.png")
    with pytest.raises(SourceError, match=r"poses.txt holds 4 lines for 3 images"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("poses.txt", "1 0 0 0 0 1 0 0", r"poses.txt, line 1: expected 16 values .* cut off"),
        ("poses.txt", "2" + " 0" * 15, r"poses.txt, line 1: expected a rigid transform"),
        ("poses.txt", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 1 1", r"poses.txt, line 1: expected a rigid transform"),
        ("times.txt", "0\n1\nnow\n2\n", r"times.txt, line 3: expected a stamp in seconds"),
        ("times.txt", "\n# nothing\n", r"times.txt holds no lines"),
        ("K.txt", "1 0 0\n0 1 0\n", r"K.txt: expected a 3x3 calibration matrix"),
        ("K.txt", "0 0 0\n0 0 0\n0 0 0\n", r"K.txt: K is all zero"),
        ("K.txt", "40 0 500\n0 40 20\n0 0 1\n", r"K.txt has its principal point at \(500, 20\), outside"),
    ],
)
def test_files_that_are_wrong(name: str, text: str, expected: str, tmp_path: Path) -> None:
    write(folder(tmp_path) / name, text)
    with pytest.raises(SourceError, match=expected):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("times", "stamps_s", "skipped"),
    [
        ("5\n6\n6\n7\n", [5, 6, 7], [2]),
        ("5\n6\n\n7\n", [5, 6, 7], [2]),
        ("5\nnan\n6\n7\n", [5, 6, 7], [1]),
        ("# stamps\n5\n6\n7\n", [5, 6, 7], [3]),
        ("5\n99\n6\n7\n", [5, 6, 7], [1]),
        ("5\n7\n6\n8\n", [5, 7, 8], [2]),
    ],
)
def test_a_frame_without_a_good_stamp_is_skipped(
    times: str, stamps_s: list[int], skipped: list[int], tmp_path: Path
) -> None:
    write(folder(tmp_path) / "times.txt", times)
    frames, faults = frames_and_faults(tmp_path)
    assert [frame.stamp_ns for frame in frames] == [stamp * 1_000_000_000 for stamp in stamps_s]
    assert [frame.index for frame in frames] == [index for index in range(4) if index not in skipped]
    assert [fault.index for fault in faults] == skipped


@pytest.mark.parametrize("index", [0, 2, 3])
def test_a_damaged_image_is_skipped_and_named(index: int, tmp_path: Path) -> None:
    path = folder(tmp_path) / "images" / f"{index:05d}.png"
    path.write_bytes(path.read_bytes()[:60])
    source = open_source(tmp_path)
    for _ in range(2):  # also when iterated again
        assert [frame.index for frame in source] == [other for other in range(4) if other != index]
        assert [fault.index for fault in source.faults] == [index]
        assert f"{path.name}: the image is cut off" in source.faults[0].reason
    with pytest.raises(SourceError, match="cut off"):
        source.frame(index)
    others = open_source(tmp_path, start=index + 1) if index < 3 else open_source(tmp_path, stop=index)
    assert list(others)
    assert not others.faults


@pytest.mark.parametrize("index", [0, 2])
def test_an_image_of_another_size_is_skipped_and_named(index: int, tmp_path: Path) -> None:
    write_image(folder(tmp_path) / "images" / f"{index:05d}.png", image(index, width=30))
    frames, faults = frames_and_faults(tmp_path)
    assert [frame.index for frame in frames] == [other for other in range(4) if other != index]
    assert f"{index:05d}.png is 30x36, but the sequence is of 48x36" in faults[0].reason


def test_a_folder_without_any_good_image_is_an_error(tmp_path: Path) -> None:
    for path in (folder(tmp_path) / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"00000\.png"):
        open_source(tmp_path)


def test_images_are_undistorted(tmp_path: Path) -> None:
    """A dot at a known pixel of the distorted image appears where the delivered camera images its ray."""
    width, height, k1 = 160, 120, -0.2
    dot = np.zeros((height, width, 3), np.uint8)
    cv2.circle(dot, (130, 90), 3, (255, 255, 255), -1)
    write_image(tmp_path / "0.png", dot)
    write(
        tmp_path / "camera.yaml",
        f"image_width: {width}\nimage_height: {height}\n"
        "camera_matrix: {rows: 3, cols: 3, data: [120, 0, 80, 0, 120, 60, 0, 0, 1]}\n"
        "distortion_model: plumb_bob\n"
        f"distortion_coefficients: {{rows: 1, cols: 5, data: [{k1}, 0, 0, 0, 0]}}\n",
    )
    source = open_source(tmp_path)
    (frame,) = source
    # The ray of pixel (130, 90): solve r (1 + k1 r^2) = distorted radius.
    distorted = np.array([50, 30]) / 120
    radius = np.linalg.norm(distorted)
    real = np.roots([k1, 0, 1, -radius])
    true_radius = min(root.real for root in real if abs(root.imag) < 1e-9 and root.real > 0)
    ray = np.array([[*(distorted / radius * true_radius), 1.0]])
    rows, columns = np.nonzero(frame.image[..., 0] > 127)
    np.testing.assert_allclose([columns.mean(), rows.mean()], source.camera.project(ray)[0], atol=0.5)
    assert frame.camera == source.camera
    assert source.camera.is_pinhole


def test_leaving_early_leaves_no_thread(tmp_path: Path) -> None:
    source = open_source(folder(tmp_path))
    before = threading.active_count()
    for _ in source:
        break
    assert threading.active_count() == before

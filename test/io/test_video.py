"""Video files: frames, stamps, calibration next to them, and damaged files."""

from __future__ import annotations

import gc
import struct
import time
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from recordings import K, colour, image, matrix_text, write

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io import open_source
from ros_matching.io.video_reader import VideoReader

av = pytest.importorskip("av")

COUNT = 12
SIZE = (64, 48)
TICKS = 1000  # a second, in the stamps of the tests
EVEN = [50 * index for index in range(COUNT)]
VARIABLE = [0, 50, 100, 140, 300, 310, 700, 1500, 1550, 1600, 4000, 4100]


def video(
    path: Path,
    ticks: Sequence[int] = EVEN,
    codec: str = "mjpeg",
    pixels: str = "yuvj420p",
    images: Iterable[np.ndarray] | None = None,
    **options: str,
) -> Path:
    """A video of uniform images at given times in milliseconds, with a calibration next to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [image(index, *SIZE) for index in range(len(ticks))] if images is None else list(images)
    try:
        container = av.open(str(path), "w")
        stream = container.add_stream(codec, rate=20, options=options)
    except ValueError:
        pytest.skip(f"this PyAV has no {codec}")
    with container:
        stream.width, stream.height = images[0].shape[1], images[0].shape[0]
        stream.pix_fmt = pixels
        steps = Fraction(1, 20) if path.suffix == ".avi" else Fraction(1, TICKS)
        stream.time_base = stream.codec_context.time_base = steps
        for tick, rgb in zip(ticks, images, strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = round(Fraction(tick, TICKS) / steps), steps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    write(path.with_name("K.txt"), matrix_text(K))
    return path


def check(source, indices: Sequence[int], ticks: Sequence[int], tolerance: int = 6) -> None:
    frames = list(source)
    assert [frame.index for frame in frames] == list(indices)
    assert [frame.stamp_ns for frame in frames] == [10**9 + (ticks[index] - ticks[0]) * 10**6 for index in indices]
    for frame in frames:
        assert np.abs(frame.image.mean(axis=(0, 1)) - colour(frame.index)).max() < tolerance


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("drive.avi", "mjpeg", "yuvj420p", {}),
        ("drive.mp4", "libx264", "yuv420p", {"qp": "2", "bf": "3"}),
        ("drive.mp4", "libx265", "yuv420p", {"x265-params": "log-level=none:qp=2"}),
        ("drive.mov", "libx264", "yuv444p", {"qp": "2", "g": "5"}),
        ("drive.mkv", "libx264", "yuv420p", {"qp": "2", "bf": "3", "g": "6"}),
        ("drive.mkv", "ffv1", "yuv420p10le", {}),
        ("drive.webm", "libvpx-vp9", "yuv420p", {"lossless": "1"}),
        ("drive.ts", "libx264", "yuv420p", {"qp": "2"}),
        ("drive.avi", "ffv1", "bgr0", {}),
        ("drive.avi", "rawvideo", "bgr24", {}),
        ("drive.avi", "mpeg4", "yuv420p", {"qmin": "1", "qmax": "2", "bf": "2"}),
        ("drive.avi", "libx264", "yuv420p", {"qp": "2", "bf": "2"}),
    ],
)
def test_frames_in_order_with_even_stamps(name: str, codec: str, pixels: str, options: dict, tmp_path: Path) -> None:
    source = open_source(video(tmp_path / name, EVEN, codec, pixels, **options))
    assert (source.name, len(source), source.camera.width) == ("drive", COUNT, 64)
    for _ in range(2):
        check(source, range(COUNT), EVEN)
        assert source.faults == []


@pytest.mark.parametrize("name", ["drive.mp4", "drive.mkv"])
def test_a_variable_frame_rate_keeps_its_stamps(name: str, tmp_path: Path) -> None:
    path = video(tmp_path / name, VARIABLE, "libx264", "yuv420p", qp="2", bf="3")
    source = open_source(path)
    check(source, range(COUNT), VARIABLE)
    assert source.faults == []
    check(open_source(path, start=3, stop=11, stride=3), [3, 6, 9], VARIABLE)
    stamps = [frame.stamp_ns for frame in open_source(path, fps=10)]
    assert stamps == [10**9 + 100_000_000 * index for index in range(COUNT)]


def test_selected_frames(tmp_path: Path) -> None:
    source = open_source(video(tmp_path / "drive.avi"), start=2, stop=9, stride=3, fps=10)
    check(source, [2, 5, 8], [100 * index for index in range(COUNT)])
    again = open_source(f"{tmp_path / 'drive.avi'}?start=2&stride=3", start=1, stop=3)
    assert [frame.index for frame in again] == [5, 8]
    assert [frame.index for frame in open_source(tmp_path / "drive.avi", start=-3)] == [9, 10, 11]


@pytest.mark.parametrize("name", ["drive.mp4", "drive.mkv", "drive.avi", "drive.ts"])
def test_frames_far_from_the_beginning_are_the_same_and_sought(name: str, tmp_path: Path) -> None:
    ticks = [50 * index + (0 if name == "drive.avi" else 7 * (index % 5)) for index in range(260)]
    path = video(tmp_path / name, ticks, "libx264", "yuv420p", qp="8", bf="3", g="25", sc_threshold="0")
    whole = {frame.index: frame for frame in open_source(path)}
    assert len(whole) == 260
    for start, stop, stride in ((120, 256, 45), (200, 260, 1), (249, 260, 7)):
        frames = list(open_source(path, start=start, stop=stop, stride=stride))
        assert [frame.index for frame in frames] == list(range(start, stop, stride))
        for frame in frames:
            assert frame.stamp_ns == whole[frame.index].stamp_ns
            np.testing.assert_array_equal(frame.image, whole[frame.index].image)
    if name in ("drive.mp4", "drive.mkv"):
        assert VideoReader(path, 249).count >= 200  # frames before are not decoded


def test_streams_without_stamps_have_their_nominal_rate(tmp_path: Path, caplog) -> None:
    path = video(tmp_path / "drive.h264", EVEN, "libx264", "yuv420p", qp="2", bf="2")
    assert len(open_source(path)) == COUNT
    assert "has no stamps" in caplog.text
    check(open_source(path, fps=20), range(COUNT), EVEN)


def test_an_animation(tmp_path: Path) -> None:
    check(open_source(video(tmp_path / "drive.gif", EVEN, "gif", "rgb8")), range(COUNT), EVEN, tolerance=48)


def test_the_calibration_of_the_video_precedes_that_of_the_folder(tmp_path: Path) -> None:
    path = video(tmp_path / "drive.avi")
    write(tmp_path / "drive.K.txt", matrix_text(K * [[1.5], [1], [1]] - [[0, 0, 10], [0, 0, 0], [0, 0, 0]]))
    assert open_source(path).camera.fx == 60
    (tmp_path / "drive.K.txt").unlink()
    assert open_source(path).camera.fx == 40
    (tmp_path / "K.txt").unlink()
    with pytest.raises(CalibrationError, match=r"expected one of drive\.yaml.*K\.txt"):
        open_source(path)


@pytest.mark.parametrize(
    ("codec", "pixels"),
    [
        ("ffv1", "gray"),
        ("ffv1", "gray16le"),
        ("ffv1", "yuv422p10le"),
        ("ffv1", "yuva420p"),
        ("ffv1", "gbrp12le"),
        ("rawvideo", "nv12"),
        ("png", "rgba"),
        ("libx264rgb", "rgb24"),
    ],
)
def test_odd_pixel_formats(codec: str, pixels: str, tmp_path: Path) -> None:
    grey = [np.full((48, 64, 3), 20 * index + 8, np.uint8) for index in range(4)]
    frames = list(open_source(video(tmp_path / "drive.mkv", EVEN[:4], codec, pixels, images=grey)))
    assert len(frames) == 4
    for frame, expected in zip(frames, grey, strict=True):
        assert np.abs(frame.image.astype(int) - expected).max() < 6


def test_sides_that_are_odd(tmp_path: Path) -> None:
    images = [np.full((35, 47, 3), 100, np.uint8)] * 3
    (tmp_path / "drive").mkdir()
    frame = next(iter(open_source(video(tmp_path / "drive.mkv", EVEN[:3], "ffv1", "yuv420p", images=images))))
    assert frame.image.shape == (35, 47, 3)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_video_is_rotated_by_its_metadata(quarters: int, tmp_path: Path) -> None:
    """The display matrix of an MP4 in the header of its track, 3x3 in fixed point, rotates clockwise."""
    corner = np.zeros((48, 64, 3), np.uint8)
    corner[:24, :32] = 250
    path = video(tmp_path / "drive.mp4", EVEN[:4], "libx264", "yuv444p", images=[corner] * 4, qp="2")
    data = bytearray(path.read_bytes())
    unit = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(unit, data.index(b"tkhd"))
    cos, sin = [(0, 1), (-1, 0), (0, -1)][quarters - 1]
    data[at : at + 36] = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    write(tmp_path / "K.txt", matrix_text(K[[1, 0, 2]][:, [1, 0, 2]] if quarters % 2 else K))
    frame = next(iter(open_source(path)))
    expected = np.rot90(corner, -quarters)
    assert frame.image.shape == expected.shape
    assert np.abs(frame.image.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("fraction", [0.0, 0.01])
def test_a_file_without_frames_is_refused(fraction: float, tmp_path: Path) -> None:
    path = video(tmp_path / "drive.avi")
    data = path.read_bytes()
    path.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(SourceError, match=r"drive.avi (is empty|cannot be opened as a video|holds no)"):
        open_source(path)


def test_a_file_without_images_or_without_its_index(tmp_path: Path) -> None:
    write(tmp_path / "K.txt", matrix_text(K))
    with av.open(str(tmp_path / "song.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(SourceError, match="holds no video stream, but audio"):
        open_source(tmp_path / "song.mkv")
    path = video(tmp_path / "drive.mp4", EVEN, "libx264", "yuv420p")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov")])
    with pytest.raises(SourceError, match="moov"):
        open_source(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SourceError, match="git lfs pull"):
        open_source(path)


def noise(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8) for index in range(count)]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("drive.avi", "mjpeg", {}),
        ("drive.mkv", "libx264", {"g": "6"}),
        ("drive.ts", "libx264", {"g": "6"}),
        ("drive.mp4", "libx264", {"g": "6"}),
    ],
)
def test_a_file_that_is_cut_off_is_read_up_to_the_cut(name: str, codec: str, options: dict, tmp_path: Path) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = video(tmp_path / name, [100 * index for index in range(60)], codec, pixels, images=noise(60), **options)
    if name == "drive.mp4":
        faststart(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source = open_source(path)
    frames = list(source)
    assert 20 < len(frames) < 40
    assert [frame.index for frame in frames] == list(range(len(frames)))
    if name != "drive.ts":  # which states neither a number of frames nor a duration
        assert "cut off" in source.faults[-1].reason


def faststart(path: Path) -> None:
    """Write the index of an MP4 before its data, as cameras and servers do."""
    whole = path.with_name("whole.mp4")
    path.rename(whole)
    with av.open(str(whole)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)


@pytest.mark.parametrize(
    ("name", "codec", "keyframes"),
    [("drive.avi", "mjpeg", 1), ("drive.mkv", "libx264", 6), ("drive.mp4", "libx264", 6)],
)
def test_a_damaged_packet_costs_the_frames_up_to_the_next_keyframe(
    name: str, codec: str, keyframes: int, tmp_path: Path
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    ticks = [50 * index for index in range(30)]
    options = {"g": str(keyframes), "bf": "0", "sc_threshold": "0"} if keyframes > 1 else {}
    path = video(tmp_path / name, ticks, codec, pixels, images=noise(30), **options)
    with av.open(str(path)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0)][14]
    path.write_bytes(path.read_bytes().replace(packet, packet[:4] + bytes(len(packet) - 4)))
    source = open_source(path)
    stamps = {frame.index: frame.stamp_ns for frame in source}
    lost = [fault.index for fault in source.faults]
    assert sorted([*stamps, *lost]) == list(range(30))
    assert lost == list(range(14, 18 if keyframes > 1 else 15))
    assert all(stamp == 10**9 + ticks[index] * 10**6 for index, stamp in stamps.items())
    assert name in source.faults[0].reason


def test_an_image_of_another_size_is_skipped(tmp_path: Path) -> None:
    streams = []
    for number, size in enumerate([(48, 64, 3), (24, 32, 3), (48, 64, 3)]):
        images = [np.full(size, 100, np.uint8)] * 3
        streams.append(video(tmp_path / f"{number}.mjpeg", EVEN[:3], images=images).read_bytes())
    (tmp_path / "all.mjpeg").write_bytes(b"".join(streams))
    source = open_source(tmp_path / "all.mjpeg", fps=20)
    assert [frame.index for frame in source] == [0, 1, 2, 6, 7, 8]
    assert [fault.index for fault in source.faults] == [3, 4, 5]


def test_the_threads_of_a_decoder_end_with_the_video(tmp_path: Path) -> None:
    """Without waiting for the garbage collector: each has a stack and an arena of its own."""

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    path = video(tmp_path / "clip.mp4", codec="mpeg4", pixels="yuv420p")
    list(open_source(path))
    gc.disable()
    try:
        before = threads()
        for _ in range(3):
            list(open_source(path))
            next(iter(open_source(path)))  # the others are not wanted
        deadline = time.monotonic() + 10  # the system forgets a thread a little after it ended
        while threads() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threads() <= before
    finally:
        gc.enable()


def test_the_threads_of_a_decoder_do_not_log_in_python(tmp_path: Path) -> None:
    """They would wait for the lock of the thread that frees the decoder and waits for them, as with damaged H.264."""
    open_source(video(tmp_path / "clip.mp4", codec="mpeg4", pixels="yuv420p"))
    assert av.logging.get_level() is None

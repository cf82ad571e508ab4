"""Bags and videos that are damaged in any way give frames or a clear error within bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bag_recordings import STORAGES, compressed_image, noise_topics, stamp, write_bag, write_mcap, write_ros1
from limited import run_limited
from test_foxglove_bag import encoded, video_bag
from test_video import EVEN, video

HERE = Path(__file__).parent
COUNT = 8
EXAMPLES = int(os.environ.get("ROS_MATCHING_EXAMPLES", "50"))  # more for a search that takes its time


def bag(path: Path, storage) -> Path:
    (file,) = write_bag(path / "bag", noise_topics(COUNT), storage).glob("bag.*")
    return file


def images(path: Path, name: str, codec: str, pixels: str = "yuv420p") -> Path:
    return video(path / name, EVEN[:COUNT], codec, pixels)


def compressed() -> dict:
    topics = noise_topics(1)
    del topics["/cam/image_raw"]
    return topics | {"/cam/image/compressed": [compressed_image(index, stamp(index)) for index in range(COUNT)]}


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "mcap": lambda path: write_mcap(path / "drive.mcap", compressed(), chunk_size=3000),
    "mcap without index": lambda path: write_mcap(
        path / "drive.mcap", compressed(), use_chunking=False, use_statistics=False
    ),
    "sqlite3": lambda path: bag(path, STORAGES[1]),
    "ros1": lambda path: write_ros1(path / "drive.bag", compressed()),
    "ros1 lz4": lambda path: write_ros1(path / "drive.bag", compressed(), "LZ4"),
    "video topic": lambda path: video_bag(path, "CompressedVideo", "h264", encoded("libx264", COUNT)),
    "mp4": lambda path: images(path, "drive.mp4", "libx264"),
    "mkv": lambda path: images(path, "drive.mkv", "libx264"),
    "ts": lambda path: images(path, "drive.ts", "libx264"),
    "avi": lambda path: images(path, "drive.avi", "mjpeg", "yuvj420p"),
    "webm": lambda path: images(path, "drive.webm", "libvpx-vp9"),
}

_CODE = """
import logging
from pathlib import Path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutated, read_all

logging.disable(logging.CRITICAL)
path = Path({path!r})
original = path.read_bytes()
assert read_all(path) == {count}
limit_memory(1024)
counts = []

@settings(max_examples={examples}, deadline=None, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(st.one_of(mutated(original), st.binary(max_size=300).map(original[:60].__add__), st.binary(max_size=300)))
def check(data):
    path.write_bytes(data)
    counts.append(read_all(path))

check()
print(sum(count == -1 for count in counts), sum(count > 0 for count in counts))
"""


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_mutated_recording_yields_frames_or_a_clear_error(sample: str, tmp_path: Path) -> None:
    pytest.importorskip("mcap")
    path = SAMPLES[sample](tmp_path)
    code = _CODE.format(path=str(path), count=COUNT, examples=EXAMPLES)
    refused, read = map(int, run_limited(code, HERE, HERE.parent.parent).split())
    assert refused
    assert read

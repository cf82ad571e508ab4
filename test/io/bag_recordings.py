"""Bags of known content for the tests: ROS 2 by rosbags, MCAP by the mcap package, ROS 1 by rosbags."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from recordings import HEIGHT, WIDTH, K, image

from ros_matching.geometry.se3 import quaternion_from_rotation

rosbag1 = pytest.importorskip("rosbags.rosbag1")
rosbag2 = pytest.importorskip("rosbags.rosbag2")
typesys = pytest.importorskip("rosbags.typesys")

START_NS = 1_700_000_000_123_456_789
PERIOD_NS = 33_333_333
COUNT = 5
ALL = list(range(COUNT))
STORE = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
TYPES = SimpleNamespace(**{name.rpartition("/")[2]: kind for name, kind in STORE.types.items()})
STORAGES = (rosbag2.StoragePlugin.MCAP, rosbag2.StoragePlugin.SQLITE3)


def header(stamp_ns: int, frame: str = "camera_optical") -> Any:
    return TYPES.Header(stamp=TYPES.Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=frame)


def noise(index: int) -> np.ndarray:
    """An image that compresses badly, as real ones do: (H, W, 3) RGB."""
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def raw_image(
    index: int, stamp_ns: int, encoding: str = "bgr8", padding: int = 4, pixels: np.ndarray | None = None
) -> Any:
    rows = (image(index) if pixels is None else pixels)[..., ::-1].reshape(HEIGHT, -1)
    data = np.pad(rows, ((0, 0), (0, padding))).reshape(-1)
    step = WIDTH * 3 + padding
    return TYPES.Image(header(stamp_ns), HEIGHT, WIDTH, encoding, 0, step, data)


def compressed_image(index: int, stamp_ns: int) -> Any:
    data = cv2.imencode(".png", image(index)[..., ::-1])[1]
    return TYPES.CompressedImage(header(stamp_ns), "bgr8; png compressed bgr8", data)


def camera_info(stamp_ns: int, k: np.ndarray = K) -> Any:
    p = np.column_stack([k * [[2], [2], [1]], np.zeros(3)])
    p[:2, 2] = k[:2, 2]
    roi = TYPES.RegionOfInterest(0, 0, 0, 0, False)
    d = np.zeros(5)
    return TYPES.CameraInfo(
        header(stamp_ns), HEIGHT, WIDTH, "plumb_bob", d, k.reshape(-1), np.eye(3).reshape(-1), p.reshape(-1), 0, 0, roi
    )


def stamp(index: int) -> int:
    return START_NS + index * PERIOD_NS


def ros_pose(transform: np.ndarray) -> Any:
    x, y, z, w = quaternion_from_rotation(transform[:3, :3]).tolist()
    return TYPES.Pose(TYPES.Point(*transform[:3, 3].tolist()), TYPES.Quaternion(x, y, z, w))


def ros_transform(transform: np.ndarray, parent: str, child: str, stamp_ns: int = 0) -> Any:
    ros = ros_pose(transform)
    translation = TYPES.Vector3(ros.position.x, ros.position.y, ros.position.z)
    return TYPES.TransformStamped(header(stamp_ns, parent), child, TYPES.Transform(translation, ros.orientation))


def write_bag(path: Path, topics: dict[str, list[Any]], storage: Any = STORAGES[0]) -> Path:
    """A bag of lists of messages, recorded 1 ms after their stamps (where they have one)."""
    with rosbag2.Writer(path, version=9, storage_plugin=storage) as writer:
        entries = []
        for topic, messages in topics.items():
            kind = messages[0].__msgtype__
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for index, message in enumerate(messages):
                entries.append((stamp(index) + 1_000_000, connection, STORE.serialize_cdr(message, kind)))
        for recorded_ns, connection, data in sorted(entries, key=lambda entry: entry[0]):
            writer.write(connection, recorded_ns, data)
    return path


def camera_topics(**more: list[Any]) -> dict[str, list[Any]]:
    return {
        "/cam/image_raw": [raw_image(index, stamp(index)) for index in range(COUNT)],
        "/cam/camera_info": [camera_info(stamp(index)) for index in range(COUNT)],
        **more,
    }


def check(source: Any, indices: list[int], count: int | None = None) -> None:
    """Assert that a source of ``count`` images (by default all of them good) delivers these."""
    assert len(source) == (len(indices) if count is None else count)
    frames = list(source)
    assert [frame.index for frame in frames] == indices
    assert [frame.stamp_ns for frame in frames] == [stamp(index) for index in indices]
    for frame in frames:
        np.testing.assert_array_equal(frame.image, image(frame.index))
    if count is None:
        assert source.faults == []


def definition(kind: str) -> str:
    """The definition of a type as rosbag2 records it."""
    return STORE.generate_msgdef(kind, ros_version=2)[0]


def write_mcap(
    path: Path, topics: dict[str, list[Any]], *, profile: str = "ros2", before: Any = None, **options: Any
) -> Path:
    """An MCAP file of lists of messages, as the ``mcap`` package writes it; ``before(writer)`` adds other channels."""
    mcap = pytest.importorskip("mcap.writer")
    with path.open("wb") as file:
        writer = mcap.Writer(file, **options)
        writer.start(profile=profile, library="test")
        if before is not None:
            before(writer)
        entries = []
        for topic, messages in topics.items():
            kind = messages[0].__msgtype__
            schema = writer.register_schema(kind, "ros2msg", definition(kind).encode())
            channel = writer.register_channel(topic, "cdr", schema)
            for index, message in enumerate(messages):
                entries.append((stamp(index) + 1_000_000, channel, bytes(STORE.serialize_cdr(message, kind))))
        for recorded_ns, channel, data in sorted(entries, key=lambda entry: entry[0]):
            writer.add_message(channel, recorded_ns, data, recorded_ns)
        writer.finish()
    return path


def write_channel(
    writer: Any, topic: str, kind: str, schema: tuple[str, bytes], encoding: str, messages: Iterable[bytes]
) -> None:
    """Add one channel of encoded messages to an open MCAP file, recorded 1 ms after ``stamp``."""
    key = writer.register_schema(kind, *schema)
    channel = writer.register_channel(topic, encoding, key)
    for index, data in enumerate(messages):
        writer.add_message(channel, stamp(index) + 1_000_000, data, stamp(index))


def write_ros1(path: Path, topics: dict[str, list[Any]], compression: str = "") -> Path:
    """A ROS 1 bag of lists of ROS 2 messages, which are converted."""
    store = typesys.get_typestore(typesys.Stores.ROS1_NOETIC)
    writer = rosbag1.Writer(path)
    if compression:
        writer.set_compression(getattr(rosbag1.Writer.CompressionFormat, compression))
    with writer:
        entries = []
        for topic, messages in topics.items():
            kind = messages[0].__msgtype__
            connection = writer.add_connection(topic, kind, typestore=store)
            for index, message in enumerate(messages):
                entries.append(
                    (stamp(index) + 1_000_000, connection, store.serialize_ros1(as_ros1(store, message), kind))
                )
        for recorded_ns, connection, data in sorted(entries, key=lambda entry: entry[0]):
            writer.write(connection, recorded_ns, data)
    return path


def as_ros1(store: Any, message: Any) -> Any:
    """The message of ROS 1 with the fields of one of ROS 2."""
    if not hasattr(message, "__msgtype__"):
        return [as_ros1(store, each) for each in message] if isinstance(message, list) else message
    kind = store.types[message.__msgtype__]
    names = list(kind.__dataclass_fields__)[: -1 if "__msgtype__" in kind.__dataclass_fields__ else None]
    values = {}
    for name in names:
        own = name if hasattr(message, name) else name.lower()
        values[name] = 0 if name == "seq" else as_ros1(store, getattr(message, own))
    return kind(**values)


def noise_topics(count: int) -> dict[str, list[Any]]:
    """One ``CameraInfo`` and images of noise."""
    images = [raw_image(index, stamp(index), pixels=noise(index)) for index in range(count)]
    return {"/cam/camera_info": [camera_info(stamp(0))], "/cam/image_raw": images}

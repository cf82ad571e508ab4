"""PointCloud2 from clouds and back."""

from __future__ import annotations

import struct
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs", reason="needs the ROS 2 message packages")

from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from ros_matching.datatypes import PointCloud
from ros_matching.errors import NodeError
from ros_matching.nodes.clouds import cloud_from_msg, cloud_to_msg

pytestmark = pytest.mark.ros

HEADER = Header(frame_id="odom")


def random_cloud(count: int, seed: int = 0) -> PointCloud:
    random = np.random.default_rng(seed)
    return PointCloud(
        random.normal(size=(count, 3)),
        random.integers(0, 256, (count, 3), dtype=np.uint8),
        random.uniform(size=count).astype(np.float32),
    )


def test_a_cloud_has_packed_colours():
    cloud = PointCloud(
        np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([[255, 1, 2], [3, 4, 5]], np.uint8), np.array([0.5, 1.0])
    )
    msg = cloud_to_msg(cloud, HEADER)
    assert [field.name for field in msg.fields] == ["x", "y", "z", "rgb", "confidence"]
    assert (msg.header, msg.height, msg.width, msg.point_step, msg.row_step) == (HEADER, 1, 2, 20, 40)
    rows = np.frombuffer(msg.data, np.dtype([("xyz", "<f4", 3), ("rgb", "<u4"), ("confidence", "<f4")]))
    np.testing.assert_array_equal(rows["xyz"], cloud.points)
    assert rows["rgb"].tolist() == [0xFF0102, 0x030405]
    assert rows["confidence"].tolist() == [0.5, 1.0]


def test_the_library_of_ros_reads_the_same():
    library = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="sensor_msgs_py is not installed")
    cloud = random_cloud(7)
    rows = library.read_points(cloud_to_msg(cloud, HEADER))
    np.testing.assert_allclose(np.stack([rows[name] for name in "xyz"], axis=1), cloud.points, rtol=1e-6)
    np.testing.assert_array_equal(rows["confidence"], cloud.confidence)


@given(st.integers(0, 50), st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_a_cloud_survives_the_way(count, seed):
    cloud = random_cloud(count, seed)
    back = cloud_from_msg(cloud_to_msg(cloud, HEADER))
    np.testing.assert_array_equal(back.points, cloud.points.astype(np.float32))
    np.testing.assert_array_equal(back.colors, cloud.colors)
    np.testing.assert_array_equal(back.confidence, cloud.confidence)


def other_cloud(**changes) -> PointCloud2:
    """An organised cloud of another driver: 2 x 2, big-endian doubles in another order, padded points and rows."""
    names = [("intensity", 0, PointField.UINT8), ("z", 8, PointField.FLOAT64)]
    names += [("y", 16, PointField.FLOAT64), ("x", 24, PointField.FLOAT64)]
    points = [[1, 2, 3], [4, 5, float("nan")], [7, 8, 9], [10, 11, 12]]
    data = [struct.pack(">B7xddd", 7, *reversed(point)) for point in points]
    msg = PointCloud2(height=2, width=2, is_bigendian=True, is_dense=False, point_step=32, row_step=70)
    msg.fields = [PointField(name=name, offset=offset, datatype=kind, count=1) for name, offset, kind in names]
    msg.data = data[0] + data[1] + bytes(6) + data[2] + data[3] + bytes(6)
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


def test_a_cloud_of_another_layout_is_read_and_its_invalid_points_left_out():
    cloud = cloud_from_msg(other_cloud())
    assert cloud.points.tolist() == [[1, 2, 3], [7, 8, 9], [10, 11, 12]]
    assert cloud.colors.tolist() == [[128] * 3] * 3
    assert cloud.confidence.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": b"123"}, "does not fit its layout"),
        ({"point_step": 16}, "does not fit its layout"),
        ({"fields": []}, "needs the fields x, y, z"),
    ],
)
def test_a_broken_cloud_is_an_error_that_says_what_is_wrong(changes, words):
    with pytest.raises(NodeError, match=words):
        cloud_from_msg(other_cloud(**changes))


def test_300_000_points_take_less_than_10_ms():
    """3 ms on a quiet core; the best of several, with a margin for a busy machine."""
    cloud = random_cloud(300_000)
    times = SimpleNamespace(to_msg=[], from_msg=[])
    for _ in range(10):
        start_s = time.perf_counter()
        msg = cloud_to_msg(cloud, HEADER)
        times.to_msg.append(time.perf_counter() - start_s)
        start_s = time.perf_counter()
        cloud_from_msg(msg)
        times.from_msg.append(time.perf_counter() - start_s)
    assert min(times.to_msg) < 0.03
    assert min(times.from_msg) < 0.1

"""PointCloud2 from clouds and back."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs", reason="needs the ROS 2 message packages")

from call_count import count_calls
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from ros_matching.datatypes import PointCloud
from ros_matching.errors import NodeError
from ros_matching.nodes.mapping import clouds
from ros_matching.nodes.mapping.clouds import cloud_from_msg, cloud_to_msg

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


class StandIn:
    """Stand-in for sensor_msgs_py.point_cloud2 by its documentation, for clouds of one row."""

    @staticmethod
    def create_cloud(header, fields, points):
        msg = PointCloud2(header=header, height=1, width=len(points), is_dense=False, fields=fields)
        msg.point_step, msg.row_step = points.dtype.itemsize, points.nbytes
        msg.data = points.tobytes()
        return msg

    @staticmethod
    def read_points(cloud):
        kinds = {PointField.FLOAT32: "<f4", PointField.FLOAT64: "<f8", PointField.UINT8: "u1", PointField.UINT32: "<u4"}
        names, offsets = [f.name for f in cloud.fields], [f.offset for f in cloud.fields]
        formats = [kinds[field.datatype] for field in cloud.fields]
        dtype = {"names": names, "formats": formats, "offsets": offsets, "itemsize": cloud.point_step}
        return np.ndarray((cloud.width * cloud.height,), np.dtype(dtype), buffer=cloud.data)


@pytest.fixture(params=["stand-in", "sensor_msgs_py"])
def library(request):
    """The library of ROS, or a stand-in, as the one that is used."""
    if request.param == "stand-in":
        return StandIn
    return pytest.importorskip("sensor_msgs_py.point_cloud2", reason="sensor_msgs_py is not installed")


@pytest.fixture
def use(monkeypatch):
    """Let clouds be converted by a library, or by our own code with ``None``."""
    return lambda library: monkeypatch.setattr(clouds, "_sensor_msgs_py", lambda: library)


@pytest.mark.parametrize("count", [0, 7])
def test_the_library_of_ros_and_our_own_code_write_the_same(library, use, count):
    cloud = random_cloud(count)
    use(library)
    theirs = cloud_to_msg(cloud, HEADER)
    use(None)
    assert theirs == cloud_to_msg(cloud, HEADER)


@pytest.mark.parametrize("count", [0, 7])
def test_the_library_of_ros_and_our_own_code_read_the_same(library, use, count):
    use(None)
    msgs = [cloud_to_msg(random_cloud(count), HEADER), other_cloud(), little_cloud(count)]
    ours = [cloud_from_msg(msg) for msg in msgs]
    use(library)
    for msg, expected in zip(msgs, ours, strict=True):
        cloud = cloud_from_msg(msg)
        np.testing.assert_array_equal(cloud.points, expected.points)
        np.testing.assert_array_equal(cloud.colors, expected.colors)
        np.testing.assert_array_equal(cloud.confidence, expected.confidence)


def test_what_the_library_misreads_is_not_given_to_it(use):
    use(SimpleNamespace())  # any call would fail
    assert len(cloud_from_msg(other_cloud()).points) == 3
    msg = little_cloud(2)
    msg.fields[0].count = 2
    with pytest.raises(NodeError, match="x, y, z"):
        cloud_from_msg(msg)


def little_cloud(count: int) -> PointCloud2:
    """A cloud of another driver, two rows without padding, with packed colours as an integer."""
    names = [("x", 0, PointField.FLOAT64), ("y", 8, PointField.FLOAT64), ("z", 16, PointField.FLOAT64)]
    names.append(("rgba", 24, PointField.UINT32))
    msg = PointCloud2(height=2, width=count, point_step=32, row_step=32 * count)
    msg.fields = [PointField(name=name, offset=offset, datatype=kind, count=1) for name, offset, kind in names]
    msg.data = b"".join(struct.pack("<dddI4x", i, 2 * i, 3 * i, 0xFF0A0B0C + i) for i in range(2 * count))
    return msg


@given(st.integers(0, 50), st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_a_cloud_round_trip(count, seed):
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
def test_a_broken_cloud_is_an_error(changes, words):
    with pytest.raises(NodeError, match=words):
        cloud_from_msg(other_cloud(**changes))


def test_points_are_not_handled_one_by_one():
    """Python and NumPy make about as many calls for many points as for few."""
    many, few = (
        count_calls(lambda count=count: cloud_from_msg(cloud_to_msg(random_cloud(count), HEADER)))[1]
        for count in (100_000, 10)
    )
    assert many < 2 * few

"""Conversion of point clouds to and from ``sensor_msgs/PointCloud2``, and the map file.

A point is written as x, y, z, rgb and confidence (20 bytes), as RViz, PCL and OctoMap read them. Any layout is read.
``sensor_msgs_py`` is used where the ROS distribution has it; PyPI does not. Elsewhere, and for layouts that it does not
read (padded rows, foreign byte order, fields of several values), our equivalent gives the same result.
"""

from __future__ import annotations

import sys
from array import array
from functools import cache
from types import ModuleType

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from ros_matching.datatypes import PointCloud
from ros_matching.errors import NodeError

_NAMES = ("x", "y", "z", "rgb", "confidence")
_FIELDS = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate(_NAMES)]
_POINT_STEP = 4 * len(_NAMES)
_POINT = np.dtype([(name, "<f4") for name in _NAMES])
_RGB = slice(12, 16)  # bytes of a point
_TYPES = {
    PointField.INT8: "i1",
    PointField.UINT8: "u1",
    PointField.INT16: "i2",
    PointField.UINT16: "u2",
    PointField.INT32: "i4",
    PointField.UINT32: "u4",
    PointField.FLOAT32: "f4",
    PointField.FLOAT64: "f8",
}
_GREY = 128


def cloud_to_msg(cloud: PointCloud, header: Header) -> PointCloud2:
    """Return a message with the fields x, y, z, rgb (packed into a float, as RViz and PCL read it) and confidence."""
    data = array("B", [0]) * (_POINT_STEP * len(cloud))  # becomes the memory of the message
    points = np.asarray(data).view("<f4").reshape(-1, len(_NAMES))
    for axis in range(3):  # nearly twice as fast as all at once
        points[:, axis] = cloud.points[:, axis]
    points[:, 4] = cloud.confidence
    packed = points.view(np.uint8)[:, _RGB]  # 0x00RRGGBB, little-endian
    packed[:, 3] = 0
    for byte, channel in enumerate((2, 1, 0)):  # several times as fast as all at once
        packed[:, byte] = cloud.colors[:, channel]
    library = _sensor_msgs_py() if sys.byteorder == "little" and len(cloud) else None
    if library is None:
        msg = _message(data, header)
    else:
        msg = library.create_cloud(header, _FIELDS, points.reshape(-1).view(_POINT))
    msg.is_dense = True
    return msg


def _message(data: array, header: Header) -> PointCloud2:
    """The message of points in our layout, whose memory it takes."""
    msg = PointCloud2(
        header=header,
        height=1,
        width=len(data) // _POINT_STEP,
        is_bigendian=False,
        fields=_FIELDS,
        point_step=_POINT_STEP,
        row_step=len(data),
    )
    msg.data = data  # the constructor would copy it once more
    return msg


def cloud_from_msg(msg: PointCloud2) -> PointCloud:
    """Return the finite points, in order; grey if the message has no rgb, confidence 1 if it has none.

    Raises ``NodeError`` for a message without x, y, z, or with data that does not fit its layout.
    """
    rows = _rows(msg)
    missing = [name for name in "xyz" if name not in rows.dtype.names]
    if missing:
        raise NodeError(f"a cloud needs the fields x, y, z, got {', '.join(rows.dtype.names) or 'none'}")
    finite = np.logical_and.reduce([np.isfinite(rows[name]) for name in "xyz"])
    if not finite.all():
        rows = rows[finite]
    confidence = rows["confidence"] if "confidence" in rows.dtype.names else np.ones(len(rows))
    points = np.stack([rows[name] for name in "xyz"], axis=1)
    return PointCloud(points.astype(points.dtype.newbyteorder("=")), _colors(rows), confidence.astype(np.float32))


def _colors(rows: np.ndarray) -> np.ndarray:
    name = next((name for name in ("rgb", "rgba") if name in rows.dtype.names), None)
    if name is None:
        return np.full((len(rows), 3), _GREY, np.uint8)
    packed = rows[name].astype(rows[name].dtype.newbyteorder("<"))
    if packed.itemsize != 4:
        raise NodeError(f"the field {name} of a cloud must have 4 bytes, got {packed.dtype}")
    return np.ascontiguousarray(packed.view(np.uint8).reshape(-1, 4)[:, 2::-1])


def _rows(msg: PointCloud2) -> np.ndarray:
    """The points as rows of a structured array, a view of the data where its rows are not padded."""
    if _sensor_msgs_py() is not None and _suits_sensor_msgs_py(msg):
        return _sensor_msgs_py().read_points(msg)
    order = ">" if msg.is_bigendian else "<"
    fields = [field for field in msg.fields if field.count == 1 and field.datatype in _TYPES]
    try:
        dtype = np.dtype(
            {
                "names": [field.name for field in fields],
                "formats": [order + _TYPES[field.datatype] for field in fields],
                "offsets": [field.offset for field in fields],
                "itemsize": msg.point_step,
            }
        )
        data = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.row_step)[:, : msg.width * msg.point_step]
        return np.ascontiguousarray(data).reshape(-1).view(dtype)
    except (ValueError, TypeError) as error:
        raise NodeError(
            f"the data of a cloud does not fit its layout ({msg.height} rows of {msg.width} points of {msg.point_step} "
            f"bytes, {msg.row_step} bytes a row, {len(msg.data)} in all): {error}"
        ) from error


def _suits_sensor_msgs_py(msg: PointCloud2) -> bool:
    """Return True if sensor_msgs_py reads the message right: it ignores padding, and swaps bytes in the message."""
    names = [field.name for field in msg.fields]
    end = max((field.offset + np.dtype(_TYPES.get(field.datatype, "u1")).itemsize for field in msg.fields), default=0)
    return (
        0 < end <= msg.point_step
        and msg.row_step == msg.width * msg.point_step
        and len(msg.data) == msg.row_step * msg.height
        and bool(msg.is_bigendian) == (sys.byteorder == "big")
        and all(field.count == 1 and field.datatype in _TYPES and field.name for field in msg.fields)
        and len(set(names)) == len(names)
    )


@cache
def _sensor_msgs_py() -> ModuleType | None:
    try:
        from sensor_msgs_py import point_cloud2
    except ImportError:
        return None
    return point_cloud2

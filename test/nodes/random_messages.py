"""Random and mutated messages: strategies of Hypothesis for the inputs of the nodes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import TransformStamped
from hypothesis import strategies as st
from mapping_peer import keyframe_message
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage
from vo_peer import CAMERA_FRAME, frame_messages, noise_image, stamp_ns

from ros_matching.nodes.common.conversions import (
    header_to_msg,
    image_to_compressed_msg,
    image_to_msg,
    stamp_to_msg,
)

stamps = st.one_of(
    st.sampled_from([0, 1, -1, 10**9, 2**31 * 10**9 - 1, -(2**31) * 10**9]),
    st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1),
    st.integers(-(10**10), 10**10).map(lambda offset: stamp_ns(0) + offset),
)
names = st.one_of(st.sampled_from(["", "/", "base_link", CAMERA_FRAME, "x" * 100_000]), st.text(max_size=20)).filter(
    lambda name: "\0" not in name and not any("\ud800" <= char <= "\udfff" for char in name)
)
sides = st.one_of(
    st.sampled_from([0, 1, 2, 3, 47, 48, 49, 63, 64, 65, 12_000, 32_000, 2**31, 2**32 - 1]), st.integers(0, 200)
)
numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, -1e300, 1e7, 1e-3, np.inf, -np.inf, np.nan]),
    st.floats(),
    st.floats(-1000, 1000),
)
RAW = ["rgb8", "bgr8", "mono8", "mono16", "rgba8", "bayer_rggb8", "yuv422", "nv12", "16UC1", "32FC1", "8UC3", "jello"]
encodings = st.one_of(st.sampled_from(RAW), names)


def number_arrays(count: int) -> st.SearchStrategy:
    return st.lists(numbers, min_size=count, max_size=count)


@st.composite
def payloads(draw: Any, payload: bytes) -> bytes:
    """Bytes with some cut off, changed, repeated or added."""
    data = bytearray(payload)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        noise = draw(st.binary(max_size=60))
        kind = draw(st.sampled_from(["change", "cut", "insert", "end"]))
        if kind == "change":
            data[start : start + len(noise)] = noise
        elif kind == "cut":
            del data[start:]
        elif kind == "insert":
            data[start:start] = noise
        else:
            data += noise
    return bytes(data)


def mutate(draw: Any, msg: Any, **changes: st.SearchStrategy) -> Any:
    """The message with some of these fields changed."""
    for name in draw(st.lists(st.sampled_from(sorted(changes)), min_size=1, max_size=2, unique=True)):
        value = draw(changes[name])
        if name == "stamp":
            msg.header.stamp = stamp_to_msg(value)
        elif name == "frame_id":
            msg.header.frame_id = value
        else:
            setattr(msg, name, value)
    return msg


def image_changes(data: bytes) -> dict[str, st.SearchStrategy]:
    return {
        "width": sides,
        "height": sides,
        "step": st.one_of(sides, st.integers(0, 2**32 - 1)),
        "encoding": encodings,
        "is_bigendian": st.integers(0, 255),
        "data": payloads(data),
        "stamp": stamps,
        "frame_id": names,
    }


@st.composite
def images(draw: Any, number: int) -> Image:
    msg = frame_messages(number)[0]
    return mutate(draw, msg, **image_changes(bytes(msg.data)))


@st.composite
def compressed_images(draw: Any, number: int) -> CompressedImage:
    header = header_to_msg(stamp_ns(number), CAMERA_FRAME)
    size = draw(st.sampled_from([(48, 64), (48, 64), (1, 1), (1, 640), (96, 128)]))
    pixels = cv2.resize(noise_image(0), size[::-1])
    msg = image_to_compressed_msg(pixels, header)
    if draw(st.booleans()):
        msg.data = cv2.imencode(draw(st.sampled_from([".png", ".webp", ".bmp", ".tiff"])), pixels)[1].tobytes()
    return mutate(draw, msg, data=payloads(bytes(msg.data)), stamp=stamps, frame_id=names, format=names)


@st.composite
def camera_infos(draw: Any, number: int) -> CameraInfo:
    info = frame_messages(number)[1]
    info.roi.width, info.roi.height = draw(st.tuples(sides, sides)) if draw(st.booleans()) else (0, 0)
    info.roi.x_offset, info.roi.y_offset = draw(st.tuples(sides, sides))
    models = st.one_of(st.sampled_from(["plumb_bob", "equidistant", "rational_polynomial", "fov", "none"]), names)
    return mutate(
        draw,
        info,
        width=sides,
        height=sides,
        k=st.one_of(
            number_arrays(9), st.tuples(numbers, numbers).map(lambda f: [f[0], 0, 31.5, 0, f[1], 23.5, 0, 0, 1])
        ),
        p=number_arrays(12),
        r=number_arrays(9),
        d=st.lists(numbers, max_size=15),
        distortion_model=models,
        binning_x=sides,
        binning_y=sides,
        stamp=stamps,
        frame_id=names,
    )


@st.composite
def depth_images(draw: Any, number: int) -> Image:
    msg = image_to_msg(np.ones((48, 64), np.float32), header_to_msg(stamp_ns(number), CAMERA_FRAME), "32FC1")
    return mutate(draw, msg, **image_changes(bytes(msg.data)))


@st.composite
def wheel_odometries(draw: Any, number: int) -> Odometry:
    msg = Odometry(header=header_to_msg(stamp_ns(number), "odom"))
    position = msg.pose.pose.position
    position.x, position.y, position.z = draw(number_arrays(3))
    return mutate(draw, msg, stamp=stamps, frame_id=names, child_frame_id=names)


@st.composite
def static_transforms(draw: Any, number: int) -> TFMessage:
    msg = TFMessage()
    for _ in range(draw(st.integers(0, 3))):
        transform = TransformStamped(child_frame_id=draw(names))
        transform.header.frame_id = draw(names)
        values = draw(st.one_of(st.just([0.0, 0, 0, 0, 0, 0, 1]), number_arrays(7)))
        for part, fields in ((transform.transform.translation, "xyz"), (transform.transform.rotation, "xyzw")):
            for field in fields:
                setattr(part, field, float(values.pop(0)))
        msg.transforms.append(transform)
    return msg


@st.composite
def keyframes(draw: Any, number: int) -> Any:
    msg = keyframe_message(number)
    part = draw(st.sampled_from(["whole", "image", "camera_info", "pose"]))
    if part == "image":
        msg.image = mutate(draw, msg.image, **image_changes(bytes(msg.image.data)))
    elif part == "camera_info":
        msg.camera_info = draw(camera_infos(number))
    elif part == "pose":
        msg.pose.position.x, msg.pose.orientation.w = draw(number_arrays(2))
    return mutate(
        draw,
        msg,
        id=st.integers(0, 2**32 - 1),
        map_id=st.integers(0, 2**32 - 1),
        scale=st.integers(0, 255),
        sparse_points=st.lists(st.floats(width=32), max_size=10),
        stamp=stamps,
        frame_id=names,
    )


@st.composite
def keyframe_paths(draw: Any, number: int) -> Path:
    msg = Path(header=header_to_msg(draw(stamps), draw(names)))
    for keyframe in draw(st.lists(keyframes(number), max_size=3)):
        msg.poses.append(_stamped(keyframe))
    return msg


def _stamped(keyframe: Any) -> Any:
    from geometry_msgs.msg import PoseStamped

    return PoseStamped(header=keyframe.header, pose=keyframe.pose)

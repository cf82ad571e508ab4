"""Selection of image and calibration topics in a bag, and the content of their messages."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io.bags.bag import Bag
from ros_matching.io.calibration import Calibration
from ros_matching.io.calibration.matrices import calibration_from_info, is_rectified
from ros_matching.io.encodings import decode_compressed, decode_image

_RAW = ("sensor_msgs/msg/Image", "foxglove_msgs/msg/RawImage")
_COMPRESSED = ("sensor_msgs/msg/CompressedImage", "foxglove_msgs/msg/CompressedImage")
_VIDEO = ("foxglove_msgs/msg/CompressedVideo", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket")
IMAGES = (*_RAW, *_COMPRESSED, *_VIDEO)
CAMERA_INFOS = ("sensor_msgs/msg/CameraInfo", "foxglove_msgs/msg/CameraCalibration")
# Transports of images that are not read.
_REFUSED = {
    "theora_image_transport/msg/Packet": "is a Theora stream, which is not read; republish it: "
    "`ros2 run image_transport republish theora raw`",
}
# Suffixes that transports append to the name of the image topic.
_TRANSPORTS = (
    "compressed",
    "compressed_video",
    "compressed_image",
    "ffmpeg",
    "foxglove",
    "h264",
    "h265",
    "video",
    "zstd",
)
_INFO_NAMES = ("camera_info", "calibration")
_CODECS = {"264": "h264", "avc": "h264", "265": "hevc", "hevc": "hevc", "av1": "av1", "vp9": "vp9", "vp8": "vp8"}


def choose_images(bag: Bag, given: str | None) -> str:
    """The image topic to read: the given one, or the only one; else a ``SourceError`` lists the topics."""
    images = [topic for topic in bag.topics(*IMAGES) if not topic.endswith("/compressedDepth")]
    if given is not None:
        return _given_images(bag, given, images)
    colour = [topic for topic in images if "depth" not in topic.lower()]
    distinct = [topic for topic in colour if base_topic(topic) == topic or base_topic(topic) not in colour]
    if len(distinct) != 1:
        refused = [f"{topic} {_REFUSED[bag.type_of(topic)]}" for topic in bag.topics(*_REFUSED)]
        if not distinct and refused:
            raise SourceError(f"{bag.path}: {refused[0]}")
        problem = "several image topics" if distinct else "no image topic"
        damage = f". {bag.damage[0]}" if bag.damage else ""
        raise SourceError(f"{bag.path} has {problem}: choose one by topic=NAME; it has {bag.listing()}{damage}")
    return distinct[0]


def _given_images(bag: Bag, given: str, images: list[str]) -> str:
    names = [given, f"/{given.lstrip('/')}"]
    names += [f"{name.rstrip('/')}/{transport}" for name in names for transport in _TRANSPORTS]
    found = next((name for name in names if name in images), None)
    if found is not None:
        return found
    present = next((name for name in names[:2] if name in bag.topics()), None)
    if present is None:
        raise SourceError(f"{bag.path} has no images on {given}; it has {bag.listing()}")
    name = bag.type_of(present)
    if present.endswith("/compressedDepth"):
        raise SourceError(f"{bag.path}: {present} holds depth, not images; choose a colour topic of {bag.listing()}")
    raise SourceError(
        f"{bag.path}: {present} {_REFUSED.get(name, f'is of the type {name}, not of an image')}; it has {bag.listing()}"
    )


def base_topic(topic: str) -> str:
    """The image topic that a transport's topic belongs to."""
    parent, _, last = topic.rpartition("/")
    return parent if parent and last in _TRANSPORTS else topic


def read_camera_info(bag: Bag, images: str, given: str | None) -> Calibration:
    """The calibration of an image topic: that of the given topic, of the one in its namespace, or of the only one."""
    topic = _choose_info(bag, images, given)
    origin = f"{bag.path}, {bag.type_of(topic).rpartition('/')[2]} on {topic}"
    message = bag.first(topic)
    try:
        info = _as_camera_info(message)
    except (AttributeError, TypeError, ValueError) as error:
        raise CalibrationError(f"{origin}: it lacks a field of a calibration ({error})") from error
    return calibration_from_info(info, origin, rectified=is_rectified(images))


def _choose_info(bag: Bag, images: str, given: str | None) -> str:
    infos = bag.topics(*CAMERA_INFOS)
    if given is not None:
        found = next((name for name in (given, f"/{given}") if name in infos), None)
        if found is None:
            raise CalibrationError(
                f"{bag.path} has no CameraInfo on {given}; it has it on: {', '.join(infos) or 'no topic'}"
            )
        return found
    # /cam/x/compressed may belong to /cam/x/camera_info or, as the transport of /cam/x, to /cam/camera_info.
    namespaces = dict.fromkeys((images.rpartition("/")[0], base_topic(images).rpartition("/")[0], images))
    near = [f"{namespace}/{name}" for namespace in namespaces for name in _INFO_NAMES]
    found = next((topic for topic in near if topic in infos), infos[0] if len(infos) == 1 else None)
    if found is not None:
        return found
    if infos:
        raise CalibrationError(
            f"{bag.path} has several CameraInfo topics, none of them in the namespace of {images}: choose one by "
            f"camera_info_topic=NAME: {', '.join(infos)}"
        )
    raise CalibrationError(
        f"{bag.path} has no CameraInfo on {near[0]} for {images}; it has {bag.listing()}. Give calibration=PATH"
    )


def _as_camera_info(message: Any) -> Any:
    """A message with the fields of ROS 2's CameraInfo, of one that writes them as ROS 1 or Foxglove do."""
    fields = {name: getattr(message, name) for name in ("width", "height", "distortion_model")}
    for name in "dkrp":
        fields[name] = np.array(getattr(message, name, getattr(message, name.upper(), ())), dtype=np.float64)
    if fields["k"].size != 9 or fields["p"].size not in (0, 12):
        raise ValueError(f"K has {fields['k'].size} numbers, P {fields['p'].size}")
    if not fields["p"].size:
        fields["p"] = np.column_stack([fields["k"].reshape(3, 3), np.zeros(3)]).reshape(-1)
    whole = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    for name, default in (("binning_x", 0), ("binning_y", 0), ("roi", whole)):
        fields[name] = getattr(message, name, default)
    return SimpleNamespace(**fields)


def still_of(message: Any) -> np.ndarray:
    """The image of a raw or compressed image message, (H, W, 3) uint8 RGB."""
    if hasattr(message, "encoding"):
        is_bigendian = bool(getattr(message, "is_bigendian", False))
        size = (int(message.width), int(message.height), int(message.step))
        return decode_image(message.data, message.encoding, *size, is_bigendian)
    return decode_compressed(message.data, message.format)


def codec_of(message_type: str, message: Any) -> str | None:
    """The codec of a message that is a packet of a video, by FFmpeg's name; ``None`` for a still image."""
    if message_type in _RAW:
        return None
    stated = str(message.encoding if message_type == _VIDEO[1] else message.format).lower()
    known = next((codec for mark, codec in _CODECS.items() if mark in stated.split(";")[0]), None)
    if message_type in _COMPRESSED:
        return known  # some drivers put H.264 there
    if known is None and not re.fullmatch(r"[a-z0-9_]{1,20}", stated.split(";")[0]):
        raise SourceError(
            f"the video codec {stated!r} is not known; known are {', '.join(sorted(set(_CODECS.values())))}"
        )
    return known or stated.split(";")[0]

"""Messages from bytes: CDR and ROS 1 by rosbags, JSON, and Protobuf; by the definition that the bag has recorded."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ros_matching.errors import MissingDependencyError, SourceError
from ros_matching.io.bags.storage import MAX_DEFINITION_BYTES, Channel

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

# For bags without definitions: the image fields of the Foxglove types, as in foxglove_msgs for ROS 2.
_STAMPED = "builtin_interfaces/Time timestamp\nstring frame_id\n"
_FOXGLOVE = {
    "CompressedImage": f"{_STAMPED}uint8[] data\nstring format\n",
    "CompressedVideo": f"{_STAMPED}uint8[] data\nstring format\n",
    "RawImage": f"{_STAMPED}uint32 width\nuint32 height\nstring encoding\nuint32 step\nuint8[] data\n",
    "CameraCalibration": (
        f"{_STAMPED}uint32 width\nuint32 height\nstring distortion_model\n"
        "float64[] d\nfloat64[9] k\nfloat64[9] r\nfloat64[12] p\n"
    ),
}
_FFMPEG_PACKET = (
    "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
    "bool is_bigendian\nuint8[] data\n"
)
_log = logging.getLogger(__name__)


def full_type(name: str) -> str:
    """The name of a type as ROS 2 writes it: ``sensor_msgs/Image`` and ``foxglove.RawImage`` in full."""
    if name.startswith("foxglove."):
        return f"foxglove_msgs/msg/{name.rpartition('.')[2]}"
    package, _, last = name.partition("/")
    return f"{package}/msg/{last}" if last and "/" not in last else name


def make_decoder(channel: Channel) -> Callable[[bytes], Any]:
    """A function from the bytes of a channel's messages to objects with the fields of its type.

    It raises ``SourceError`` for bytes that do not fit the type, as this does for a type or encoding that is not known.
    """
    if len(channel.schema) > MAX_DEFINITION_BYTES:
        raise SourceError(f"{channel.topic}: the definition of {channel.type} has {len(channel.schema)} bytes")
    if channel.encoding in ("cdr", "ros1"):
        decode = _ros_decoder(channel)
    elif channel.encoding == "json":
        decode = _from_json
    elif channel.encoding == "protobuf":
        decode = _protobuf_decoder(channel)
    else:
        raise SourceError(
            f"the messages on {channel.topic} are encoded as {channel.encoding or 'nothing known'!r}; read are "
            "cdr (ROS 2), ros1, json and protobuf"
        )

    def checked(data: bytes) -> Any:
        try:
            return decode(data)
        except Exception as error:  # damaged bytes can raise any error in a decoder
            raise SourceError(f"the {len(data)} bytes are no {channel.type} ({type(error).__name__})") from error

    return checked


def _ros_decoder(channel: Channel) -> Callable[[bytes], Any]:
    name = full_type(channel.type)
    store = _typestore(channel.encoding, name, channel.schema_encoding, channel.schema)
    if channel.encoding == "ros1":
        return lambda data: store.deserialize_ros1(data, name)
    return lambda data: store.deserialize_cdr(data, name)


@cache
def _typestore(encoding: str, name: str, schema_encoding: str, schema: bytes) -> Typestore:
    """The types that the bag defines, or else those of the distribution."""
    try:
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    except ImportError as error:
        raise MissingDependencyError("reading bags needs rosbags; install it with: pip install rosbags") from error
    known = dict(get_typestore(Stores.ROS1_NOETIC if encoding == "ros1" else Stores.ROS2_JAZZY).fielddefs)
    for last, text in _FOXGLOVE.items():
        known |= get_types_from_msg(text, f"foxglove_msgs/msg/{last}")
    known |= get_types_from_msg(_FFMPEG_PACKET, "ffmpeg_image_transport_msgs/msg/FFMPEGPacket")
    problem = "the bag has no definition of it"
    if schema:
        try:
            defined = _defined_types(name, schema_encoding, schema.decode(errors="replace"))
            return _store_of(known | defined, name)
        except Exception as error:  # damaged text can raise any error in rosbags
            problem = f"its definition in the bag cannot be used ({type(error).__name__})"
    if name not in known:
        raise SourceError(f"the message type {name} is not known, and {problem}")
    if schema:
        _log.warning("%s: %s; that of the distribution is taken", name, problem)
    return _store_of(known, name)


def _store_of(types: dict[str, Any], name: str) -> Typestore:
    """A type store of one type and its components."""
    from rosbags.interfaces import Nodetype
    from rosbags.typesys import Stores, get_typestore

    needed: dict[str, Any] = {}
    pending = [name]
    while pending:
        each = pending.pop()
        if each in needed:
            continue
        needed[each] = types[each]
        for _, (node, detail) in types[each][1]:
            while node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
                node, detail = detail[0]
            if node == Nodetype.NAME:
                pending.append(detail)
    store = get_typestore(Stores.EMPTY)
    store.register(needed)
    return store


def _defined_types(name: str, schema_encoding: str, text: str) -> dict[str, Any]:
    """The types of a definition as rosbag2 (ros2msg, ros2idl), ROS 1 or others (omgidl) record it."""
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    if not schema_encoding.endswith("idl"):
        return dict(get_types_from_msg(text, name))
    types: dict[str, Any] = {}
    text = re.sub(r"(?m)^\s*#.*$", "", text)  # rosbags does not parse #include
    for part in text.split(f"{'=' * 80}\n"):
        if part.strip():
            types |= get_types_from_idl(part.partition("\n")[2] if part.startswith("IDL: ") else part)
    return types


def _from_json(data: bytes) -> Any:
    """The object of JSON text; binary ``data`` are base64 there."""
    message = json.loads(data, object_hook=lambda fields: SimpleNamespace(**fields))
    if isinstance(getattr(message, "data", None), str):
        message.data = base64.b64decode(message.data, validate=True)
    return message


def _protobuf_decoder(channel: Channel) -> Callable[[bytes], Any]:
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise MissingDependencyError(
            f"the messages on {channel.topic} are Protobuf; install the reader with: pip install "
            "'ros_matching[protobuf]'"
        ) from error
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(channel.schema)
        pool = descriptor_pool.DescriptorPool()
        waiting = list(files.file)
        while waiting:  # a file goes in after those that it imports
            ready = [file for file in waiting if not set(file.dependency) & {other.name for other in waiting}]
            for file in ready or waiting:
                pool.Add(file)
            waiting = [file for file in waiting if file not in ready] if ready else []
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(channel.type)).FromString
    except Exception as error:  # a damaged schema can raise any error in protobuf
        raise SourceError(
            f"the Protobuf schema of {channel.type} on {channel.topic} cannot be used ({type(error).__name__})"
        ) from error

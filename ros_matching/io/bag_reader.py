"""Reading ROS 2 bags by rosbags: opening, choosing topics, messages; all that is broken becomes a ``SourceError``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.errors import MissingDependencyError, RosMatchingError, SourceError

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

STORAGE_SUFFIXES = (".mcap", ".db3")


@contextmanager
def open_bag(path: Path) -> Iterator[BagReader]:
    """Open a bag: its folder, or a single storage file (also in a folder whose recorder left no ``metadata.yaml``)."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise MissingDependencyError("reading bags needs rosbags; install it with: pip install rosbags") from error
    try:
        typestore = get_typestore(Stores.ROS2_JAZZY)
        with AnyReader([_storage(path)], default_typestore=typestore) as reader:
            yield BagReader(path, reader)
    except RosMatchingError:
        raise
    except Exception as error:  # rosbags and its storage libraries raise what the broken bytes lead them to
        raise SourceError(
            f"{path} cannot be read as a bag ({type(error).__name__}: {error}); if the recording was cut off, "
            "`ros2 bag reindex` or `mcap recover` may save it"
        ) from error


class BagReader:
    """An open bag."""

    def __init__(self, path: Path, reader: AnyReader) -> None:
        self._path = path
        self._reader = reader

    def topics(self, *types: str) -> list[str]:
        """The topics that have messages, of some types or of all."""
        return sorted(
            {
                connection.topic
                for connection in self._reader.connections
                if connection.msgcount and (not types or connection.msgtype in types)
            }
        )

    def type_of(self, topic: str) -> str:
        """The message type of a topic."""
        return self._connections(topic)[0].msgtype

    def count(self, topic: str) -> int:
        """How many messages a topic has."""
        return sum(connection.msgcount for connection in self._connections(topic))

    def raw(self, topic: str) -> Iterator[tuple[int, str, bytes]]:
        """Time of recording (ns), type and bytes of a topic's messages, for ``decode``."""
        for connection, stamp_ns, data in self._reader.messages(self._connections(topic)):
            yield stamp_ns, connection.msgtype, data

    def decode(self, message_type: str, data: bytes) -> Any:
        """The message of raw bytes."""
        return self._reader.deserialize(data, message_type)

    def messages(self, topic: str) -> Iterator[tuple[int, Any]]:
        """Time of recording (ns) and message of a topic."""
        for stamp_ns, message_type, data in self.raw(topic):
            yield stamp_ns, self.decode(message_type, data)

    def first(self, topic: str) -> tuple[int, Any]:
        """Time of recording (ns) and first message of a topic."""
        found = next(self.messages(topic), None)
        if found is None:
            raise SourceError(f"{self._path} states messages on {topic}, but holds none; the bag is cut off")
        return found

    def _connections(self, topic: str) -> list[Connection]:
        connections = [each for each in self._reader.connections if each.topic == topic and each.msgcount]
        if not connections:
            raise SourceError(f"{self._path} has no messages on {topic}; it has {self.listing()}")
        return connections

    def listing(self) -> str:
        """The topics with their types, for errors."""
        return ", ".join(f"{topic} ({self.type_of(topic)})" for topic in self.topics()) or "no messages at all"


def stamp_of(message: Any, recorded_ns: int) -> int:
    """The header's stamp (ns), or the time of recording where it was left 0."""
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec or recorded_ns


def _storage(path: Path) -> Path:
    if path.is_file() or (path / "metadata.yaml").is_file():
        return path
    files = [file for suffix in STORAGE_SUFFIXES for file in sorted(path.glob(f"*{suffix}"))]
    if len(files) != 1:
        raise SourceError(f"{path} has no metadata.yaml; run `ros2 bag reindex {path}` on it")
    return files[0]

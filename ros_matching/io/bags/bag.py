"""An open bag: its topics, their messages by row, and their decoding."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ros_matching.errors import SourceError
from ros_matching.io.bags.compression import compression_of, inflate
from ros_matching.io.bags.decoding import full_type, make_decoder
from ros_matching.io.bags.files import METADATA, open_files
from ros_matching.io.bags.storage import Channel

_MAX_TRIED = 50  # messages until one can be decoded


@dataclass(frozen=True)
class Record:
    """Message ``index`` of a topic with its bytes and their channel, or the ``reason`` why it cannot be read."""

    index: int
    time_ns: int = 0
    channel: Channel | None = None
    data: bytes = b""
    reason: str = ""


class Bag:
    """A bag of one or several files. It is indexed when opened; files are opened only while messages are read.

    ``damage`` has a sentence on each part that is cut off, damaged or missing: the rest is read. ``notes`` are on
    faults that cost no message.
    """

    def __init__(self, path: Path) -> None:
        """Open a bag: its folder, or one of its files; raises ``SourceError`` when nothing of it can be read."""
        self.path = path.parent if path.name == METADATA else path
        self._files = open_files(self.path)
        self.damage, self.notes = self._files.damage, self._files.notes
        self._decoders: dict[Channel, Callable[[bytes], Any]] = {}
        self._types: dict[str, str] = {}
        for storage in self._files.storages:
            for key, channel in storage.channels.items():
                if storage.counts.get(key):
                    self._types.setdefault(channel.topic, full_type(channel.type))

    def topics(self, *types: str) -> list[str]:
        """The topics that have messages, of some types or of all."""
        return sorted(topic for topic, name in self._types.items() if not types or name in types)

    def type_of(self, topic: str) -> str:
        """The message type of a topic; of several, the first that was recorded."""
        if topic not in self._types:
            raise SourceError(f"{self.path} has no messages on {topic}; it has {self.listing()}")
        return self._types[topic]

    def count(self, topic: str) -> int:
        """The number of messages of a topic."""
        return sum(count for _, _, count in self._parts(topic))

    def records(self, topic: str, rows: range | None = None) -> Iterator[Record]:
        """The messages of a topic in order of recording, for ``decode``; all, or those of some ``rows``."""
        rows = range(self.count(topic)) if rows is None else rows
        try:
            yield from self._records(topic, rows)
        except (OSError, sqlite3.Error) as error:
            raise SourceError(f"{self.path} cannot be read any more ({error})") from error

    def _records(self, topic: str, rows: range) -> Iterator[Record]:
        first = 0
        for storage, keys, count in self._parts(topic):
            # The selected rows in this file, numbered from its first message
            begin = (
                rows.start if rows.start >= first else rows.start + -(-(first - rows.start) // rows.step) * rows.step
            )
            own = range(begin - first, min(rows.stop - first, count), rows.step)
            for row in storage.read(keys, own):
                if row.message is None:
                    yield Record(first + row.index, reason=row.reason)
                else:
                    message = row.message
                    channel = storage.channels[message.channel]
                    yield Record(first + row.index, message.time_ns, channel, message.data)
            first += count

    def decode(self, record: Record) -> Any:
        """The message of a record; raises ``SourceError`` if it cannot be read or decoded."""
        if record.channel is None:
            raise SourceError(record.reason)
        if record.channel not in self._decoders:
            self._decoders[record.channel] = make_decoder(record.channel)
        data = record.data
        if record.channel.encoding == "cdr" and compression_of(data):
            data = inflate(data)  # rosbag2's compression by message
        return self._decoders[record.channel](data)

    def messages(self, topic: str) -> Iterator[tuple[int, Any]]:
        """Time of recording (ns) and message of a topic, of those that can be decoded."""
        for record in self.records(topic):
            with suppress(SourceError):
                yield record.time_ns, self.decode(record)

    def first(self, topic: str) -> Any:
        """The first message of a topic that can be decoded; raises the error of the first one where none can."""
        failure = SourceError(f"{self.path} has no messages on {topic} that can be read")
        for tried, record in enumerate(self.records(topic)):
            try:
                return self.decode(record)
            except SourceError as error:
                failure = error if tried == 0 else failure
            if tried == _MAX_TRIED:
                break
        raise SourceError(f"{self.path}, {topic}: {failure}") from failure

    def listing(self) -> str:
        """The topics with their types, for errors."""
        return ", ".join(f"{topic} ({self._types[topic]})" for topic in self.topics()) or "no messages at all"

    def _parts(self, topic: str) -> list[tuple[Any, list[int], int]]:
        """The storages with messages of a topic, the channels there, and how many messages they have."""
        name = self.type_of(topic)
        parts = []
        for storage in self._files.storages:
            counts = storage.counts
            keys = [
                key
                for key, channel in storage.channels.items()
                if channel.topic == topic and full_type(channel.type) == name and counts.get(key)
            ]
            if keys:
                parts.append((storage, keys, sum(counts[key] for key in keys)))
        return parts


def stamp_of(message: Any, recorded_ns: int) -> int:
    """The stamp (ns) of a message's header or of Foxglove's ``timestamp``, or the time of recording where it is 0."""
    stamp = message.header.stamp if hasattr(message, "header") else message.timestamp
    for seconds, nanoseconds in (("sec", "nanosec"), ("sec", "nsec"), ("seconds", "nanos")):
        if hasattr(stamp, seconds) and hasattr(stamp, nanoseconds):
            return int(getattr(stamp, seconds)) * 10**9 + int(getattr(stamp, nanoseconds)) or recorded_ns
    raise SourceError(f"expected a stamp of seconds and nanoseconds, got {type(stamp).__name__}")


def frame_of(message: Any) -> str:
    """The frame that a message's header or ``frame_id`` names."""
    return str(message.header.frame_id if hasattr(message, "header") else getattr(message, "frame_id", ""))

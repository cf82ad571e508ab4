"""The messages of one file of a bag: base of the readers of the three formats.

A file is indexed once, when it is opened: the number of messages by channel and block. So rows of a topic are selected
without decompressing the blocks between, and a file that was cut off is read as far as it goes. rosbags reads only
complete files of one profile, and allocate memory by the sizes in their headers; it decodes the messages
(``decoding``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from ros_matching.errors import SourceError

_MAX_HELD_BYTES = 1 << 26  # messages that wait to be sorted by time
MAX_DEFINITION_BYTES = 1 << 22


@dataclass(frozen=True)
class Channel:
    """A topic with the type and encoding of its messages; ``schema`` is the definition of the type, if recorded."""

    topic: str
    type: str
    encoding: str
    schema_encoding: str = ""
    schema: bytes = b""


@dataclass(frozen=True)
class Message:
    """One recorded message; ``data`` is encoded according to its channel."""

    channel: int
    time_ns: int
    data: bytes


@dataclass(frozen=True)
class Row:
    """Message ``index`` of a topic, or the ``reason`` why it cannot be read."""

    index: int
    message: Message | None
    reason: str = ""


class Storage(Protocol):
    """One file of a bag; ``damage`` is a sentence on its damage, empty if it is complete."""

    path: Path
    channels: dict[int, Channel]
    counts: dict[int, int]
    damage: str

    def read(self, channels: Collection[int], rows: range) -> Iterator[Row]:
        """The selected ones among the messages of some channels, in order of time of recording."""


@dataclass
class Block:
    """A part of a file with messages: the offset of its record, and how many messages of each channel it holds."""

    offset: int
    counts: dict[int, int] = field(default_factory=dict)
    size: int = 0
    start_ns: int = 0
    is_counted: bool = True


class BlockStorage(ABC):
    """A file of blocks of messages (MCAP chunks, ROS 1 chunks)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.channels: dict[int, Channel] = {}
        self.damage = ""
        self._blocks: list[Block] = []
        self._size = path.stat().st_size
        with path.open("rb") as file:
            self._index(file)
            for block in self._blocks:
                if not block.is_counted or not self.channels.keys() >= block.counts.keys():
                    self._count(file, block)
        self.counts = self._totals()

    def _totals(self) -> dict[int, int]:
        """The number of messages of each channel in all blocks."""
        total: dict[int, int] = {}
        for block in self._blocks:
            for channel, count in block.counts.items():
                total[channel] = total.get(channel, 0) + count
        return total

    def read(self, channels: Collection[int], rows: range) -> Iterator[Row]:
        """The selected ones among the messages of some channels, in order of time of recording."""
        first = 0
        with self.path.open("rb") as file:
            for block in self._blocks:
                count = sum(block.counts.get(channel, 0) for channel in channels)
                if _overlaps(rows, first, count):
                    yield from self._read_block(file, block, channels, range(first, first + count), rows)
                first += count

    def _read_block(
        self, file: BinaryIO, block: Block, channels: Collection[int], own: range, rows: range
    ) -> Iterator[Row]:
        row = own.start
        reason = f"{self.path} is damaged near byte {block.offset}"
        held: list[Message] = []
        held_bytes = 0
        try:
            for message in self._messages(file, block, channels):
                held.append(message)
                held_bytes += len(message.data)
                if held_bytes > _MAX_HELD_BYTES:
                    yield from _in_order(held, range(row, own.stop), rows)
                    row, held, held_bytes = row + len(held), [], 0
        except ChecksumError as error:
            held, reason = [], f"{reason}: {error}"
        except SourceError as error:
            reason = f"{reason}: {error}"
        yield from _in_order(held, range(row, own.stop), rows)
        for lost in range(row + len(held), own.stop):
            if lost in rows:
                yield Row(lost, None, reason)

    def _count(self, file: BinaryIO, block: Block) -> None:
        """Count the messages of a block by reading it."""
        counts: dict[int, int] = {}
        try:
            for message in self._messages(file, block, None):
                counts[message.channel] = counts.get(message.channel, 0) + 1
        except ChecksumError:
            pass  # reported by who reads the block
        except SourceError as error:
            self.damage = self.damage or f"{self.path} is damaged near byte {block.offset}: {error}"
        block.counts = {channel: count for channel, count in counts.items() if channel in self.channels}
        block.is_counted = True

    @abstractmethod
    def _index(self, file: BinaryIO) -> None:
        """Fill ``channels`` and ``_blocks`` from the file; sets ``damage`` if it is not whole."""

    @abstractmethod
    def _messages(self, file: BinaryIO, block: Block, channels: Collection[int] | None) -> Iterator[Message]:
        """The messages of a block in the order of the file: all without their data for ``None``.

        Adds channels that are declared in the block. Raises ``SourceError`` if the block is damaged.
        """


class ChecksumError(SourceError):
    """The checksum of a block does not agree with its data."""


def _in_order(messages: list[Message], own: range, rows: range) -> Iterator[Row]:
    ordered = sorted(messages, key=lambda message: message.time_ns)
    for index, message in zip(own, ordered, strict=False):
        if index in rows:
            yield Row(index, message)


def _overlaps(rows: range, first: int, count: int) -> bool:
    """Return True if one of ``rows`` (of positive step) lies in ``count`` rows from ``first``."""
    if not count or not rows or first + count <= rows.start or first > rows[-1]:
        return False
    ahead = max(0, first - rows.start)
    following = rows.start + -(-ahead // rows.step) * rows.step
    return following < first + count

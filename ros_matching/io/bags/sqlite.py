"""sqlite3 files of rosbag2, also those that were cut off or whose recorder was killed."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ros_matching.errors import SourceError
from ros_matching.io.bags.compression import MAX_MESSAGE_BYTES
from ros_matching.io.bags.storage import Channel, Message, Row

MAGIC = b"SQLite format 3\0"


class SqliteStorage:
    """The messages of a sqlite3 file. They are listed once, in the order of their ids, as far as the file goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage, self._ends_within_page = _missing_end(path)
        self.channels: dict[int, Channel] = {}
        self._ids: dict[int, np.ndarray] = {}
        self._times_ns: dict[int, np.ndarray] = {}
        try:
            with closing(self._connect()) as database:
                self._read_channels(database)
                self._list_messages(database)
        except sqlite3.Error as error:
            detail = self.damage or f"{path} cannot be read as a sqlite3 file of rosbag2"
            raise SourceError(f"{detail} ({error})") from error
        self.counts = {channel: len(ids) for channel, ids in self._ids.items()}

    def read(self, channels: Collection[int], rows: range) -> Iterator[Row]:
        """The selected ones among the messages of some channels, in order of time of recording."""
        known = [channel for channel in channels if channel in self._ids]
        if not known:
            return
        channels = np.concatenate([np.full(len(self._ids[channel]), channel) for channel in known])
        ids = np.concatenate([self._ids[channel] for channel in known])
        times_ns = np.concatenate([self._times_ns[channel] for channel in known])
        order = np.lexsort((ids, times_ns))
        with closing(self._connect()) as database:
            for index in rows:
                at = order[index]
                data, problem = self._data(database, int(ids[at]))
                if problem:
                    yield Row(index, None, problem)
                else:
                    yield Row(index, Message(int(channels[at]), int(times_ns[at]), data))

    def _data(self, database: sqlite3.Connection, message_id: int) -> tuple[bytes, str]:
        where = f"{self.path}, message {message_id}"
        try:
            found = database.execute("SELECT data FROM messages WHERE id = ?", (message_id,)).fetchone()
        except (sqlite3.Error, OverflowError, MemoryError) as error:
            return b"", f"{where} cannot be read ({error})"
        if found is None or not isinstance(found[0], bytes):
            return b"", f"{where} holds no data"
        return found[0], ""

    def _connect(self) -> sqlite3.Connection:
        """Open the file for reading; with its write-ahead log where a killed recorder left one."""
        has_log = self.path.with_name(f"{self.path.name}-wal").is_file()
        for mode in ("mode=ro", "mode=ro&immutable=1") if has_log else ("mode=ro&immutable=1",):
            uri = f"file:{quote(str(self.path.resolve()))}?{mode}"
            database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            try:
                database.execute("PRAGMA trusted_schema = OFF")
                database.execute("PRAGMA writable_schema = ON")  # opens a file that is shorter than its header states
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if hasattr(database, "setlimit"):  # Python 3.11
                    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_MESSAGE_BYTES)
                return database
            except sqlite3.Error as error:
                database.close()
                failure = error
        raise failure

    def _read_channels(self, database: sqlite3.Connection) -> None:
        tables = dict(
            database.execute("SELECT name, type FROM sqlite_master WHERE name IN ('messages', 'topics')").fetchall()
        )
        if tables != {"messages": "table", "topics": "table"}:
            raise SourceError(self.damage or f"{self.path} is a sqlite3 file, but has not the tables of a rosbag2 bag")
        definitions = self._definitions(database)
        for key, topic, name, encoding in database.execute("SELECT id, name, type, serialization_format FROM topics"):
            if isinstance(key, int) and all(isinstance(text, str) for text in (topic, name, encoding)):
                self.channels[key] = Channel(topic, name, encoding, *definitions.get(name, ("", b"")))

    def _definitions(self, database: sqlite3.Connection) -> dict[str, tuple[str, bytes]]:
        """Encoding and text of the definitions of the types; older bags have none."""
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        try:
            rows = database.execute(query).fetchall()
        except sqlite3.Error:
            return {}
        return {
            name: (encoding, text.encode())
            for name, encoding, text in rows
            if all(isinstance(value, str) for value in (name, encoding, text))
        }

    def _list_messages(self, database: sqlite3.Connection) -> None:
        listed = {key: (array("q"), array("q")) for key in self.channels}
        try:
            for key, topic, time_ns in database.execute("SELECT id, topic_id, timestamp FROM messages"):
                if topic in listed and isinstance(time_ns, int) and isinstance(key, int):
                    ids, times_ns = listed[topic]
                    ids.append(key)
                    times_ns.append(time_ns)
        except sqlite3.Error as error:
            self.damage = self.damage or f"{self.path} is cut off or damaged ({error})"
        for key, (ids, times_ns) in listed.items():
            self._ids[key] = np.array(ids, np.int64)
            self._times_ns[key] = np.array(times_ns, np.int64)
        if self._ends_within_page:
            self._drop_last(database)

    def _drop_last(self, database: sqlite3.Connection) -> None:
        """Leave out the last message that can be read: sqlite3 fills the page that is cut off with zeros."""
        ids = np.sort(np.concatenate([*self._ids.values(), np.zeros(0, np.int64)]))[::-1]
        last = next((message_id for message_id in ids.tolist() if not self._data(database, message_id)[1]), None)
        for channel, own in self._ids.items():
            kept = own != last
            self._ids[channel], self._times_ns[channel] = own[kept], self._times_ns[channel][kept]


def _missing_end(path: Path) -> tuple[str, bool]:
    """Return a sentence on the bytes missing from the size in the header, and True if the file ends within a page."""
    with path.open("rb") as file:
        header = file.read(32).ljust(32, b"\0")
    size = path.stat().st_size
    page = int.from_bytes(header[16:18], "big")
    page = 1 << 16 if page == 1 else max(page, 1)
    stated = int.from_bytes(header[28:32], "big") * page
    if stated <= size:
        return "", bool(size % page)
    return f"{path} is cut off: it has {size} of {stated} bytes", bool(size % page)

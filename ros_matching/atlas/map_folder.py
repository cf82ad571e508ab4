"""The folder of a saved map: files of arrays under a manifest with their sizes and checksums.

    manifest.json       version, contents, and the files with their SHA-256
    data-0123456789ab/  files of arrays (safetensors)

A map is saved into a new data folder, and then the manifest is replaced, which is one operation of the file system: a
process that is killed leaves the earlier map or the new one, whole. Nothing in the files is executed. All sizes are
checked before memory is allocated.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.errors import MapError

VERSION = 1
MANIFEST = "manifest.json"
FORMAT = "ros_matching map"
_DATA = re.compile(r"data-[0-9a-f]{12}")
_UNFINISHED = re.compile(r"\.[0-9a-f]{8}\.json")  # of atomic_file
_FILE = re.compile(r"[a-z]+(-[0-9]{5})?\.safetensors")
_MAX_MANIFEST, _MAX_FILES, _MAX_FILE = 4 * 2**20, 100_000, 2**30  # bytes, files, bytes

# What turns the manifest of a version into that of the next one. It may not change the files of arrays.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclass(frozen=True)
class Manifest:
    """Contents of a map folder: ``values`` describe the map, ``files`` are (size in bytes, SHA-256) by name."""

    data: str
    values: Mapping[str, Any]
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Size of all files."""
        return sum(size for size, _ in self.files.values())


class MapWriter:
    """Writes the files of a map into a folder; ``commit`` makes them the folder's map."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = f"data-{secrets.token_hex(6)}"
        (folder / self._data).mkdir()
        self._files: dict[str, tuple[int, str]] = {}

    def write(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays by name as one file, to the disk."""
        from safetensors.numpy import save

        content = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
        with open(self._folder / self._data / name, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._files[name] = len(content), hashlib.sha256(content).hexdigest()

    def commit(self, values: Mapping[str, Any]) -> None:
        """Replace the map of the folder, and remove the files of earlier ones."""
        _flush_folder(self._folder / self._data)
        _flush_folder(self._folder)
        manifest = {"format": FORMAT, "version": VERSION, "data": self._data, **values, "files": self._files}
        write_atomic(self._folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
        _flush_folder(self._folder)
        for path in self._folder.iterdir():
            if path.name.startswith(".") and _is_leftover(path.name):
                path.unlink(missing_ok=True)
            elif path.name != self._data and _is_leftover(path.name):
                shutil.rmtree(path, ignore_errors=True)

    def discard(self) -> None:
        """Remove the files written so far."""
        shutil.rmtree(self._folder / self._data, ignore_errors=True)


@contextlib.contextmanager
def writing(folder: str | Path) -> Iterator[MapWriter]:
    """Yield a writer for a map folder, which is created if absent; on an error the earlier map stays.

    Raises ``MapError`` for a folder that holds other things, or if another process saves there, and ``OSError``.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise MapError(f"{folder} is a file; a map is saved as a folder")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MapError(f"another process is saving a map in {folder}; choose another folder") from None
        others = [path.name for path in folder.iterdir() if not _is_leftover(path.name)]
        if others and not (folder / MANIFEST).exists():
            raise MapError(f"{folder} is not empty and not a map (it has {sorted(others)[0]}); choose another folder")
        writer = MapWriter(folder)
        try:
            yield writer
        except BaseException:
            writer.discard()
            raise
    finally:
        os.close(descriptor)


def _is_leftover(name: str) -> bool:
    """Return True for what an interrupted save may leave in a folder."""
    return bool(_DATA.fullmatch(name) or _UNFINISHED.fullmatch(name))


def read_manifest(folder: str | Path) -> Manifest:
    """Read the manifest of a map folder, brought to the current version. Raises ``MapError``."""
    folder = Path(folder).expanduser()
    path = folder / MANIFEST
    if not folder.is_dir():
        raise MapError(f"there is no map in {folder}: there is no such folder")
    if not path.exists():
        raise MapError(f"there is no map in {folder}: it has no {MANIFEST}")
    try:
        values = json.loads(_content(path, _MAX_MANIFEST))
    except (ValueError, RecursionError) as error:
        raise MapError(f"{path} is damaged: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise MapError(f"{path} is not the manifest of a map: format must be {FORMAT!r}")
    return _checked(_migrated(values, path), path)


def _migrated(values: dict[str, Any], path: Path) -> dict[str, Any]:
    version = values.get("version")
    if type(version) is not int or version < 1:
        raise MapError(f"{path} is damaged: version is {version!r}, expected a number from 1 to {VERSION}")
    if version > VERSION:
        raise MapError(f"{path} has version {version}, this program reads up to {VERSION}; update ros_matching")
    while version < VERSION:
        if version not in MIGRATIONS:
            raise MapError(f"{path} has version {version}, which this program no longer reads; make the map again")
        values, version = MIGRATIONS[version](values), version + 1
    return values


def _checked(values: dict[str, Any], path: Path) -> Manifest:
    data, files = values.get("data"), values.get("files")
    if not isinstance(data, str) or not _DATA.fullmatch(data):
        raise MapError(f"{path} is damaged: {data!r} cannot be the name of its data folder")
    if not isinstance(files, dict) or len(files) > _MAX_FILES:
        raise MapError(f"{path} is damaged: it lists no files, or more than {_MAX_FILES}")
    checked = {}
    for name, entry in files.items():
        is_entry = isinstance(entry, list) and len(entry) == 2 and type(entry[0]) is int and isinstance(entry[1], str)
        if not _FILE.fullmatch(name) or not is_entry or not 0 <= entry[0] <= _MAX_FILE:
            raise MapError(f"{path} is damaged: the entry {name!r}: {entry!r:.80} is not a file of a map")
        checked[name] = entry[0], entry[1]
    return Manifest(data, values, checked)


class MapReader:
    """Reads the files of a map folder; every one is compared with its checksum.

    Raises ``MapError`` if all files together are larger than ``max_bytes``.
    """

    def __init__(self, folder: str | Path, max_bytes: int) -> None:
        self.folder = Path(folder).expanduser()
        self.manifest = read_manifest(self.folder)
        if self.manifest.nbytes > max_bytes:
            raise MapError(
                f"the map {self.folder} has {self.manifest.nbytes / 2**20:.0f} MiB, more than the limit of "
                f"{max_bytes / 2**20:.0f}"
            )

    def read(self, name: str) -> dict[str, np.ndarray]:
        """Return the arrays of a file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = self.folder / self.manifest.data / name
        if name not in self.manifest.files:
            raise MapError(f"the map {self.folder} is incomplete: its manifest does not list {name}")
        size, checksum = self.manifest.files[name]
        content = _content(path, size)
        if len(content) != size or hashlib.sha256(content).hexdigest() != checksum:
            raise MapError(
                f"{path} is damaged: its {len(content)} bytes are not the {size} of the manifest, or differ from its "
                "checksum; use a copy of the map"
            )
        try:
            return load(content)
        except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise MapError(f"{path} is damaged: {error}") from error


def _content(path: Path, limit: int) -> bytes:
    """The content of a regular file in place, neither link nor device, of at most ``limit`` bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise MapError(f"cannot read {path}: {os.strerror(error.errno)}") from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MapError(f"{path} is not a regular file")
        if status.st_size > limit:
            raise MapError(f"{path} has {status.st_size} bytes, expected at most {limit}")
        return file.read(limit)


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files in a zip archive, read without unpacking it."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ros_matching.errors import SourceError

_MAX_BYTES = 1 << 28  # of one file
_MAX_FILES = 1_000_000


@dataclass(frozen=True)
class ArchivedFile:
    """A file in an open archive; it has the names of a ``Path``, and its content."""

    path: Path  # of the archive
    member: str
    archive: zipfile.ZipFile = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name without its folders."""
        return PurePosixPath(self.member).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.member).stem

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return PurePosixPath(self.member).suffix

    @property
    def folder(self) -> str:
        """The folders within the archive, empty at its top."""
        parent = str(PurePosixPath(self.member).parent)
        return "" if parent == "." else parent

    @property
    def parent(self) -> Path:
        """The archive, for messages."""
        return self.path

    def __str__(self) -> str:
        return f"{self.path}/{self.member}"

    def read_bytes(self) -> bytes:
        """The content; raises ``SourceError`` where it is damaged, encrypted or too large."""
        try:
            size = self.archive.getinfo(self.member).file_size
            if size > _MAX_BYTES:
                raise SourceError(f"it has {size} bytes; files of up to {_MAX_BYTES} bytes are read from archives")
            return self.archive.read(self.member)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            raise SourceError(f"it cannot be unpacked ({error})") from error


def archived_files(path: Path) -> list[ArchivedFile]:
    """The files of a zip archive; raises ``SourceError`` where it is missing or none."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as a zip archive ({error}); is it cut off?") from error
    if len(archive.namelist()) > _MAX_FILES:
        raise SourceError(f"{path} holds {len(archive.namelist())} files; up to {_MAX_FILES} are read")
    return [ArchivedFile(path, member, archive) for member in archive.namelist() if not member.endswith("/")]

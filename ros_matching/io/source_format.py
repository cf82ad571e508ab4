"""Formats of recordings: recognition and opening."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ros_matching.errors import SourceError
from ros_matching.io.source import FrameSource

FIRST_STAMP_NS = 1_000_000_000  # where stamps are made up: 0 means "not set" in ROS


@dataclass(frozen=True)
class SourceFormat:
    """One format: ``matches(path)`` probes cheaply, ``open(path, **options)`` takes the named ``options``."""

    name: str
    looks_for: str  # the files of this format, for error messages
    matches: Callable[[Path], bool]
    open: Callable[..., FrameSource]
    options: tuple[str, ...] = ("calibration",)
    has_own_calibration_file: bool = False  # one of any kind in its folder, which ``cam`` and ``off_center`` apply to
    is_plain: bool = False  # images without a layout of their own: other formats come before it

    @property
    def key(self) -> str:
        """The name as it is written in ``format=``."""
        return self.name.lower().replace(" ", "-")


def stamps_at_rate(count: int, rate_hz: float, source: str) -> list[int]:
    """Stamps (ns) of frames at a constant rate from 1 s, each rounded separately so that errors do not accumulate."""
    return stamps_of_numbers(range(count), rate_hz, source)


def stamps_of_numbers(numbers: Iterable[int], rate_hz: float, source: str) -> list[int]:
    """Stamps (ns) of numbered frames, some of which may be missing, at a constant rate; number 0 comes at 1 s."""
    if not 0 < rate_hz <= 1e6:
        raise SourceError(f"{source}: expected a frame rate between 0 and 1e6 Hz, got {rate_hz}; give it as fps")
    return [FIRST_STAMP_NS + round(number * 1e9 / rate_hz) for number in numbers]


# Files with other content than their name indicates, by their first bytes.
_FOREIGN = {
    b"version https://git-lfs": "is a pointer of git-lfs, not the file itself; run `git lfs pull` in its repository",
    b"\x1f\x8b": "is compressed by gzip; unpack it with gunzip or tar",
    b"PK\x03\x04": "is a zip archive; unpack it",
    b"7z\xbc\xaf": "is a 7z archive; unpack it",
    b"BZh": "is compressed by bzip2; unpack it",
    b"\xfd7zXZ": "is compressed by xz; unpack it",
    b"<!doctype": "is a web page; the download failed",
    b"<html": "is a web page; the download failed",
}


def foreign_content(path: Path) -> str:
    """Return a predicate for an empty file, an archive, a web page or a git-lfs pointer; else an empty text."""
    with path.open("rb") as file:
        head = file.read(32)
    if not head:
        return "is empty: nothing was recorded, or the copy failed"
    return next((problem for magic, problem in _FOREIGN.items() if head.lower().startswith(magic.lower())), "")

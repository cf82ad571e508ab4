"""Lists of frames, the image and the stamp of each: a damaged line is a fault of its frame and not of the list."""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from pathlib import Path

from ros_matching.errors import SourceError
from ros_matching.io.faults import FrameFault
from ros_matching.io.text import finite_decimal, read_lines, stamps_from_seconds


@dataclass(frozen=True)
class Listing:
    """A list of image files: ``stamps_ns`` and ``names`` of the good lines, by their ``indices`` in the list.

    ``faults`` are the other lines, with the reason.
    """

    indices: list[int]
    stamps_ns: list[int]
    names: list[str]
    faults: list[FrameFault]


def read_listing(path: Path, *, separator: str | None = None, in_seconds: bool = True) -> Listing:
    """Read a list of images: a stamp, in seconds or nanoseconds, and a file name a line; further cells are left out.

    Raises ``SourceError`` where no line is good.
    """
    meaning = f"a stamp in {'seconds' if in_seconds else 'nanoseconds'} and the name of an image"
    lines = [(number, line) for number, line in _data_lines(path) if line]
    rows = [[cell.strip() for cell in line.split(separator)] for _, line in lines]
    parsed = {index: entry for index, cells in enumerate(rows) if (entry := _parsed(cells, in_seconds)) is not None}
    values = [value for value, _ in parsed.values()]
    stamps_ns: list[int | None] = [int(value) for value in values]
    if in_seconds and parsed:
        stamps_ns = stamps_from_seconds(path, [rows[index][0] for index in parsed], values)
    good = {index: stamp_ns for index, stamp_ns in zip(parsed, stamps_ns, strict=True) if stamp_ns is not None}
    faults = [
        FrameFault(index, f"{path}, line {number}: expected {meaning}, got {line[:80]!r}")
        for index, (number, line) in enumerate(lines)
        if index not in good
    ]
    if not good:
        raise SourceError(faults[0].reason if faults else f"{path} holds no lines of {meaning}")
    return Listing(list(good), list(good.values()), [parsed[index][1] for index in good], faults)


def read_stamps(path: Path) -> list[int | None]:
    """Read stamps in seconds, one a line, as nanoseconds; ``None`` for an empty line between others and for NaN.

    Raises ``SourceError`` for a line that is no number, and where there is no stamp at all.
    """
    lines = list(_data_lines(path))
    while lines and not lines[-1][1]:
        lines.pop()
    while lines and not lines[0][1]:
        del lines[0]
    known = {row: line for row, (_, line) in enumerate(lines) if line.lower() not in ("", "nan")}
    if not known:
        raise SourceError(f"{path} holds no lines of a stamp in seconds")
    values = [_stamp(path, lines[row][0], line) for row, line in known.items()]
    stamps_ns = dict(zip(known, stamps_from_seconds(path, list(known.values()), values), strict=True))
    return [stamps_ns.get(row) for row in range(len(lines))]


def _data_lines(path: Path) -> list[tuple[int, str]]:
    """The lines, stripped and with their numbers, that are no comments; empty ones stay."""
    lines = enumerate(map(str.strip, read_lines(path)), start=1)
    return [(number, line) for number, line in lines if not line.startswith("#")]


def _parsed(cells: list[str], in_seconds: bool) -> tuple[decimal.Decimal, str] | None:
    """The stamp and the name of a line, or ``None`` for a damaged one."""
    try:
        stamp, name = finite_decimal(cells[0]), cells[1]
    except (ValueError, ArithmeticError, IndexError):
        return None
    is_whole = stamp == int(stamp) and abs(stamp) < 2**63
    return (stamp, name) if name and (in_seconds or is_whole) else None


def _stamp(path: Path, number: int, line: str) -> decimal.Decimal:
    try:
        return finite_decimal(line)
    except (ValueError, ArithmeticError):
        raise SourceError(f"{path}, line {number}: expected a stamp in seconds, got {line[:80]!r}") from None

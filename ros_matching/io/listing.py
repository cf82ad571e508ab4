"""Lists of frames, the image and the stamp of each: a damaged line is a fault of its frame and not of the list."""

from __future__ import annotations

import decimal
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

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

    Raises ``SourceError`` if no line is good.
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


# A number, perhaps behind a word (frame_1403636579.763555); or seconds and nanoseconds (1403636579_763555584).
_NUMBER = re.compile(r"^(?:[A-Za-z]+[_-]?)?(\d{1,19})(\.\d{1,12})?$")
_SECONDS_AND_NANOSECONDS = re.compile(r"^(?:[A-Za-z]+[_-]?)?(\d{9,10})[_-](\d{9})$")
# Whole numbers are stamps where they are of the years 2000 to 2100 in one of these units.
_FIRST_S, _LAST_S = 946_684_800, 4_102_444_800
_UNITS_NS = {"seconds": 10**9, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
_MIN_DIGITS = 13  # longer numbers count no frames: they must be stamps
_SHORTEST_STEP_NS, _LONGEST_STEP_NS = 500_000, 60 * 10**9


def stamps_of_names(files: Sequence[Path]) -> list[int] | None:
    """The stamps (ns) of files by their names, in the order of the files; ``None`` where names are no stamps.

    Frame numbers and words are none. Raises ``SourceError`` for names that must be stamps, having decimals or too many
    digits, and whose unit or rate is implausible, and for two files of one stamp.
    """
    stems = [file.stem for file in files]
    stamps_ns = _read(stems)
    if stamps_ns is None:
        if stems and all(_digits(stem) >= _MIN_DIGITS for stem in stems):
            raise _implausible(files, "they are no seconds, milli-, micro- or nanoseconds of the years 2000 to 2100")
        return None
    steps = np.diff(np.sort(np.array(stamps_ns, dtype=np.int64)))
    if (steps == 0).any():
        raise _implausible(files, "two of them are the same stamp")
    if len(steps) and not _SHORTEST_STEP_NS <= np.median(steps) <= _LONGEST_STEP_NS:
        raise _implausible(files, f"they would be {np.median(steps) / 1e9:.3g} s apart")
    return stamps_ns


def _read(stems: list[str]) -> list[int] | None:
    pairs = [_SECONDS_AND_NANOSECONDS.match(stem) for stem in stems]
    if all(pairs):
        return [int(pair[1]) * 10**9 + int(pair[2]) for pair in pairs]
    numbers = [_NUMBER.match(stem) for stem in stems]
    if not all(numbers):
        return None
    if all(number[2] for number in numbers):
        values = [Decimal(number[1] + number[2]) * 10**9 for number in numbers]
        return [int(value) for value in values] if max(values) < 2**63 else None
    whole = [int(number[1]) for number in numbers if not number[2]]
    if len(whole) < len(stems):
        return None
    for unit_ns in _UNITS_NS.values():
        if all(_FIRST_S * 10**9 <= value * unit_ns <= _LAST_S * 10**9 for value in whole):
            return [value * unit_ns for value in whole]
    return None


def _digits(stem: str) -> int:
    """The number of digits of a name that is one number, 0 for another."""
    number = _NUMBER.match(stem)
    return len(number[1].lstrip("0")) if number else 0


def _implausible(files: Sequence[Path], reason: str) -> SourceError:
    names = ", ".join(file.name for file in files[:2])
    return SourceError(
        f"{files[0].parent}: the names of the images ({names} ...) look like stamps, but {reason}; "
        "write times.txt with a stamp in seconds for each image, or give the rate as fps"
    )

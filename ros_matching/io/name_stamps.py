"""Stamps that the names of image files are: seconds with decimals, or whole seconds to nanoseconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from ros_matching.errors import SourceError

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

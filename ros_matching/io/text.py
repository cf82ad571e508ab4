"""Tables of numbers in text files, with errors that name the file and the line."""

from __future__ import annotations

import codecs
import decimal
import itertools
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.errors import SourceError

COMMAS_OR_SPACES = ", "  # as ``separator`` of ``read_table``: for tables of numbers alone

# The units of stamps and how many nanoseconds they are. A stamp of a clock since 1970 shows its unit by its size: int64
# nanoseconds end at 9.2e9 s, so that nothing from 1e11 on can be seconds, and 1e11 ms is the year 1973.
_UNITS_NS = {"nanoseconds": 1, "microseconds": 10**3, "milliseconds": 10**6, "seconds": 10**9}
_LEAST = {"nanoseconds": 1e17, "microseconds": 1e14, "milliseconds": 1e11, "seconds": 0.0}
_LONGEST_STEP_S = 10_000  # between two whole-numbered stamps: longer steps are not in seconds
_LARGEST = 10**20
_PIECE_BYTES = 1 << 20
_LOGGER = logging.getLogger(__name__)

MAX_TEXT_BYTES = 64 << 20  # a day of poses at 10 Hz
MAX_LINES = 2_000_000
MAX_CELLS = 8_000_000  # in memory they take 60 bytes each
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# How some Windows programs (KinectFusion's, in 7-Scenes) write NaN.
_WINDOWS_NAN = ("#ind", "#qnan", "#inf")


@dataclass(frozen=True)
class TextTable:
    """The non-empty lines of a text file, split into cells; lines that start with ``#`` are left out.

    ``header`` holds the cells of the line before the first row, a comment or column names, empty without one.
    """

    path: Path
    line_numbers: list[int]
    rows: list[list[str]]
    header: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, row: int) -> str:
        """The position of a row, for error messages."""
        return f"{self.path}, line {self.line_numbers[row]}"

    def numbers(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """The columns ``first`` to ``last`` (exclusive) as (N, C) float64; NaN is a number here."""
        cells = [row[first:last] for row in self.rows]
        try:
            return np.array(cells, dtype=np.float64)
        except ValueError:
            return np.array(
                [[self._parsed(i, cell, _number, "a number") for cell in row] for i, row in enumerate(cells)]
            )

    def stamps_ns(self, column: int = 0) -> np.ndarray:
        """A column of seconds as (N,) int64 nanoseconds, exact to the last digit.

        Stamps since 1970 in milli-, micro- or nanoseconds are recognised by their size, with a logged warning.
        """
        cells = [row[column] for row in self.rows]
        values = [self._parsed(i, cell, finite_decimal, "a stamp in seconds") for i, cell in enumerate(cells)]
        stamps_ns = stamps_from_seconds(self.path, cells, values)
        if None in stamps_ns:
            row = stamps_ns.index(None)
            raise SourceError(f"{self.where(row)}: expected a stamp in seconds, got {cells[row]!r}")
        return np.array(stamps_ns, dtype=np.int64)

    def integers(self, column: int = 0) -> np.ndarray:
        """A column of integers as (N,) int64."""
        cells = [self._parsed(i, row[column], _int64, "a whole number") for i, row in enumerate(self.rows)]
        return np.array(cells, dtype=np.int64)

    def _parsed(self, row: int, cell: str, parse: Callable[[str], int | float], expected: str) -> int | float:
        try:
            return parse(cell)
        except (ValueError, ArithmeticError):
            raise SourceError(f"{self.where(row)}: expected {expected}, got {cell!r}") from None


def _number(cell: str) -> float:
    return np.nan if any(mark in cell.lower() for mark in _WINDOWS_NAN) else float(cell)


def _int64(cell: str) -> int:
    value = int(cell)
    if not -(2**63) <= value < 2**63:
        raise OverflowError(cell)
    return value


def stamp_unit(values: Sequence[decimal.Decimal]) -> str:
    """The unit that stamps of this size are in: seconds, milliseconds, microseconds or nanoseconds."""
    middle = sorted(abs(value) for value in values)[len(values) // 2]
    return next(unit for unit, least in _LEAST.items() if middle >= least)


def stamps_from_seconds(path: Path, cells: Sequence[str], values: Sequence[decimal.Decimal]) -> list[int | None]:
    """Stamps in nanoseconds from ``values``, which the ``cells`` of a file hold, in seconds or the unit of their size.

    ``None`` where int64 cannot hold one. Raises ``SourceError`` if they cannot be seconds.
    """
    unit = stamp_unit(values)
    if unit != "seconds":
        _LOGGER.warning("%s: stamps of this size are read as %s", path, unit)
    elif _steps_too_far(cells, values):
        raise SourceError(
            f"{path}: expected stamps in seconds, got {cells[0]}, {cells[1]} ..., which are hours apart; "
            "write them in seconds (1.5 for 1500 ms)"
        )
    stamps_ns = [round(value * _UNITS_NS[unit]) for value in values]
    return [stamp_ns if -(2**63) <= stamp_ns < 2**63 else None for stamp_ns in stamps_ns]


def finite_decimal(text: str) -> decimal.Decimal:
    """The exact value of a decimal number; ``ValueError`` or ``ArithmeticError`` for infinite and huge numbers."""
    value = decimal.Decimal(text)
    if not value.is_finite() or abs(value) > _LARGEST:
        raise ValueError(text)
    return value


def _steps_too_far(cells: Sequence[str], values: Sequence[decimal.Decimal]) -> bool:
    """Return True for whole-numbered stamps whose median step is hours long."""
    if len(values) < 3 or not all(cell.lstrip("+-").isdigit() for cell in cells):
        return False
    steps = sorted(abs(after - before) for before, after in itertools.pairwise(values))
    return steps[len(steps) // 2] >= _LONGEST_STEP_S


def read_table(
    path: Path,
    columns: int,
    meaning: str,
    *,
    separator: str | None = None,
    has_names: bool = False,
    is_ragged: bool = False,
) -> TextTable:
    """Read a text file of at least ``columns`` cells a line; ``meaning`` describes a line in errors.

    Lines may have more cells only where a ``separator`` is given (CSV) or with ``is_ragged``. With ``has_names`` the
    first line may hold column names. Raises ``SourceError`` when the file is missing, empty, not text, or has a line of
    another length.
    """
    line_numbers, rows, header, count = [], [], (), 0
    exact = separator in (None, COMMAS_OR_SPACES) and not is_ragged
    for number, line in enumerate(read_lines(path), start=1):
        stripped = line.strip()
        cells = _cells(stripped.lstrip("#"), separator)
        if not stripped or stripped.startswith("#") or (has_names and not rows and _are_names(cells)):
            header = header if rows else tuple(cells)
            continue
        if len(cells) < columns or (len(cells) > columns and exact):
            shown = stripped if len(stripped) <= 80 else stripped[:77] + "..."
            raise SourceError(
                f"{path}, line {number}: expected {columns} values ({meaning}), got {len(cells)}: {shown!r}; "
                "is the file cut off, or of another format?"
            )
        line_numbers.append(number)
        rows.append(cells)
        count += len(cells)
        if count > MAX_CELLS:
            raise SourceError(f"{path} holds more than {MAX_CELLS} values, as no such file does; is it the right one?")
    if not rows:
        raise SourceError(f"{path} holds no lines of {meaning}")
    return TextTable(path, line_numbers, rows, header)


def _cells(line: str, separator: str | None) -> list[str]:
    if separator == COMMAS_OR_SPACES:
        return [cell for cell in re.split(r"[\s,;]+", line) if cell]
    return [cell.strip() for cell in line.split(separator)] if separator else line.split()


def _are_names(cells: Sequence[str]) -> bool:
    """Return True for column names: cells that begin with a letter, none of them NaN or infinite."""
    words = [cell for cell in cells if cell]
    return bool(words) and all(word[0].isalpha() and word.lower() not in ("nan", "inf", "infinity") for word in words)


def numbers_by_name(path: Path) -> dict[str, np.ndarray]:
    """The lines ``name: numbers`` of a file; lines without a name or with other values are left out."""
    values = {}
    for line in read_lines(path):
        name, _, text = line.partition(":")
        try:
            values[name.strip()] = np.array(text.split(), dtype=np.float64)
        except ValueError:
            continue
    return values


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file of ``lines`` atomically, creating its folder."""
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_text(path: Path, max_bytes: int = MAX_TEXT_BYTES, *, is_strict: bool = True) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    ``is_strict`` refuses text in another encoding, whose letters are otherwise replaced. Raises ``SourceError`` for a
    file that is missing, binary, or larger than ``max_bytes``.
    """
    try:
        content = _read_up_to(path, max_bytes + 1)
    except FileNotFoundError:
        raise SourceError(f"there is no file {path}") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read as text ({error})") from error
    if len(content) > max_bytes:
        raise SourceError(
            f"{path} is larger than the {max_bytes >> 20} MB that such a file may have; is it the right one?"
        )
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in content:
        raise SourceError(f"{path} is a binary file, not text (or UTF-16 without a byte order mark)")
    try:
        return content.decode(encoding, "strict" if is_strict or encoding != "utf-8" else "replace")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} cannot be read as text ({error})") from error


def _read_up_to(path: Path, max_bytes: int) -> bytes:
    """The content, piece by piece: a read of ``max_bytes`` would take that much memory for any file."""
    with path.open("rb") as file:
        pieces, size = [], 0
        while size < max_bytes and (piece := file.read(min(_PIECE_BYTES, max_bytes - size))):
            pieces.append(piece)
            size += len(piece)
    return b"".join(pieces)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; raises ``SourceError`` if it is missing, not text, or of too many lines."""
    lines = read_text(path).splitlines()
    if len(lines) > MAX_LINES:
        raise SourceError(f"{path} holds {len(lines)} lines, more than the {MAX_LINES} that such a file may have")
    return lines


def stream_lines(path: Path) -> Iterator[str]:
    """The lines of a text file in UTF-8 of any size, one after the other; errors as of ``read_text``."""
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_TEXT_BYTES):
                if len(line) == MAX_TEXT_BYTES or b"\0" in line:
                    raise SourceError(f"{path} is a binary file, not text")
                yield line.removeprefix(codecs.BOM_UTF8).decode("utf-8").rstrip("\r\n")
    except FileNotFoundError:
        raise SourceError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as text ({error})") from error

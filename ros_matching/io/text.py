"""Tables of numbers in text files, with errors that name the file and the line."""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.errors import SourceError

# How some Windows programs (KinectFusion's, in 7-Scenes) write NaN.
_WINDOWS_NAN = ("#ind", "#qnan", "#inf")


@dataclass(frozen=True)
class TextTable:
    """The non-empty lines of a text file, split into cells; lines that start with ``#`` are left out."""

    path: Path
    line_numbers: list[int]
    rows: list[list[str]]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, row: int) -> str:
        """The place of a row, for error messages."""
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
        """A column of seconds as (N,) int64 nanoseconds, exact to the last digit."""
        cells = [self._parsed(i, row[column], _nanoseconds, "a stamp in seconds") for i, row in enumerate(self.rows)]
        return np.array(cells, dtype=np.int64)

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


def _nanoseconds(seconds: str) -> int:
    return _int64(str(round(decimal.Decimal(seconds) * 10**9)))


def read_table(path: Path, columns: int, meaning: str, *, separator: str | None = None) -> TextTable:
    """Read a text file of at least ``columns`` cells a line; ``meaning`` says in errors what a line should hold.

    Lines may have more cells only where a ``separator`` is given (CSV). Raises ``SourceError`` when the file is
    missing, empty, not text, or has a line of another length.
    """
    line_numbers, rows = [], []
    for number, line in enumerate(_lines(path), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        cells = [cell.strip() for cell in stripped.split(separator)] if separator else stripped.split()
        if len(cells) < columns or (len(cells) > columns and separator is None):
            shown = stripped if len(stripped) <= 80 else stripped[:77] + "..."
            raise SourceError(
                f"{path}, line {number}: expected {columns} values ({meaning}), got {len(cells)}: {shown!r}; "
                "is the file cut off, or of another format?"
            )
        line_numbers.append(number)
        rows.append(cells)
    if not rows:
        raise SourceError(f"{path} holds no lines of {meaning}")
    return TextTable(path, line_numbers, rows)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file of ``lines`` atomically, creating its folder."""
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise SourceError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as text ({error})") from error

"""Results of a measurement as Markdown, JSON and a plot of curves."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.errors import MissingDependencyError
from ros_matching.evaluation.curves import Panel, plot_panels
from ros_matching.evaluation.trajectory.report_files import library_versions

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Column:
    """A column of a table: the key of its values in the rows, its heading, and the number format."""

    key: str
    heading: str
    form: str = ""
    scale: float = 1

    def text(self, value: object) -> str:
        """Return a value as text; unknown (``None`` or NaN) is empty."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        return format(self.scale * value, self.form) if self.form else str(value)


@dataclass(frozen=True)
class Table:
    """Named columns and rows of values, with a ``note`` that explains them.

    A row may lack some columns, and may have others that appear only in JSON.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]
    note: str = ""

    def markdown(self) -> str:
        """Return the table in Markdown, with aligned columns; columns without any value are left out."""
        columns = [column for column in self.columns if any(column.text(row.get(column.key)) for row in self.rows)]
        lines = [[column.heading for column in columns]]
        lines += [[column.text(row.get(column.key)) for column in columns] for row in self.rows]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        aligned = [
            [
                cell.rjust(width) if column.form else cell.ljust(width)
                for cell, column, width in zip(line, columns, widths, strict=True)
            ]
            for line in lines
        ]
        rule = [
            "-" * (width - 1) + ":" if column.form else "-" * width
            for column, width in zip(columns, widths, strict=True)
        ]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in [aligned[0], rule, *aligned[1:]])


@dataclass(frozen=True)
class Measurement:
    """Result of a measurement: tables, panels, and the settings of the measurement."""

    name: str
    settings: Mapping[str, Any]
    tables: Sequence[Table]
    panels: Sequence[Panel] = ()
    details: Sequence[Mapping[str, Any]] = ()

    def markdown(self) -> str:
        """Return all tables under their titles, with their notes."""
        parts = [(table.title, table.markdown(), table.note) for table in self.tables]
        return "\n\n".join(text for part in parts for text in part if text)


def write_measurement(measurement: Measurement, out_dir: str | Path) -> list[Path]:
    """Write NAME.md, NAME.json and NAME.png into a folder (created if absent); return the paths.

    The plot is left out with a logged warning without matplotlib.
    """
    folder = Path(out_dir)
    markdown, values, plot = (folder / f"{measurement.name}{suffix}" for suffix in (".md", ".json", ".png"))
    write_atomic(markdown, measurement.markdown() + "\n")
    content = {
        "measurement": measurement.name,
        "settings": measurement.settings,
        "versions": library_versions(),
        "tables": [{"title": table.title, "rows": [dict(row) for row in table.rows]} for table in measurement.tables],
        "details": list(measurement.details),
    }
    write_atomic(values, json.dumps(_jsonable(content), indent=2) + "\n")
    if not measurement.panels:
        plot.unlink(missing_ok=True)  # an earlier run's
        return [markdown, values]
    try:
        plot_panels(measurement.panels, plot)
    except MissingDependencyError as error:
        plot.unlink(missing_ok=True)
        _LOGGER.warning("%s is not drawn: %s", plot.name, error)
        return [markdown, values]
    return [markdown, values, plot]


def _jsonable(value: Any) -> Any:
    """Return the value with NaN and infinity as ``None``, and NumPy scalars as Python numbers."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

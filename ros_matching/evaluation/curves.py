"""Diagrams of curves, several in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ros_matching.errors import MissingDependencyError

# Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7f7f7f")
_DASHES = ("-", "--", ":")
_PANEL_INCHES = (4.2, 3.4)
_LEGEND_INCHES = 0.25  # a row
_PANELS_PER_ROW = 4
_MAX_NAMES_PER_ROW = 5
_CHARACTERS_PER_INCH = 11
_LINE_CHARACTERS = 6  # as wide as the line before a name in the legend


@dataclass(frozen=True)
class Panel:
    """One diagram: lines as (x, y) by name, all against the same axes."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]]


def plot_panels(panels: Sequence[Panel], path: str | Path) -> None:
    """Draw diagrams side by side into an image file, with one legend: a line of one name looks the same in all.

    Raises ``MissingDependencyError`` when matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "plots need matplotlib; install it with: pip install matplotlib (extra viz of ros_matching)"
        ) from error
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    columns = min(len(panels), _PANELS_PER_ROW)
    names_per_row = _names_per_row(names, _PANEL_INCHES[0] * columns)
    rows, legend_rows = -(-len(panels) // columns), -(-len(names) // names_per_row)
    heights = [_PANEL_INCHES[1]] * rows + [_LEGEND_INCHES * legend_rows]
    figure = Figure(figsize=(_PANEL_INCHES[0] * columns, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=heights)
    handles = {}
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(grid[divmod(number, columns)])
        for name, (x, y) in panel.lines.items():
            place = names.index(name)
            color, dashes = _COLORS[place % len(_COLORS)], _DASHES[place // len(_COLORS) % len(_DASHES)]
            handles[name] = axes.plot(x, y, color=color, linestyle=dashes, linewidth=1.4)[0]
        axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.margins(x=0)
    legend = figure.add_subplot(grid[rows, :])
    legend.set_axis_off()
    # Names may be wider than the picture; they shall not squeeze the diagrams.
    legend.legend(handles.values(), handles.keys(), loc="center", ncol=names_per_row, frameon=False).set_in_layout(
        False
    )
    figure.savefig(path, dpi=110)


def _names_per_row(names: Sequence[str], width_inches: float) -> int:
    longest = max(map(len, names), default=0) + _LINE_CHARACTERS
    return min(max(int(width_inches * _CHARACTERS_PER_INCH / longest), 1), _MAX_NAMES_PER_ROW)

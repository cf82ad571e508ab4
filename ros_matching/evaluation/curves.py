"""Plots of curves, several panels in one figure; the style that all figures of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.atomic_file import atomic_path
from ros_matching.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


# Okabe and Ito's palette, distinguishable for colour-blind readers.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#7f7f7f"
_STYLE = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "font.size": 9}
_DPI = 110
_COLORS = (*PALETTE, GREY)
_DASHES = ("-", "--", ":")
_PANEL_INCHES = (4.2, 3.4)
_LEGEND_INCHES = 0.25  # a row
_PANELS_PER_ROW = 4
_MAX_NAMES_PER_ROW = 5
_CHARACTERS_PER_INCH = 11
_LINE_CHARACTERS = 6  # as wide as the line before a name in the legend


def save_figure(path: str | Path, size_inches: tuple[float, float], draw: Callable[[Figure], None]) -> None:
    """Create a figure, call ``draw`` on it, and write it as an image (PNG, PDF or SVG by its suffix).

    The state of matplotlib (pyplot, its settings) is not changed. Raises ``MissingDependencyError`` if matplotlib is
    not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "plots need matplotlib; install it with: pip install matplotlib (extra viz of ros_matching)"
        ) from error
    with rc_context(_STYLE):
        figure = Figure(figsize=size_inches, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=_DPI)


@dataclass(frozen=True)
class Panel:
    """One diagram: lines as (x, y) by name."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]]


def plot_panels(panels: Sequence[Panel], path: str | Path) -> None:
    """Draw diagrams next to each other into an image file, with one legend: a name has the same style in all.

    Raises ``MissingDependencyError`` if matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    columns = min(len(panels), _PANELS_PER_ROW)
    width_inches = _PANEL_INCHES[0] * columns
    names_per_row = _names_per_row(names, width_inches)
    legend_rows = -(-len(names) // names_per_row)
    heights = [_PANEL_INCHES[1]] * -(-len(panels) // columns) + [_LEGEND_INCHES * legend_rows]

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
        handles: dict[str, Line2D] = {}
        for number, panel in enumerate(panels):
            handles |= _draw_panel(figure.add_subplot(grid[divmod(number, columns)]), panel, names)
        legend = figure.add_subplot(grid[-1, :])
        legend.set_axis_off()
        # Names may be wider than the figure; they must not shrink the diagrams.
        legend.legend(handles.values(), handles.keys(), loc="center", ncol=names_per_row, frameon=False).set_in_layout(
            False
        )

    save_figure(path, (width_inches, sum(heights)), draw)


def _draw_panel(axes: Axes, panel: Panel, names: Sequence[str]) -> dict[str, Line2D]:
    """Draw the lines, each in the style of its name, and return them by name."""
    handles = {}
    for name, (x, y) in panel.lines.items():
        place = names.index(name)
        color, dashes = _COLORS[place % len(_COLORS)], _DASHES[place // len(_COLORS) % len(_DASHES)]
        [handles[name]] = axes.plot(x, y, color=color, linestyle=dashes, linewidth=1.4)
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label, ylim=(0, None))
    axes.margins(x=0)
    return handles


def _names_per_row(names: Sequence[str], width_inches: float) -> int:
    longest = max(map(len, names), default=0) + _LINE_CHARACTERS
    return min(max(int(width_inches * _CHARACTERS_PER_INCH / longest), 1), _MAX_NAMES_PER_ROW)

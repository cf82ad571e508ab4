"""What all pictures of this folder have in common: how they are made, and their colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.atomic_file import atomic_path
from ros_matching.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#7f7f7f"
_STYLE = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "font.size": 9}
_DPI = 110


def save_figure(path: str | Path, size_inches: tuple[float, float], draw: Callable[[Figure], None]) -> None:
    """Make a figure, let ``draw`` fill it, and write it as an image (PNG, PDF or SVG by its suffix).

    matplotlib's own state (pyplot, its settings) stays untouched. Raises ``MissingDependencyError`` when matplotlib is
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

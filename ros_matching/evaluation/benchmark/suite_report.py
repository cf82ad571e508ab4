"""Tables of a standard benchmark: our runs on whole sequences beside published figures, and those on excerpts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ros_matching.evaluation.benchmark.published_figures import PublishedFigures
from ros_matching.evaluation.benchmark.suites import Suite, SuiteFolder
from ros_matching.evaluation.measurement import Column, Table

_FAILED = 0.5  # fraction of tracked frames below which a run has no figure
_MARKED = 0.95  # fraction below which it is stated
_ALIGNMENTS = {"sim3": "Sim(3)", "se3": "SE(3)"}
_NOTE = """\
ATE in metres: RMSE of the camera positions after one {alignment} alignment of the whole trajectory. Own rows: {runs},
{frames} of {rate:g} Hz, {method}. A percentage is the fraction of frames with a
pose, where below 95 %; 'failed' is below 50 %. The mean is over all sequences, and empty if one has no figure.
Published rows have one camera too; [n] is their source. They were measured on GPUs, some on fewer frames (column
frames). An empty cell is unknown, or a failure in the source."""
_EXCERPT_NOTE = "Not comparable with published figures: a part of a sequence has less drift and another path."


def suite_tables(
    suite: Suite,
    folder: SuiteFolder,
    rows: Sequence[Mapping[str, Any]],
    published: Sequence[PublishedFigures],
    *,
    stride: int,
    runs: int,
    alignment: str,
    slam: bool = False,
) -> list[Table]:
    """Return the table of the suite, and that of excerpts if there are any.

    ``rows`` are those of ``benchmark_rows``, with the names of the suite as ``sequence``; the other arguments describe
    how they were measured.
    """
    whole = {found.sequence.name for found in folder.found if found.is_whole}
    names = [sequence.name for sequence in suite.sequences]
    kind = "SLAM" if slam else "odometry"
    own = [
        _own_row(matcher, kind, names, {row["sequence"]: row for row in rows if row["matcher"] == matcher}, whole)
        | {"frames": "all" if stride == 1 else _every(stride)}
        for matcher in dict.fromkeys(row["matcher"] for row in rows)
    ]
    own = [row for row in own if any(row[name] for name in names)]
    sources = list(dict.fromkeys(figures.source for figures in published))
    others = [_published_row(figures, names, sources.index(figures.source) + 1) for figures in published]
    columns = [Column("system", "system"), Column("kind", "kind"), Column("frames", "frames")]
    columns += [Column(name, name) for name in names] + [Column("mean", "mean"), Column("source", "source")]
    note = _NOTE.format(
        alignment=_ALIGNMENTS.get(alignment, alignment),
        runs="one run" if runs == 1 else f"medians of {runs} runs",
        frames="every frame" if stride == 1 else f"{_every(stride)} frame",
        rate=suite.rate_hz,
        method="SLAM: poses at the end of the run, after all loops" if slam else "odometry without loop closing",
    )
    parts = [note, *_lists(folder), *(f"[{n}] {source.title}: {source.url}" for n, source in enumerate(sources, 1))]
    tables = [Table(f"{suite.title}: ATE [m]", tuple(columns), [*own, *others], "\n\n".join(parts))]
    excerpts = _excerpt_rows(folder, rows)
    return tables + ([_excerpt_table(suite, excerpts)] if excerpts else [])


def _own_row(
    matcher: str, kind: str, names: Sequence[str], rows: Mapping[str, Mapping[str, Any]], whole: set[str]
) -> dict[str, str]:
    cells = {name: _cell(rows[name]) if name in rows and name in whole else "" for name in names}
    row = {"system": f"**ros_matching, {matcher}**", "kind": kind} | cells
    is_complete = all(cells[name] and not cells[name].startswith("failed") for name in names)
    return row | {"mean": _metres(sum(rows[name]["ate"] for name in names) / len(names)) if is_complete else ""}


def _every(stride: int) -> str:
    return f"every { {2: '2nd', 3: '3rd'}.get(stride, f'{stride}th') }"


def _cell(row: Mapping[str, Any]) -> str:
    """Return the figure of a run; empty if it could not be evaluated."""
    tracked = row["tracked"]
    if not math.isfinite(tracked):
        return ""
    if tracked < _FAILED:
        return f"failed ({100 * tracked:.0f} %)"
    if not math.isfinite(row["ate"]):
        return ""
    return _metres(row["ate"]) + (f" ({100 * tracked:.0f} %)" if tracked < _MARKED else "")


def _published_row(figures: PublishedFigures, names: Sequence[str], number: int) -> dict[str, str]:
    cells = {name: _metres(figures.ate[name]) if name in figures.ate else "" for name in names}
    row = {"system": figures.name, "kind": figures.kind, "frames": figures.frames, "source": f"[{number}]"} | cells
    return row | {"mean": "" if figures.mean is None else _metres(figures.mean)}


def _metres(value: float) -> str:
    """Return a length with three decimals, two above a metre."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _lists(folder: SuiteFolder) -> list[str]:
    parts = []
    if folder.missing:
        parts.append(f"Not at hand: {', '.join(folder.missing)}.")
    parts += [f"Not run, {reason}" for reason in folder.unusable]
    if folder.others:
        parts.append(f"Another folder has more frames of the same sequence than {', '.join(map(str, folder.others))}.")
    return parts


def _excerpt_rows(folder: SuiteFolder, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    excerpts = {found.sequence.name: found for found in folder.found if not found.is_whole}
    return [
        dict(row) | {"folder": excerpts[row["sequence"]].path.name, "of": excerpts[row["sequence"]].sequence.frames}
        for row in rows
        if row["sequence"] in excerpts
    ]


def _excerpt_table(suite: Suite, rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        Column("sequence", "sequence"),
        Column("folder", "folder"),
        Column("matcher", "matcher"),
        Column("frames", "frames", ".0f"),
        Column("of", "of", ".0f"),
        Column("tracked", "tracked %", ".1f", 100),
        Column("ate", "ATE [m]", ".4f"),
        Column("ate_percent", "ATE [% of the path]", ".2f"),
    )
    return Table(f"{suite.title}: excerpts", columns, rows, _EXCERPT_NOTE)

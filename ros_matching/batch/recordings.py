"""Recordings of a batch: from list files, glob patterns and sources, each with a unique name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from ros_matching.errors import SourceError
from ros_matching.io.text import read_lines

_SCENE = "scene:"
_OPTIONS = re.compile(r"\?(?=\w+=)")  # of a source, `path?stride=2`; a `?` of a pattern is not followed by a key
_LIST_SUFFIXES = (".txt", ".list", ".lst")
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Recording:
    """A source of frames, as ``open_source`` takes it, and the name of its results."""

    name: str
    source: str


def find_recordings(inputs: Sequence[str]) -> list[Recording]:
    """Return the recordings of list files (a source per line), glob patterns and sources, in that order.

    The paths of a list are relative to its folder; the options of a pattern, ``'bags/*.mcap?stride=2'``, apply to every
    match. A source that is given twice counts once. Raises ``SourceError`` for an empty list and a pattern without a
    match.
    """
    sources = list(dict.fromkeys(source for text in inputs for source in _expanded(text)))
    return [Recording(name, source) for name, source in zip(_names(sources), sources, strict=True)]


def _expanded(text: str) -> Iterator[str]:
    path, options = _split(text)
    if text.startswith(_SCENE):
        yield text
    elif not options and Path(path).suffix in _LIST_SUFFIXES and Path(path).is_file():
        yield from _listed(Path(path))
    elif has_magic(path) and not Path(path).exists():
        matches = sorted(glob(str(Path(path).expanduser()), recursive=True))
        if not matches:
            raise SourceError(f"nothing matches the pattern {path!r}; quote it, and check its folder")
        yield from (_absolute(Path(match)) + options for match in matches)
    else:
        yield _absolute(Path(path)) + options


def _listed(file: Path) -> Iterator[str]:
    lines = [line.strip() for line in read_lines(file)]
    sources = [line for line in lines if line and not line.startswith("#")]
    if not sources:
        raise SourceError(f"the list {file} has no recordings; expected a source per line, # begins a comment")
    for source in sources:
        path, options = _split(source)
        yield source if source.startswith(_SCENE) else _absolute(file.parent / Path(path).expanduser()) + options


def _split(source: str) -> tuple[str, str]:
    """Return the path of a source and its options, with their question mark."""
    match = _OPTIONS.search(source)
    return (source, "") if match is None else (source[: match.start()], source[match.start() :])


def _absolute(path: Path) -> str:
    return str(path.expanduser().absolute())


def _names(sources: Sequence[str]) -> list[str]:
    """Return short names that are unique: as many last parts of a path as necessary, and its options if it repeats."""
    paths = [source if source.startswith(_SCENE) else _split(source)[0] for source in sources]
    short = _short_names(list(dict.fromkeys(paths)))
    names = [
        short[path] if paths.count(path) == 1 else _as_file_name(short[path] + source[len(path) :])
        for path, source in zip(paths, sources, strict=True)
    ]
    return _numbered(names)


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return a name for each of different paths, longer where the last parts of several are equal."""
    parts = {path: _parts(path) for path in paths}
    lengths = dict.fromkeys(paths, 1)
    while True:
        names = {path: _as_file_name("_".join(parts[path][-lengths[path] :])) for path in paths}
        same = Counter(name.lower() for name in names.values())
        longer = [path for path in paths if same[names[path].lower()] > 1 and lengths[path] < len(parts[path])]
        if not longer:
            return names
        for path in longer:
            lengths[path] += 1


def _parts(source: str) -> list[str]:
    if source.startswith(_SCENE):
        return [source]
    path = Path(source)
    last = path.name if path.is_dir() else path.stem
    return [part for part in [*path.parent.parts[1:], last] if part]


def _as_file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("_.")[:_LONGEST_NAME] or "recording"


def _numbered(names: Sequence[str]) -> list[str]:
    """Return the names with numbers behind those that are still equal."""
    taken: set[str] = set()
    unique = []
    for name in names:
        number, free = 2, name
        while free.lower() in taken:
            free, number = f"{name}_{number}", number + 1
        taken.add(free.lower())
        unique.append(free)
    return unique

"""Standard benchmarks: the sequences of EuRoC, TUM RGB-D, KITTI, ICL-NUIM and TartanAir, and how they are evaluated.

All figures are the ATE of one monocular camera after a Sim(3) alignment, the median of several runs. The calibrations
come with the layouts of the data sets (``io.layouts``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ros_matching.errors import ConfigError, SourceError
from ros_matching.io import open_source
from ros_matching.io.formats import matching_formats

_WHOLE = 0.9  # of the published number of frames: data sets are delivered with a few frames more or less
_MAX_DEPTH = 4  # folders below the given one, such as dataset/sequences/00 or MH_01_easy/MH_01_easy
_BEFORE, _AFTER = r"(?<![a-z0-9])", r"(?![a-z0-9])"


@dataclass(frozen=True)
class SuiteSequence:
    """One sequence of a suite: its ``name`` in tables, the folders that are it, and its number of frames.

    ``pattern`` is searched in the name of a folder, in lower case. ``frames`` is 0 if unknown.
    """

    name: str
    pattern: str
    frames: int = 0

    def is_in(self, folder: Path) -> bool:
        """Return True if the name of a folder is that of the sequence."""
        return re.search(self.pattern, folder.name.lower()) is not None


@dataclass(frozen=True)
class Suite:
    """A benchmark: its sequences and its protocol.

    Every ``stride``-th frame is tracked, in ``runs`` runs, each from one frame later; the median of their ATE after an
    ``alignment`` is the figure. ``rate_hz`` is that of the camera.
    """

    key: str
    title: str
    sequences: tuple[SuiteSequence, ...]
    rate_hz: float
    stride: int = 1
    runs: int = 5
    alignment: str = "sim3"


@dataclass(frozen=True)
class FoundSequence:
    """A sequence of a suite at hand. An excerpt is not comparable with published figures."""

    sequence: SuiteSequence
    path: Path
    frames: int

    @property
    def is_whole(self) -> bool:
        """Whether all frames of the sequence are there."""
        return self.frames >= _WHOLE * self.sequence.frames


@dataclass(frozen=True)
class SuiteFolder:
    """The sequences of a suite in a folder, in the order of the suite.

    ``missing`` are the names of those that are not there; ``unusable`` the reasons for folders that have the name of a
    sequence and cannot be opened; ``others`` the folders of a sequence that another folder has more frames of.
    """

    found: tuple[FoundSequence, ...]
    missing: tuple[str, ...]
    unusable: tuple[str, ...]
    others: tuple[Path, ...]


def find_sequences(suite: Suite, root: Path) -> SuiteFolder:
    """Find the sequences of a suite in a folder and those below it, or the sequence that the folder itself is.

    Where several folders are one sequence, the one with the most frames is used. Raises ``ConfigError`` if there is
    no such folder or it has no sequence of the suite.
    """
    if not root.is_dir():
        raise ConfigError(f"there is no folder {root}; give the folder that has the sequences of {suite.title}")
    candidates: dict[str, list[FoundSequence]] = {sequence.name: [] for sequence in suite.sequences}
    unusable = []
    for folder in _folders(root):
        for sequence in suite.sequences:
            if not sequence.is_in(folder) or not matching_formats(folder):
                continue
            try:
                candidates[sequence.name].append(FoundSequence(sequence, folder, len(open_source(folder))))
            except SourceError as error:
                unusable.append(f"{sequence.name}: {error}")
    found, others = [], []
    for choices in candidates.values():
        best, *rest = sorted(choices, key=lambda choice: -choice.frames) or [None]
        found += [] if best is None else [best]
        others += [choice.path for choice in rest]
    if not found:
        names = ", ".join(sequence.name for sequence in suite.sequences)
        why = f"; {'; '.join(unusable)}" if unusable else ""
        raise ConfigError(f"{root} has no sequence of {suite.title} (expected folders of: {names}){why}")
    missing = [name for name, choices in candidates.items() if not choices]
    return SuiteFolder(tuple(found), tuple(missing), tuple(unusable), tuple(others))


def _folders(root: Path) -> Iterator[Path]:
    """The folder and those below it; what is below a folder that a source can be opened of is part of that source."""
    top = len(root.resolve().parts)
    for path, names, _ in os.walk(root.resolve(), followlinks=True):  # data sets are often links to another disk
        names.sort()
        folder = Path(path)
        yield folder
        if len(folder.parts) - top >= _MAX_DEPTH or matching_formats(folder):
            names.clear()


def _named(names: Sequence[tuple[str, str, int]]) -> tuple[SuiteSequence, ...]:
    return tuple(SuiteSequence(name, f"{_BEFORE}(?:{pattern}){_AFTER}", frames) for name, pattern, frames in names)


# Numbers of frames: of the left camera, as delivered.
_EUROC_FRAMES = {
    "MH01": 3682, "MH02": 3040, "MH03": 2700, "MH04": 2033, "MH05": 2273, "V101": 2912, "V102": 1710, "V103": 2149,
    "V201": 2280, "V202": 2348, "V203": 1922,
}  # fmt: skip
_TUM_FRAMES = {
    "360": 756, "desk": 613, "desk2": 640, "floor": 1242, "plant": 1141, "room": 1362, "rpy": 723, "teddy": 1419,
    "xyz": 798,
}  # fmt: skip
_KITTI_FRAMES = (4541, 1101, 4661, 801, 271, 2761, 1101, 1101, 4071, 1591, 1201)
_ICL_FRAMES = (1510, 967, 882, 1242)

SUITES = {
    suite.key: suite
    for suite in (
        Suite(
            "euroc",
            "EuRoC MAV",
            _named([(name, f"{name[:-2].lower()}_?{name[-2:]}", frames) for name, frames in _EUROC_FRAMES.items()]),
            rate_hz=20,
        ),
        Suite(
            "tum",
            "TUM RGB-D, freiburg1",
            _named([(name, f"(?:freiburg|fr)1_{name}", frames) for name, frames in _TUM_FRAMES.items()]),
            rate_hz=30,
        ),
        Suite(
            "kitti",
            "KITTI odometry",
            tuple(
                SuiteSequence(f"{number:02d}", rf"^(?:kitti_?)?{number:02d}{_AFTER}", frames)
                for number, frames in enumerate(_KITTI_FRAMES)
            ),
            rate_hz=10,
        ),
        Suite(
            "icl",
            "ICL-NUIM",
            _named([(f"living{n}", rf"living_?room_?(?:traj)?{n}|lr_?kt{n}", _ICL_FRAMES[n]) for n in range(4)])
            # The official archives of the office have no name of a room.
            + tuple(
                SuiteSequence(
                    f"office{n}",
                    rf"{_BEFORE}office_?(?:room)?_?(?:traj|kt)?{n}{_AFTER}|^traj{n}{_AFTER}",
                    _ICL_FRAMES[n],
                )
                for n in range(4)
            ),
            rate_hz=30,
        ),
        Suite(
            "tartanair",
            "TartanAir, monocular test set",
            _named([(f"M{kind}00{n}", f"m{kind.lower()}00{n}", 0) for kind in "EH" for n in range(8)]),
            rate_hz=30,
        ),
    )
}

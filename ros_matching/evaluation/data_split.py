"""Data split: frames and photos for validation, which are never used for training.

This file is the only place that defines the split.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ros_matching.errors import EvaluationError
from ros_matching.io.images import IMAGE_SUFFIXES

NEVER_TRAINED = frozenset({"lund_door"})
PARTS = ("held-out", "training", "all")
_HELD_OUT_PHOTO = 10  # every tenth photo


@dataclass(frozen=True)
class PairSet:
    """Pairs of frames of one sequence, ``gaps`` frames apart; ``rotation_only`` if translations are too noisy.

    Every ``step``-th frame is the first of a pair for each gap. ``part`` of the frames, one of ``PARTS``: held-out
    frames, for reported figures; training frames, for the choice of settings; or all.
    """

    sequence: str
    gaps: tuple[int, ...]
    rotation_only: bool = False
    part: str = "held-out"
    step: int = 1

    def __post_init__(self) -> None:
        if not self.gaps or min(self.gaps) < 1:
            raise EvaluationError(f"pairs of {self.sequence} need gaps of one frame or more, got {self.gaps}")
        if self.step < 1:
            raise EvaluationError(f"pairs of {self.sequence} need a step of one frame or more, got {self.step}")
        if self.part not in PARTS:
            raise EvaluationError(f"no part of a sequence is called {self.part!r}; there are: {', '.join(PARTS)}")

    @property
    def is_trained_on(self) -> bool:
        """True if a part of the sequence may be used for training."""
        return self.sequence not in NEVER_TRAINED

    def pairs(self, count: int) -> list[tuple[int, int, int]]:
        """Return the pairs of a sequence of ``count`` frames as (gap, frame 0, frame 1), by gap."""
        cut = training_frames(self.sequence, count).stop
        frames = {"held-out": range(cut, count), "training": range(cut), "all": range(count)}[self.part]
        starts = frames[:: self.step]
        return [(gap, first, first + gap) for gap in self.gaps for first in starts if first + gap in frames]


# The poses of redkitchen are those of another camera and noisy from frame to frame: translation directions of nearby
# frames are off by 10 degrees.
VALIDATION_PAIRS = (
    PairSet("hololens_000", (2, 4, 8)),
    PairSet("fox", (1, 2, 3)),
    PairSet("lund_door", (1, 2, 3)),
    PairSet("redkitchen", (5, 10, 20), rotation_only=True, step=5),
)


def training_frames(sequence: str, count: int) -> range:
    """Return the frames of a sequence of ``count`` for training; ``sequence`` is the name of its folder."""
    return range(0 if sequence in NEVER_TRAINED else count * 4 // 5)


def validation_frames(sequence: str, count: int) -> range:
    """Return the frames of a sequence of ``count`` that are never used for training."""
    return range(training_frames(sequence, count).stop, count)


def training_photos(folder: str | Path) -> list[Path]:
    """Return the photos in a folder and its subfolders for training."""
    photos = _photos(Path(folder))
    return [photo for number, photo in enumerate(photos) if number % _HELD_OUT_PHOTO]


def validation_photos(folder: str | Path, count: int | None = None) -> list[Path]:
    """Return the photos in a folder that are never used for training, or ``count`` of them, evenly spread."""
    photos = _photos(Path(folder))[::_HELD_OUT_PHOTO]
    if count is None:
        return photos
    if not 1 <= count <= len(photos):
        raise EvaluationError(f"{count} photos were requested; there are 1 to {len(photos)} held out in {folder}")
    return [photos[number * len(photos) // count] for number in range(count)]


def _photos(folder: Path) -> list[Path]:
    """Return all images below a folder, in the order of their relative paths."""
    photos = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES]
    if not photos:
        raise EvaluationError(f"there are no photos in {folder}; give the folder that holds them")
    return sorted(photos, key=lambda path: path.relative_to(folder).as_posix())

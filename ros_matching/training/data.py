"""Where a user keeps the images to train on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ros_matching.errors import TrainingError

ENVIRONMENT = "ROS_MATCHING_DATA"


class DataFolder:
    """A folder with ``photos/`` (JPEG or PNG, in any subfolders) and sequences with ground truth, one folder each.

    A sequence is a folder that ``io.open_source`` reads, with ``images/``, ``poses.txt`` and ``K.txt``.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise TrainingError(f"there is no data folder {root}; give one with --data or {ENVIRONMENT}")
        self.root = root

    @classmethod
    def found(cls, path: Path | None, environment: Mapping[str, str] = os.environ) -> DataFolder:
        """The folder given, or else the one that the environment names."""
        if path is None and not environment.get(ENVIRONMENT):
            raise TrainingError(f"training needs images: give their folder with --data, or set {ENVIRONMENT}")
        return cls(path or Path(environment[ENVIRONMENT]))

    @property
    def photos(self) -> Path:
        """The folder of the photos."""
        return self._part("photos")

    def sequence(self, name: str) -> Path:
        """The folder of a sequence."""
        return self._part(name)

    def _part(self, name: str) -> Path:
        folder = self.root / name
        if not folder.is_dir():
            raise TrainingError(f"the data folder {self.root} has no {name}/, which this recipe trains on")
        return folder

"""Masks of images: what must not be used, such as the robot's own body, the sky or people.

A mask is an image of the size of the stored images; black (0) is excluded, as in COLMAP and nerfstudio.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ros_matching.datatypes import Frame
from ros_matching.errors import SourceError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.io.source import FrameSource

_USED = 128  # least value after undistortion, which mixes neighbours


def read_mask(path: Path, width: int, height: int) -> np.ndarray:
    """Return a mask (H, W) uint8, 255 where the image is used; raises ``SourceError`` unless it has that size."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SourceError(f"{path} cannot be read as an image; expected a mask of {width}x{height}, black is excluded")
    if image.shape[:2] != (height, width):
        raise SourceError(
            f"the mask {path} is {image.shape[1]}x{image.shape[0]}, and the images are {width}x{height} as stored"
        )
    channels = image.reshape(height, width, -1)[..., :3]  # without alpha
    return np.where(channels.any(axis=2), np.uint8(255), np.uint8(0))


def undistorted_mask(mask: np.ndarray, undistorter: Undistorter) -> np.ndarray:
    """Return the mask (H, W) bool of the undistorted image: False where it is excluded."""
    return undistorter.undistort(mask) >= _USED


class MaskedSource:
    """A source with masks: one file for all frames, or a folder with a file for each.

    A frame's file is ``NAME.png`` by the name of its image with or without suffix, or else ``000012.png`` by its index.
    Frames without a file are used whole. Raises ``SourceError`` where there is no mask at all.
    """

    def __init__(self, source: FrameSource, path: str | Path) -> None:
        self._source = source
        self._path = Path(path).expanduser()
        self._undistorter = Undistorter(source.calibration.camera)
        self._static: np.ndarray | None = None
        self._files: dict[str, Path] = {}
        self._names = {record.index: record.image for record in getattr(source, "records", ())}
        if self._path.is_dir():
            self._files = {file.name.removesuffix(".png"): file for file in self._path.glob("*.png")}
            if not any(self._file(index) for index in self._names or range(len(source))):
                raise SourceError(
                    f"{self._path} has no masks for {source.name}; expected NAME.png for an image NAME.jpg, or "
                    "000012.png for frame 12"
                )
        else:
            self._static = self._read(self._path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            mask = self._static
            if mask is None and (file := self._file(frame.index)) is not None:
                mask = self._read(file)
            yield frame if mask is None else replace(frame, mask=mask)

    def _file(self, index: int) -> Path | None:
        """Return the mask of a frame, if there is one."""
        image = self._names.get(index)
        names = [] if image is None else [image.name, image.name.rpartition(".")[0]]
        if image is None:
            names = [f"{index:06d}", f"{index:05d}", str(index)]
        return next((self._files[name] for name in names if name in self._files), None)

    def _read(self, file: Path) -> np.ndarray:
        stored = self._undistorter.source
        return undistorted_mask(read_mask(file, stored.width, stored.height), self._undistorter)

"""A frame source that is read from one stream, from its beginning: what bags and videos have in common."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeVar

from ros_matching.datatypes import Camera, Frame
from ros_matching.geometry.camera import Undistorter
from ros_matching.io.calibration import UsedCalibration
from ros_matching.io.faults import FrameFault, Loaded, deliver

Source = TypeVar("Source", bound="StreamedSource")


class StreamedSource(ABC):
    """The ``FrameSource`` of a stream of ``count`` frames; ``faults`` lists what the latest iteration left out."""

    def __init__(self, name: str, description: str, undistorter: Undistorter, calibration_origin: str, count: int):
        """``name`` is for reports and plots, ``description`` names the stream in messages."""
        self._name = name
        self._description = description
        self._undistorter = undistorter
        self._calibration_origin = calibration_origin
        self._count = count
        self._rows = range(count)
        self.faults: list[FrameFault] = []

    @property
    def name(self) -> str:
        """The name of the recording."""
        return self._name

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered images."""
        return self._undistorter.camera

    @property
    def calibration(self) -> UsedCalibration:
        """The calibration of the images as they were recorded."""
        return UsedCalibration(self._calibration_origin, self._undistorter.source)

    def __len__(self) -> int:
        """The number of selected frames, by what the stream states."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Frame]:
        self.faults = []
        return deliver(self._loaded(), self.faults, self._description)

    def select(self: Source, rows: range) -> Source:
        """The same stream, reduced to some of its frames, which keep their index."""
        selected = copy.copy(self)
        selected._rows = self._rows[rows.start : rows.stop : rows.step]
        selected.faults = []
        return selected

    @abstractmethod
    def _loaded(self) -> Iterator[Loaded]:
        """The selected frames ``_rows``, and the faults found on the way."""

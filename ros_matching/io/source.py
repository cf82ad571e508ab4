"""What a frame source is: anything one can write ``for frame in source`` over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from ros_matching.datatypes import Camera, Frame
from ros_matching.io.calibration import UsedCalibration
from ros_matching.io.faults import FrameFault


@runtime_checkable
class FrameSource(Protocol):
    """A finite sequence of camera frames in order of time. Iterating twice gives the same frames twice.

    A frame that cannot be read, or whose stamp is not after the one before, is skipped and reported in ``faults``.
    """

    @property
    def name(self) -> str:
        """A short name for reports and plots."""

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered (undistorted) images."""

    @property
    def calibration(self) -> UsedCalibration:
        """The calibration of the images before they were undistorted."""

    def __len__(self) -> int:
        """Return the number of frames, the faulty ones included."""

    @property
    def faults(self) -> Sequence[FrameFault]:
        """The faulty frames of the newest iteration so far."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames, each read when it is asked for."""

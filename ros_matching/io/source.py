"""What a frame source is: anything one can write ``for frame in source`` over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from ros_matching.datatypes import Camera, Frame


@runtime_checkable
class FrameSource(Protocol):
    """A finite sequence of camera frames in order of time. Iterating twice gives the same frames twice."""

    @property
    def name(self) -> str:
        """A short name for reports and plots."""

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered (undistorted) images."""

    def __len__(self) -> int:
        """How many frames there are."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames, each read when it is asked for."""

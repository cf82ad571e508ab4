"""Frames of rendered pairs of hard views: frames 2 k and 2 k + 1 are pair k."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import SourceError
from ros_matching.io.calibration import UsedCalibration
from ros_matching.io.faults import FrameFault
from ros_matching.scenes.hard_views import CAMERA, HARD_LINES, view_pair

_PERIOD_NS = 1_000_000_000


class HardPairSource:
    """The first ``pairs`` pairs of a line of ``scenes.hard_views``, with ground-truth pose and depth.

    Each is rendered when it is asked for. Raises ``SourceError`` for an unknown line or without pairs.
    """

    def __init__(self, line: str, pairs: int, seed: int = 0) -> None:
        if line not in HARD_LINES:
            raise SourceError(f"no line of hard views is called {line!r}; there are: {', '.join(HARD_LINES)}")
        if pairs < 1:
            raise SourceError(f"a line of hard views needs one pair or more, got {pairs}")
        self._line, self._pairs, self._seed = line, pairs, seed

    @property
    def name(self) -> str:
        """The line."""
        return self._line

    @property
    def faults(self) -> Sequence[FrameFault]:
        """None: rendered frames have no faults."""
        return ()

    @property
    def camera(self) -> Camera:
        """The pinhole camera of all views."""
        return CAMERA

    @property
    def calibration(self) -> UsedCalibration:
        """The camera of the renderer."""
        return UsedCalibration("rendered", CAMERA)

    def __len__(self) -> int:
        return 2 * self._pairs

    def __iter__(self) -> Iterator[Frame]:
        for number in range(self._pairs):
            pair = view_pair(self._line, self._seed, number)
            for view in range(2):
                index = 2 * number + view
                yield Frame(
                    index=index,
                    stamp_ns=(index + 1) * _PERIOD_NS,
                    image=pair.images[view],
                    camera=CAMERA,
                    true_world_from_camera=pair.world_from_camera[view],
                    depth=pair.depth[view],
                )

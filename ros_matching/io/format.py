"""What a format of recordings is: how it is recognised, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ros_matching.errors import SourceError
from ros_matching.io.source import FrameSource

FIRST_STAMP_NS = 1_000_000_000  # where stamps are made up: 0 means "not set" in ROS


@dataclass(frozen=True)
class SourceFormat:
    """One format: ``matches(path)`` probes cheaply, ``open(path, **options)`` takes the named ``options``."""

    name: str
    looks_for: str  # what makes a path one of this format, in words for the error that lists them
    matches: Callable[[Path], bool]
    open: Callable[..., FrameSource]
    options: tuple[str, ...] = ("calibration",)


def stamps_at_rate(count: int, rate_hz: float, source: str) -> list[int]:
    """Stamps (ns) of frames at a constant rate from 1 s, each rounded by itself so that nothing adds up."""
    if not 0 < rate_hz <= 1e6:
        raise SourceError(f"{source}: expected a frame rate between 0 and 1e6 Hz, got {rate_hz}; give it as fps")
    return [FIRST_STAMP_NS + round(index * 1e9 / rate_hz) for index in range(count)]

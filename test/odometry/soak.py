"""The tracker for as long as it takes: ``python test/odometry/soak.py --frames 20000``.

A camera goes round and round in a rendered room, by way of a light front end. Now and then the lens is covered, and
now and then the camera is carried off, so that maps are lost, begun and found again. Memory and time per frame must
not grow: exits with 1 where they do.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from box_world import FRAME_NS, BoxWorld, furnished

from ros_matching.atlas.config import TrackingConfig
from ros_matching.datatypes import Camera, Features, Frame
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.matching.classical import SiftConfig, sift_matcher
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.result import TrackingResult, TrackingStatus
from ros_matching.visual_odometry import VisualOdometry

CAMERA = Camera(width=160, height=120, fx=130, fy=130, cx=79.5, cy=59.5)
_MAX_GROWTH = 0.05  # of the memory at the first report after the map was full
_MAX_SLOWER = 1.3


@dataclass(frozen=True)
class Trip:
    """How the camera goes: frames a lap, and how often it is covered or carried off, for how many frames."""

    lap: int = 240
    covered_every: int = 310
    covered: int = 8
    carried_every: int = 1030
    carried: int = 90


@dataclass(frozen=True)
class Interval:
    """What some frames took: the last frame's number, milliseconds a frame, megabytes at the end, frames by status."""

    frame: int
    ms: float
    rss_mb: float
    statuses: Counter
    maps: int
    keyframes: int
    landmarks: int
    calls: float


class Remembered(MatchingPipeline):
    """Describes every picture once only: what is left is the tracker's own work."""

    def __init__(self, config: SiftConfig) -> None:
        sift = sift_matcher(config)
        super().__init__("sift", sift.extractor, sift.feature_matcher, sift.metric)
        self._known: dict[int, tuple[np.ndarray, Features]] = {}

    def extract(self, image: np.ndarray) -> Features:
        if id(image) not in self._known:
            self._known[id(image)] = image, super().extract(image)  # the picture stays, so that its id does
        return self._known[id(image)][1]


def laps(frames: int, trip: Trip) -> Iterator[Frame]:
    """Frames of endless rounds in one room, with spells in another and before a covered lens."""
    homes = [_round(seed, trip.lap) for seed in (1, 2)]
    dark = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    for number in range(frames):
        image = homes[number % trip.carried_every >= trip.carried_every - trip.carried][number % trip.lap]
        if number % trip.covered_every >= trip.covered_every - trip.covered:
            image = dark
        yield Frame(number, 1_000_000_000 + number * FRAME_NS, image, CAMERA)


def soak(
    frames: int,
    every: int,
    trip: Trip,
    config: TrackingConfig,
    front_end: MatchingPipeline,
    count: Callable[[Callable, Frame], tuple[TrackingResult, int]] = lambda track, frame: (track(frame), 0),
) -> Iterator[Interval]:
    """Track and report every so many frames; ``count`` calls the tracker and counts what it does."""
    odometry = VisualOdometry(front_end, config)
    statuses, spent_ms, calls = Counter(), [], []
    for frame in laps(frames, trip):
        start = time.thread_time()
        result, number = count(odometry.track, frame)
        calls.append(number)
        spent_ms.append(1e3 * (time.thread_time() - start))
        statuses[result.status] += 1
        if (frame.index + 1) % every == 0:
            counts = result.counts
            mean_ms = float(np.mean(spent_ms))
            yield Interval(
                frame.index + 1,
                mean_ms,
                rss_mb(),
                statuses,
                counts.maps,
                counts.keyframes,
                counts.landmarks,
                float(np.mean(calls)),
            )
            statuses, spent_ms, calls = Counter(), [], []


def rss_mb() -> float:
    """The memory that the process has now, in megabytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _round(seed: int, frames: int) -> list[np.ndarray]:
    room = BoxWorld(furnished(seed).panels, CAMERA, seed)
    angles = 2 * np.pi * np.arange(frames) / frames
    centers = np.column_stack([1.5 * np.cos(angles), 0.2 * np.sin(2 * angles), 1.5 * np.sin(angles)])
    turns = np.column_stack([0.05 * np.sin(angles), 0.5 * np.sin(angles), 0 * angles])
    return [room.render(pose) for pose in pose_from(exp_so3(turns), centers)]


def main() -> int:
    """Run, print a table, judge it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20000)
    parser.add_argument("--every", type=int, default=1000, help="frames between reports")
    args = parser.parse_args()
    print("  frame  ms/frame  memory MB  tracked  maps  keyframes  landmarks", flush=True)
    rows = []
    config, front_end = (
        TrackingConfig(max_keyframes=20, window_keyframes=5),
        sift_matcher(SiftConfig(max_keypoints=200)),
    )
    for row in soak(args.frames, args.every, Trip(), config, front_end):
        rows.append(row)
        tracked = row.statuses[TrackingStatus.TRACKING] / args.every
        print(
            f"{row.frame:7d}  {row.ms:8.1f}  {row.rss_mb:9.1f}  {tracked:7.1%}  {row.maps:4d}  {row.keyframes:9d}  "
            f"{row.landmarks:9d}",
            flush=True,
        )
    settled, half = rows[len(rows) // 5 :], len(rows) * 3 // 5
    growth = rows[-1].rss_mb / settled[0].rss_mb - 1
    slower = np.median([r.ms for r in rows[half:]]) / np.median([r.ms for r in settled[: len(settled) // 2]])
    print(f"memory from frame {settled[0].frame}: {growth:+.1%}; time per frame, later to earlier: {slower:.2f}")
    return int(growth > _MAX_GROWTH or slower > _MAX_SLOWER)


if __name__ == "__main__":
    sys.exit(main())

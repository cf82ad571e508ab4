"""Soak test of the tracker: ``python test/odometry/soak.py --frames 20000``.

A camera moves in laps through a rendered room, with a fast matcher. The lens is covered and the camera is moved to
another room periodically, so that maps are lost, started and relocalised. Memory and time per frame must not grow:
exits with 1 if they do.
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
_MAX_GROWTH = 0.05  # of the memory, relative to the first report with a full map
_MAX_SLOWER = 1.3


@dataclass(frozen=True)
class Schedule:
    """Frames per lap, and the period and duration of a covered lens and of a moved camera, in frames."""

    lap: int = 240
    covered_every: int = 310
    covered: int = 8
    moved_every: int = 1030
    moved: int = 90


@dataclass(frozen=True)
class Interval:
    """Report of an interval: last frame, milliseconds per frame, megabytes at the end, frames by status."""

    frame: int
    ms: float
    rss_mb: float
    statuses: Counter
    maps: int
    keyframes: int
    landmarks: int
    calls: float


class CachingMatcher(MatchingPipeline):
    """Extracts the features of every image once, so that the time is that of the tracker."""

    def __init__(self, config: SiftConfig) -> None:
        sift = sift_matcher(config)
        super().__init__("sift", sift.extractor, sift.feature_matcher, sift.metric)
        self._features: dict[int, tuple[np.ndarray, Features]] = {}

    def extract(self, image: np.ndarray) -> Features:
        if id(image) not in self._features:
            self._features[id(image)] = image, super().extract(image)  # keeps the image, so that its id stays unique
        return self._features[id(image)][1]


def laps(frames: int, schedule: Schedule) -> Iterator[Frame]:
    """Frames of laps in one room, with periods in another room and with a covered lens."""
    rooms = [_lap(seed, schedule.lap) for seed in (1, 2)]
    dark = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    for number in range(frames):
        image = rooms[number % schedule.moved_every >= schedule.moved_every - schedule.moved][number % schedule.lap]
        if number % schedule.covered_every >= schedule.covered_every - schedule.covered:
            image = dark
        yield Frame(number, 1_000_000_000 + number * FRAME_NS, image, CAMERA)


def soak(
    frames: int,
    every: int,
    schedule: Schedule,
    config: TrackingConfig,
    matcher: MatchingPipeline,
    count: Callable[[Callable, Frame], tuple[TrackingResult, int]] = lambda track, frame: (track(frame), 0),
) -> Iterator[Interval]:
    """Track, and report every ``every`` frames; ``count`` calls the tracker and counts its function calls."""
    odometry = VisualOdometry(matcher, config)
    statuses, spent_ms, calls = Counter(), [], []
    for frame in laps(frames, schedule):
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
    """Current memory of the process in megabytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _lap(seed: int, frames: int) -> list[np.ndarray]:
    room = BoxWorld(furnished(seed).panels, CAMERA, seed)
    angles = 2 * np.pi * np.arange(frames) / frames
    centers = np.column_stack([1.5 * np.cos(angles), 0.2 * np.sin(2 * angles), 1.5 * np.sin(angles)])
    rotations = np.column_stack([0.05 * np.sin(angles), 0.5 * np.sin(angles), 0 * angles])
    return [room.render(pose) for pose in pose_from(exp_so3(rotations), centers)]


def main() -> int:
    """Run, print a table, and return 1 if memory or time grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20000)
    parser.add_argument("--every", type=int, default=1000, help="frames between reports")
    args = parser.parse_args()
    print("  frame  ms/frame  memory MB  tracked  maps  keyframes  landmarks", flush=True)
    rows = []
    config, matcher = (
        TrackingConfig(max_keyframes=20, window_keyframes=5),
        sift_matcher(SiftConfig(max_keypoints=200)),
    )
    for row in soak(args.frames, args.every, Schedule(), config, matcher):
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

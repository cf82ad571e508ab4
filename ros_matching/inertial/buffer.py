"""Bounded buffer of IMU samples, written by one thread and read by others."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import ImuSamples
from ros_matching.errors import ImuError

_RESTART_COUNT = 20  # consecutive samples in order, all before the newest one: the clock was set back


@dataclass(frozen=True)
class BufferCounts:
    """Numbers of samples since the start: accepted, with the stamp of the one before, and with an earlier stamp."""

    accepted: int = 0
    repeated: int = 0
    unordered: int = 0
    restarts: int = 0


class ImuBuffer:
    """The newest samples in order of time; memory is constant, and the oldest samples are overwritten.

    A sample whose stamp is not after the newest one is dropped and counted. Several in a row before it, in order, as
    after a clock was set back, clear the buffer.
    """

    def __init__(self, capacity: int = 40_000) -> None:
        """``capacity`` is in samples: 200 s at 200 Hz."""
        if capacity < 2:
            raise ImuError(f"an ImuBuffer needs a capacity of at least 2 samples, got {capacity}")
        self._capacity = capacity
        # Twice the capacity: the newest samples are always contiguous, and are moved to the front once per round
        self._stamps = np.zeros(2 * capacity, np.int64)
        self._values = np.zeros((2 * capacity, 6))
        self._end = 0
        self._earlier: list[tuple[int, np.ndarray]] = []  # rejected in a row
        self._counts = BufferCounts()
        self._changed = threading.Condition()

    @classmethod
    def of(cls, samples: ImuSamples) -> ImuBuffer:
        """Make a buffer that holds a whole recording."""
        buffer = cls(max(len(samples), 2))
        for stamp_ns, rate, force in zip(
            samples.stamps_ns.tolist(), samples.gyroscope, samples.accelerometer, strict=True
        ):
            buffer.add(stamp_ns, rate, force)
        return buffer

    def add(self, stamp_ns: int, gyroscope: np.ndarray, accelerometer: np.ndarray) -> bool:
        """Add a sample, (3,) rad/s and (3,) m/s2; returns False if it is dropped.

        Raises ``ImuError`` if it is not finite.
        """
        values = np.concatenate([gyroscope, accelerometer]).astype(np.float64)
        if values.shape != (6,) or not np.isfinite(values).all():
            raise ImuError(f"an IMU sample needs three finite rates and three finite forces, got {values.tolist()}")
        with self._changed:
            newest = int(self._stamps[self._end - 1]) if self._end else None
            if newest is not None and stamp_ns <= newest:
                return self._reject(stamp_ns, values, newest)
            self._earlier.clear()
            self._append(stamp_ns, values)
            self._changed.notify_all()
        return True

    def between(self, start_ns: int, end_ns: int, max_gap_s: float = 0.1) -> ImuSamples | None:
        """Return the samples from ``start_ns`` to ``end_ns``, interpolated at both ends.

        ``None`` if they are not covered: by a sample or two on either side, without a gap longer than ``max_gap_s``.
        """
        if end_ns <= start_ns:
            return None
        with self._changed:
            first, last = self._first, self._end
            stamps = self._stamps[first:last]
            begin = int(np.searchsorted(stamps, start_ns, side="right")) - 1
            end = int(np.searchsorted(stamps, end_ns, side="left"))
            if begin < 0 or end >= len(stamps):
                return None
            stamps, values = stamps[begin : end + 1].copy(), self._values[first + begin : first + end + 1].copy()
        if np.diff(stamps).max() > max_gap_s * 1e9:
            return None
        values[0], values[-1] = _at(stamps, values, start_ns), _at(stamps, values, end_ns)
        stamps[0], stamps[-1] = start_ns, end_ns
        return ImuSamples(stamps, values[:, :3], values[:, 3:])

    def newest(self, seconds: float) -> ImuSamples:
        """Return the samples of the last ``seconds`` before the newest one."""
        with self._changed:
            rows = slice(self._first, self._end)
            stamps, values = self._stamps[rows], self._values[rows]
            if len(stamps):
                begin = int(np.searchsorted(stamps, stamps[-1] - round(seconds * 1e9)))
                stamps, values = stamps[begin:].copy(), values[begin:].copy()
        return ImuSamples(stamps, values[:, :3], values[:, 3:])

    def wait_for(self, stamp_ns: int, timeout_s: float) -> bool:
        """Wait until there is a sample at or after a stamp; returns False after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._covers(stamp_ns), timeout_s)

    def clear(self) -> None:
        """Drop all samples."""
        with self._changed:
            self._end = 0
            self._earlier.clear()

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """Stamps of the oldest and the newest sample; ``None`` without any."""
        with self._changed:
            return None if not self._end else (int(self._stamps[self._first]), int(self._stamps[self._end - 1]))

    @property
    def counts(self) -> BufferCounts:
        """Numbers of samples that were accepted and dropped."""
        with self._changed:
            return self._counts

    @property
    def _first(self) -> int:
        return max(self._end - self._capacity, 0)

    def _covers(self, stamp_ns: int) -> bool:
        return self._end > 0 and int(self._stamps[self._end - 1]) >= stamp_ns

    def _append(self, stamp_ns: int, values: np.ndarray) -> None:
        if self._end == len(self._stamps):
            self._stamps[: self._capacity] = self._stamps[self._capacity :]
            self._values[: self._capacity] = self._values[self._capacity :]
            self._end = self._capacity
        self._stamps[self._end], self._values[self._end] = stamp_ns, values
        self._end += 1
        self._count(accepted=1)

    def _reject(self, stamp_ns: int, values: np.ndarray, newest: int) -> bool:
        if stamp_ns == newest:
            self._count(repeated=1)
            return False
        self._count(unordered=1)
        if self._earlier and stamp_ns <= self._earlier[-1][0]:
            self._earlier.clear()
        self._earlier.append((stamp_ns, values))
        if len(self._earlier) < _RESTART_COUNT:
            return False
        earlier, self._earlier, self._end = self._earlier, [], 0
        for sample in earlier:
            self._append(*sample)
        self._count(restarts=1)
        self._changed.notify_all()
        return True

    def _count(self, accepted: int = 0, repeated: int = 0, unordered: int = 0, restarts: int = 0) -> None:
        known = self._counts
        self._counts = BufferCounts(
            known.accepted + accepted,
            known.repeated + repeated,
            known.unordered + unordered,
            known.restarts + restarts,
        )


def _at(stamps: np.ndarray, values: np.ndarray, stamp_ns: int) -> np.ndarray:
    """Interpolate the values (N, 6) at a stamp."""
    seconds = (stamps - stamps[0]) * 1e-9
    return np.array([np.interp((stamp_ns - stamps[0]) * 1e-9, seconds, column) for column in values.T])

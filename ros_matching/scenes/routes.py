"""A fixed route through a scene, which a camera follows while it looks ahead, with the sway of a hand or a vehicle.

The route is a cubic B-spline through the neighbourhood of its corners (see ``paths``). The camera slows down where its
heading changes faster than it may turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline, PchipInterpolator
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from ros_matching.errors import SceneError

_UNSETTLED_KEYS = 10  # the last control points change when another round is added: the filters reach that far
_PER_KEY = 16  # points between two control points at which speed and heading are computed


@dataclass(frozen=True)
class Route:
    """A polyline of ``corners`` (K, 3) in metres, closed if ``closed``: then it is followed again and again.

    The camera keeps within ``sway_m`` of it sideways, differently each time round; its control points are ``key_m``
    apart, so corners are cut by about that much. ``swing_rad`` is the standard deviation of its gaze about the
    direction ahead.
    """

    corners: np.ndarray
    closed: bool
    key_m: float
    sway_m: float
    swing_rad: float = 0.12

    def __post_init__(self) -> None:
        corners = np.asarray(self.corners)
        if corners.ndim != 2 or corners.shape[1] != 3 or len(corners) < 2 or not np.isfinite(corners).all():
            raise SceneError(f"Route.corners must be (K, 3), finite, at least two, got shape {corners.shape}")

    @property
    def length_m(self) -> float:
        """Length of the polyline once round or from end to end."""
        return float(np.linalg.norm(np.diff(self._polyline(), axis=0), axis=1).sum())

    def states(self, times_s: np.ndarray, speed_m_s: float, turn_rad_s: float, seed: int) -> np.ndarray:
        """Rows x, y, z, heading, pitch, roll (N, 6) at times (N,), at most that fast; ``SceneError`` past the end."""
        return self.motion(times_s[-1], speed_m_s, turn_rad_s, seed)(times_s)

    def motion(
        self, duration_s: float, speed_m_s: float, turn_rad_s: float, seed: int
    ) -> Callable[[np.ndarray], np.ndarray]:
        """The function from times (N,) up to ``duration_s`` to states; see ``states``."""
        rounds = 2
        while True:
            along, elapsed_s, spline = self._timed(rounds, speed_m_s, turn_rad_s, seed)
            usable_s = elapsed_s[-_UNSETTLED_KEYS * _PER_KEY if self.closed else -1]
            if duration_s <= usable_s:
                return _timed_motion(spline, PchipInterpolator(elapsed_s, along))
            if not self.closed:
                raise SceneError(
                    f"the route of this scene ends after {self.length_m:.0f} m, {usable_s:.0f} s at "
                    f"{speed_m_s:g} m/s, and {duration_s:.0f} s are asked for; give fewer frames, more fps or a "
                    "lower speed_m_s"
                )
            rounds *= 2

    def _timed(
        self, rounds: int, speed_m_s: float, turn_rad_s: float, seed: int
    ) -> tuple[np.ndarray, np.ndarray, BSpline]:
        """Spline parameters (M,), the times at which they are reached (M,), and the spline of states."""
        spline = _spline(self._keys(rounds, seed))
        last = len(spline.t) - 7  # the spline is defined over [0, K - 3]
        along = np.linspace(0, last, last * _PER_KEY + 1)
        states = spline(along)
        step_m = np.linalg.norm(np.diff(states[:, :3], axis=0), axis=1)
        step_rad = np.linalg.norm(np.diff(states[:, 3:], axis=0), axis=1)
        needed_s = np.maximum(step_m / speed_m_s, step_rad / (0.9 * turn_rad_s))
        # the filters make the speed change slowly, and never faster than allowed
        slowest = maximum_filter1d(needed_s, 2 * _PER_KEY + 1, mode="nearest")
        smooth = gaussian_filter1d(slowest, _PER_KEY / 2, mode="nearest", truncate=2.0)
        return along, np.concatenate([[0.0], smooth.cumsum()]), spline

    def _polyline(self) -> np.ndarray:
        corners = np.asarray(self.corners, np.float64)
        return np.vstack([corners, corners[:1]]) if self.closed else corners

    def _keys(self, rounds: int, seed: int) -> np.ndarray:
        """Control points (K, 6): along the polyline with sway, then looking ahead with swing."""
        once = self._resampled()
        count = len(once)
        rows = np.arange(rounds * count) % count if self.closed else np.arange(count)
        keys = np.zeros((len(rows), 6))
        keys[:, :3] = once[rows]
        rounds = len(rows) // count
        noise = np.concatenate([self._noise(seed, lap, count) for lap in range(rounds)])
        smooth = gaussian_filter1d(noise, 2.0, axis=0, mode="nearest", truncate=2.0) * 2.65  # unit variance again
        ahead = np.roll(once, -1, 0) - np.roll(once, 1, 0) if self.closed else np.gradient(once, axis=0)
        ahead = (ahead / np.linalg.norm(ahead, axis=1, keepdims=True))[rows]
        side = np.column_stack([-ahead[:, 1], ahead[:, 0], np.zeros(len(ahead))])
        keys[:, :3] += np.clip(0.5 * smooth[:, :1], -1, 1) * self.sway_m * side
        keys[:, 2] += np.clip(0.5 * smooth[:, 1], -1, 1) * 0.3 * self.sway_m
        keys[:, 3] = np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0])) + np.clip(smooth[:, 2], -2, 2) * self.swing_rad
        keys[:, 4] = -0.04 + np.clip(smooth[:, 3], -2, 2) * 0.3 * self.swing_rad
        keys[:, 5] = np.clip(smooth[:, 4], -2, 2) * 0.15 * self.swing_rad
        return keys

    def _noise(self, seed: int, lap: int, count: int) -> np.ndarray:
        return np.random.default_rng([seed, lap]).standard_normal((count, 5))

    def _resampled(self) -> np.ndarray:
        """Points (P, 3) about ``key_m`` apart along the polyline; of a closed one without the start at its end."""
        line = self._polyline()
        reached = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
        count = max(round(reached[-1] / self.key_m), 4)
        at = np.linspace(0, reached[-1], count + 1)
        points = np.column_stack([np.interp(at, reached, line[:, axis]) for axis in range(3)])
        return points[:-1] if self.closed else points


def _timed_motion(spline: BSpline, along: PchipInterpolator) -> Callable[[np.ndarray], np.ndarray]:
    return lambda times_s: spline(along(times_s))


def _spline(keys: np.ndarray) -> BSpline:
    """The uniform cubic B-spline of control points (K, D), over [0, K - 3]."""
    return BSpline(np.arange(-3.0, len(keys) + 1.0), keys, 3)

"""Smooth camera motion through a scene: uniform cubic B-splines over position and heading, pitch and roll.

A cubic B-spline is C2 and stays within the convex hull of four consecutive control points, so its speed is bounded by
the distance between them and every new control point can be tested for collisions separately. Heading, pitch and roll
are smooth coordinates of rotation as long as pitch stays away from +-90 degrees, which it does here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.spatial.transform import Rotation

from ros_matching.config import Config, parameter
from ros_matching.errors import SceneError
from ros_matching.scenes.scene import FreeSpace, Scene

_KEY_S = 0.6  # seconds between control points: how quickly the motion changes its mind
_GAZE_S = 3.0  # seconds for which the camera looks at the same thing, on average
_CHECKS_PER_KEY = 6
_TRIES = 200
_OPTICAL_FROM_BODY = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # body: x ahead, y left, z up


Motion = Callable[[np.ndarray], np.ndarray]
"""A function of times (T,) in seconds."""


@dataclass(frozen=True)
class PathConfig(Config):
    """Settings of the motion of a camera."""

    path: str = parameter(
        "auto",
        "handheld: random walk; loop: closed curve; forward: straight ahead; rotation: pure rotation; "
        "still: not moving; route: the way through a scene that has one; auto: route if there is one, else handheld",
        choices=("auto", "handheld", "loop", "forward", "rotation", "still", "route"),
    )
    frames: int = parameter(300, "number of frames", minimum=1, maximum=1_000_000)
    fps: float = parameter(30.0, "frames a second", minimum=0.1, maximum=1000.0)
    speed_m_s: float = parameter(0.0, "highest speed, metres a second; 0: by the scene", minimum=0.0)
    turn_deg_s: float = parameter(30.0, "highest rate of rotation, degrees a second", minimum=0.0, maximum=360.0)
    seed: int = parameter(0, "which of the possible paths", minimum=0)


def camera_path(scene: Scene, config: PathConfig) -> np.ndarray:
    """Poses world_from_camera (N, 4, 4) float64, one per frame; ``SceneError`` if the scene leaves no room."""
    return camera_motion(scene, config)(np.arange(config.frames) / config.fps)


def camera_motion(scene: Scene, config: PathConfig) -> Motion:
    """The same path as a function: of times (T,) in seconds, from the first frame to the last, to poses (T, 4, 4)."""
    if scene.free_space is None:
        raise SceneError("camera_path needs a scene with a free_space for the camera")
    states = _PathMaker(scene, scene.free_space, config).states()
    return lambda times_s: _poses(states(times_s))


class _PathMaker:
    """One path. Control points are rows of x, y, z, heading, pitch, roll; metres and radians."""

    def __init__(self, scene: Scene, space: FreeSpace, config: PathConfig) -> None:
        self._scene, self._space, self._config = scene, space, config
        self._rng = np.random.default_rng(config.seed)
        self._duration_s = (config.frames - 1) / config.fps
        self._step_m = (config.speed_m_s or space.speed_m_s) * _KEY_S
        self._step_rad = np.radians(config.turn_deg_s) * _KEY_S
        self._lower, self._upper = np.array(space.lower), np.array(space.upper)

    def states(self) -> Motion:
        """The function from times (T,) to states (T, 6)."""
        make: dict[str, Callable[[], Motion]] = {
            "handheld": self._handheld,
            "loop": self._loop,
            "forward": self._forward,
            "rotation": self._rotation,
            "still": self._still,
            "route": self._route,
        }
        path = self._config.path
        if path == "auto":
            path = "route" if self._scene.route else "handheld"
        return make[path]()

    def _still(self) -> Motion:
        start = self._start()
        return lambda times_s: np.tile(start, (len(times_s), 1))

    def _rotation(self) -> Motion:
        start = self._start()
        sense = self._rng.choice([-1.0, 1.0])

        def states(times_s: np.ndarray) -> np.ndarray:
            turned = np.tile(start, (len(times_s), 1))
            turned[:, 3] += sense * np.radians(self._config.turn_deg_s) * times_s
            return turned

        return states

    def _route(self) -> Motion:
        """Along the scene's route, which is checked to be free."""
        if self._scene.route is None:
            raise SceneError("path=route needs a scene with a route, such as house; give another path or scene")
        speed = self._step_m / _KEY_S
        times_s = self._times()
        motion = self._scene.route.motion(times_s[-1], speed, self._step_rad / _KEY_S, self._config.seed)
        if self._scene.distance(motion(times_s)[:, :3]).min() < self._space.clearance_m:
            raise SceneError("the route of this scene is too near to something; give another seed")
        return motion

    def _forward(self) -> Motion:
        """Straight and level ahead; slower if the longest free line is too short."""
        wanted = self._duration_s * self._step_m / _KEY_S
        starts = [self._start() for _ in range(_TRIES // 4)]
        start, length = max(((state, self._free_ahead(state, wanted)) for state in starts), key=lambda pair: pair[1])
        start[4:] = 0.0
        frames = np.arange(self._config.frames)
        reached = np.linspace(0.0, min(wanted, length), self._config.frames)

        def states(times_s: np.ndarray) -> np.ndarray:
            moved = np.tile(start, (len(times_s), 1))
            along = np.interp(times_s, frames / self._config.fps, reached)
            moved[:, :2] += along[:, None] * [np.cos(start[3]), np.sin(start[3])]
            moved[:, 2] = start[2]
            return moved

        return states

    def _handheld(self) -> Motion:
        keys = [self._start()] * 3
        goal, target = self._above_ground(self._place()), self._target()
        while (len(keys) - 3) * _KEY_S < self._duration_s + 1e-9:
            if np.linalg.norm(goal - keys[-1][:3]) < self._step_m:
                goal = self._above_ground(self._place())
            if self._rng.random() < _KEY_S / _GAZE_S:
                target = self._target()
            attitude = self._next_attitude(keys[-1], target)
            position = self._next_position([key[:3] for key in keys[-3:]], goal)
            if position is None:
                goal, position = self._above_ground(self._place()), keys[-1][:3]
            keys.append(np.array([*position, *attitude]))
        spline = _spline(np.array(keys))
        return lambda times_s: spline(times_s / _KEY_S)

    def _loop(self) -> Motion:
        """A closed curve around a place, looking at one point; a full circle if the rate of rotation permits."""
        count = max(round(self._duration_s / _KEY_S), 4)
        angles = 2 * np.pi * np.arange(count) / count
        for attempt in range(_TRIES):
            keys = self._ring(angles, shrink=0.97**attempt)
            spline, frames = _closed_spline(keys), self._config.frames
            if self._is_free(spline(np.linspace(0, count, frames))[:, :3]):
                return lambda times_s: spline(np.interp(times_s, self._times(), np.linspace(0, count, frames)))
        raise SceneError("found no free loop for the camera in this scene; give it more free_space or another seed")

    def _ring(self, angles: np.ndarray, shrink: float) -> np.ndarray:
        center = (self._lower + self._upper) / 2 + 0.25 * (self._place() - (self._lower + self._upper) / 2)
        room = np.minimum(center - self._lower, self._upper - center)[:2]
        by_speed = len(angles) * self._step_m / (2 * np.pi * 1.2)
        radii = np.minimum(room, by_speed) * self._rng.uniform(0.7, 1.0, 2) * shrink
        keys = np.zeros((len(angles), 6))
        keys[:, :2] = center[:2] + radii * np.column_stack([np.cos(angles), np.sin(angles)])
        bob = min(0.1 * (self._upper[2] - self._lower[2]), 0.3 * radii.min())
        keys[:, 2] = center[2] + bob * np.sin(2 * angles)
        is_full = 2 * np.pi < 0.8 * self._step_rad * len(angles)
        first = self._heading_to(keys[0], self._target())
        swing = min(0.3, 0.5 * self._step_rad * len(angles) / (2 * np.pi))
        keys[:, 3] = first + angles if is_full else first + swing * np.sin(angles)
        keys[:, 4] = 0.3 * swing * np.sin(2 * angles)
        keys[:, 2] += self._scene.ground_height(keys[:, :2])
        again = keys[0].copy()
        again[3] += 2 * np.pi if is_full else 0.0
        return np.vstack([keys, again])

    def _start(self) -> np.ndarray:
        """A state at rest at a free position, looking at a surface."""
        for _ in range(_TRIES):
            position = self._above_ground(self._place())
            if self._is_free(position[None]):
                return np.array([*position, self._heading_to(position, self._target()), self._pitch(), 0.0])
        raise SceneError("found no free position for the camera in this scene; give it a larger free_space")

    def _next_position(self, recent: list[np.ndarray], goal: np.ndarray) -> np.ndarray | None:
        """A control point towards the goal, after three recent ones, that keeps the spline free, or ``None``."""
        course, ahead = (recent[-1] - recent[-2]) / self._step_m, _unit(goal - recent[-1])
        for attempt in range(_TRIES // 8):
            aim = 0.8 * course + ahead + (0.3 + 0.1 * attempt) * self._rng.normal(0, 1, 3) * [1, 1, 0.3]
            position = recent[-1] + self._step_m * self._rng.uniform(0.6, 1.0) * _unit(aim)
            # coming to rest there must be free too: then there is always a way on, which is to wait
            to_rest = _spline(np.array([*recent, position, position, position]))
            if self._is_free(to_rest(np.linspace(0, 3, 3 * _CHECKS_PER_KEY))):
                return position
        return None

    def _next_attitude(self, last: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Heading, pitch and roll some way from the last towards looking at the target."""
        wanted = np.array([self._heading_to(last, target), self._pitch(), self._rng.normal(0, 0.04)])
        change = wanted - last[3:]
        change[0] = (change[0] + np.pi) % (2 * np.pi) - np.pi
        change *= 0.6
        return last[3:] + change * min(1.0, 0.9 * self._step_rad / max(np.linalg.norm(change), 1e-12))

    def _place(self) -> np.ndarray:
        return self._rng.uniform(self._lower, self._upper)

    def _above_ground(self, position: np.ndarray) -> np.ndarray:
        ground = self._scene.ground_height(position[None, :2])[0]
        return np.array([*position[:2], position[2] + ground])

    def _target(self) -> np.ndarray:
        """A random point to look at, around the free space."""
        return self._lower + self._rng.uniform(-0.5, 1.5, 3) * (self._upper - self._lower)

    def _heading_to(self, state: np.ndarray, target: np.ndarray) -> float:
        return float(np.arctan2(target[1] - state[1], target[0] - state[0]))

    def _pitch(self) -> float:
        return float(np.clip(self._rng.normal(-0.06, 0.12), -0.5, 0.5))

    def _free_ahead(self, state: np.ndarray, wanted: float) -> float:
        along = np.linspace(0.0, wanted, 64)
        points = state[:3] + along[:, None] * [np.cos(state[3]), np.sin(state[3]), 0.0]
        blocked = ~self._free(points)
        return float(along[max(blocked.argmax() - 1, 0)] if blocked.any() else wanted)

    def _is_free(self, points: np.ndarray) -> bool:
        return bool(self._free(points).all())

    def _free(self, points: np.ndarray) -> np.ndarray:
        above = points - np.column_stack([np.zeros((len(points), 2)), self._scene.ground_height(points[:, :2])])
        within = ((above >= self._lower - 1e-9) & (above <= self._upper + 1e-9)).all(1)
        return within & (self._scene.distance(points) >= self._space.clearance_m)

    def _times(self) -> np.ndarray:
        return np.arange(self._config.frames) / self._config.fps


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), 1e-12)


def _spline(keys: np.ndarray) -> BSpline:
    """The uniform cubic B-spline of control points (K, D), over [0, K - 3]."""
    return BSpline(np.arange(-3.0, len(keys) + 1.0), keys, 3)


def _closed_spline(keys: np.ndarray) -> BSpline:
    """The closed spline over [0, K - 1]; the last of keys (K, D) equals the first, apart from full revolutions."""
    revolution = keys[-1] - keys[0]
    return _spline(np.vstack([keys[:-1], keys[:3] + revolution]))


def _poses(states: np.ndarray) -> np.ndarray:
    """world_from_camera (N, 4, 4) of rows x, y, z, heading, pitch (up), roll (clockwise)."""
    attitude = Rotation.from_euler("ZYX", states[:, 3:] * [1.0, -1.0, 1.0]).as_matrix()
    poses = np.tile(np.eye(4), (len(states), 1, 1))
    poses[:, :3, :3] = attitude @ _OPTICAL_FROM_BODY.T
    poses[:, :3, 3] = states[:, :3]
    return poses

"""Pairs of hard views, with exact ground truth, for ``ros-matching evaluate hard``.

    pair = view_pair("moving", seed=0, number=3)

Each pair is of a random scene of its own, with generated textures. It depends on the line, the seed and its number
alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation

from ros_matching.datatypes import Camera
from ros_matching.errors import SceneError
from ros_matching.scenes.hard_bodies import Body, bodies_in_front, moves_visibly
from ros_matching.scenes.hard_stages import Stage, furnished_stage, repeated_stage
from ros_matching.scenes.renderer import Renderer
from ros_matching.scenes.scene import Scene

_GAMMA = 2.2
_LINEAR = (np.arange(256) / 255) ** _GAMMA


def to_linear(image: np.ndarray) -> np.ndarray:
    """The light in [0, 1], float64, of an image (..., 3) uint8 of a display's tone curve."""
    return _LINEAR[image]


def to_image(light: np.ndarray) -> np.ndarray:
    """Convert light to an image (..., 3) uint8; values above 1 are clipped."""
    return np.rint(255 * np.clip(light, 0, 1) ** (1 / _GAMMA)).astype(np.uint8)


def averaged(exposures: Iterable[np.ndarray]) -> np.ndarray:
    """The image of a long exposure: the mean light of short ones, images (H, W, 3) uint8."""
    total, count = 0.0, 0
    for exposure in exposures:
        total, count = total + to_linear(exposure), count + 1
    return to_image(total / count)


def low_light(image: np.ndarray, photons: float, gain: float, rng: np.random.Generator) -> np.ndarray:
    """The image (H, W, 3) uint8 taken with at most ``photons`` at a pixel, amplified to ``gain`` times its brightness.

    Photons have Poisson noise, and reading them out adds a normal one of ``READ_NOISE`` photons.
    """
    counted = rng.poisson(photons * to_linear(image)) + rng.normal(0, READ_NOISE, image.shape)
    return to_image(gain * counted / photons)


READ_NOISE = 1.5
"""The standard deviation of the read-out, in photons."""


WIDTH, HEIGHT = 640, 480
CAMERA = Camera(WIDTH, HEIGHT, 540.0, 540.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
MOVING_FRACTION = (0.5, 0.7)
"""Fraction of each image that moves by itself in the moving lines."""
VIEW_ANGLES_DEG = (20, 30, 45, 60)
BLUR_PX = (8.0, 24.0)
"""The range of the length of motion blur in the middle of the image."""
PHOTONS = (6.0, 40.0)
"""The range of the photons at a white pixel in low light."""
COMMON_WORLD = {"moving": 0.2, "moving-one": 0.15}
"""Smallest fraction of the first image that shows static world visible in the second."""
_ATTEMPTS = 200
_BODY_ATTEMPTS = 20
_SAME_DEPTH = 0.03
_SMALL = CAMERA.scaled(WIDTH // 4, HEIGHT // 4)


@dataclass(frozen=True)
class ViewPair:
    """Two views of one scene.

    ``images`` (2, H, W, 3) uint8, ``depth`` (2, H, W) float32 metres, NaN where nothing is, ``world_from_camera``
    (2, 4, 4), ``moving`` (2, H, W) bool, True on moving bodies, and the point ``target`` (3,) of the
    world that both cameras look at. With motion blur, depth and pose are those of the middle of the exposure.
    """

    images: np.ndarray
    depth: np.ndarray
    world_from_camera: np.ndarray
    moving: np.ndarray
    target: np.ndarray


def view_pair(line: str, seed: int, number: int) -> ViewPair:
    """The pair of this number of one of ``HARD_LINES``; ``SceneError`` if the line is not known."""
    if line not in HARD_LINES:
        raise SceneError(f"no line of hard views is called {line!r}; there are: {', '.join(HARD_LINES)}")
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((zlib.crc32(line.encode()), seed, number, attempt))
        pair = HARD_LINES[line](rng)
        if pair is not None:
            return pair
    raise SceneError(f"{_ATTEMPTS} random scenes in a row did not fit the line {line!r} of hard views")


def _plain(
    rng: np.random.Generator, stage_of: Callable[[np.random.Generator], Stage], angles_deg: tuple[float, float]
) -> ViewPair | None:
    stage = stage_of(rng)
    poses = _orbit(stage, rng.uniform(*angles_deg), rng)
    return None if poses is None else _rendered(stage, poses)


def _low_light(rng: np.random.Generator) -> ViewPair | None:
    pair = _plain(rng, furnished_stage, (10, 25))
    if pair is None:
        return None
    photons = np.exp(rng.uniform(*np.log(PHOTONS)))
    dark = [low_light(image, photons, rng.uniform(0.5, 1.0), rng) for image in pair.images]
    return replace(pair, images=np.stack(dark))


def _motion_blur(rng: np.random.Generator) -> ViewPair | None:
    stage = furnished_stage(rng)
    poses = _orbit(stage, rng.uniform(5, 15), rng)
    if poses is None:
        return None
    sharp, images = _rendered(stage, poses), []
    renderer = Renderer(stage.scene, CAMERA, antialias=False)
    for pose in poses:
        length_px = rng.uniform(*BLUR_PX)
        distance = float(np.linalg.norm(stage.target - pose[:3, 3]))
        path = exposure_path(pose, length_px, distance, rng)
        images.append(averaged(renderer.render(one[None]).rgb[0].numpy() for one in path))
    return replace(sharp, images=np.stack(images))


def exposure_path(pose: np.ndarray, length_px: float, distance_m: float, rng: np.random.Generator) -> np.ndarray:
    """Poses (N, 4, 4) around ``pose`` in equal steps of 2.5 px at most; a point ahead moves by ``length_px``."""
    direction, fraction = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.0)  # of the blur that rotation makes
    across = length_px / CAMERA.fx * np.array([np.cos(direction), np.sin(direction), 0.0])
    rotation = fraction * np.array([across[1], -across[0], 0.0])
    count = 2 * int(np.ceil(length_px / 5)) + 1
    steps = np.linspace(-0.5, 0.5, count)
    motion = np.tile(np.eye(4), (count, 1, 1))
    motion[:, :3, :3] = Rotation.from_rotvec(steps[:, None] * rotation).as_matrix()
    motion[:, :3, 3] = steps[:, None] * (-(1 - fraction) * distance_m * across)
    return pose @ motion


def _moving(rng: np.random.Generator, counts: tuple[int, ...], least_common: float) -> ViewPair | None:
    stage = furnished_stage(rng)
    poses = _orbit(stage, rng.uniform(5, 12), rng)
    if poses is None:
        return None
    for _ in range(_BODY_ATTEMPTS):
        bodies = bodies_in_front(poses, CAMERA, int(rng.choice(counts)), rng)
        if all(moves_visibly(body, poses, CAMERA) for body in bodies):
            scene, present, moves = _with_bodies(stage.scene, bodies)
            if _fits(scene, poses, present, moves, least_common):
                return _rendered(replace(stage, scene=scene), poses, present, moves)
    return None


def _with_bodies(scene: Scene, bodies: list[Body]) -> tuple[Scene, np.ndarray, np.ndarray]:
    """The scene with all bodies in both poses, which are present in each view (2, N), and which move (N,)."""
    static = tuple(scene.primitives)
    added = [tuple(part for body in bodies for part in body.parts[view]) for view in range(2)]
    count = len(static)
    present = np.ones((2, count + len(added[0]) + len(added[1])), bool)
    present[1, count : count + len(added[0])] = False
    present[0, count + len(added[0]) :] = False
    return replace(scene, primitives=(*static, *added[0], *added[1])), present, np.arange(present.shape[1]) >= count


def _fits(scene: Scene, poses: np.ndarray, present: np.ndarray, moves: np.ndarray, least_common: float) -> bool:
    """Return True if ``MOVING_FRACTION`` and the least common world hold, by small images."""
    views = Renderer(scene, _SMALL, antialias=False).render(poses, present=present)
    primitives = views.primitives.numpy()
    moving = moves[primitives] & (primitives >= 0)
    fractions, (low, high) = moving.mean(axis=(1, 2)), MOVING_FRACTION
    if not ((fractions > low + 0.005).all() and (fractions < high - 0.005).all()):
        return False
    return common_world(_SMALL, views.depth.numpy(), poses, moving) > least_common


def common_world(camera: Camera, depth: np.ndarray, poses: np.ndarray, moving: np.ndarray) -> float:
    """The fraction of the first image that shows static world visible in the second, by depth (2, H, W)."""
    rows, columns = (~moving[0] & np.isfinite(depth[0])).nonzero()
    rays = camera.unproject(np.column_stack([columns, rows]).astype(float)) * depth[0][rows, columns, None]
    world = rays @ poses[0][:3, :3].T + poses[0][:3, 3]
    there = (world - poses[1][:3, 3]) @ poses[1][:3, :3]
    there = there[there[:, 2] > 0]
    column, row = np.rint(camera.project(there)).astype(int).T
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    column, row, distance = column[inside], row[inside], there[inside, 2]
    same = ~moving[1][row, column] & (np.abs(depth[1][row, column] / distance - 1) < _SAME_DEPTH)
    return float(np.count_nonzero(same) / moving[0].size)


def _rendered(
    stage: Stage, poses: np.ndarray, present: np.ndarray | None = None, moves: np.ndarray | None = None
) -> ViewPair:
    views = Renderer(stage.scene, CAMERA).render(poses, present=present)
    visible = views.primitives.numpy()
    moving = np.zeros(visible.shape, bool) if moves is None else moves[visible] & (visible >= 0)
    return ViewPair(views.rgb.numpy(), views.depth.numpy(), poses, moving, stage.target)


def _orbit(stage: Stage, angle_deg: float, rng: np.random.Generator) -> np.ndarray | None:
    """Poses (2, 4, 4) whose directions to the target are ``angle_deg`` apart; ``None`` if something is in the way.

    The target is near the middle of both images, and each camera is rolled a little.
    """
    low = stage.distances_m[0]
    mid = Rotation.from_euler("zy", [rng.uniform(-15, 15), rng.uniform(8, 25)], degrees=True).apply([-1.0, 0.0, 0.0])
    axis = np.array([0.0, 0.0, 1.0]) - mid[2] * mid
    axis = Rotation.from_rotvec(rng.normal(0, np.radians(12)) * mid).apply(axis / np.linalg.norm(axis))
    poses = []
    for half_deg in rng.permutation([-angle_deg / 2, angle_deg / 2]):
        direction = Rotation.from_rotvec(np.radians(half_deg) * axis).apply(mid)
        eye = stage.target + rng.uniform(low, stage.distances_m[1]) * direction
        aim = stage.target + rng.normal(0, 0.06 * low, 3)
        poses.append(_look_at(eye, aim, rng.normal(0, 4)))
    eyes = np.array([pose[:3, 3] for pose in poses])
    space = stage.scene.free_space
    inside = (eyes > space.lower).all() and (eyes < space.upper).all()
    return np.array(poses) if inside and (stage.scene.distance(eyes) > space.clearance_m).all() else None


def _look_at(eye: np.ndarray, aim: np.ndarray, roll_deg: float) -> np.ndarray:
    """The pose world_from_camera of a camera that looks at a point, level but for its roll."""
    forward = (aim - eye) / np.linalg.norm(aim - eye)
    right = np.cross([0.0, 0.0, -1.0], forward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
    pose[:3, :3] @= Rotation.from_euler("z", roll_deg, degrees=True).as_matrix()
    pose[:3, 3] = eye
    return pose


HARD_LINES: Mapping[str, Callable[[np.random.Generator], ViewPair | None]] = {
    "moving": partial(_moving, counts=(4,), least_common=COMMON_WORLD["moving"]),
    "moving-one": partial(_moving, counts=(1,), least_common=COMMON_WORLD["moving-one"]),
    "repeated": partial(_plain, stage_of=repeated_stage, angles_deg=(6, 18)),
    **{
        f"angle-{angle}": partial(_plain, stage_of=furnished_stage, angles_deg=(angle, angle))
        for angle in VIEW_ANGLES_DEG
    },
    "low-light": _low_light,
    "motion-blur": _motion_blur,
}
"""The generators of the views of each line; they return ``None`` if the random scene does not fit."""

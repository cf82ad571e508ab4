"""The primitives of a synthetic scene: textured rectangles, boxes, spheres, cylinders and height fields.

Conventions, besides those of ``datatypes``: the world's z points up. The local frame of a ``Rectangle`` is like that of
a camera looking at it: x to the right, y down, z into the surface, so a rectangle at the pose ``world_from_camera``
moved forward appears upright. Texture coordinates run along local x and y in metres and are centred on the surface.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ros_matching.errors import SceneError


@dataclass(frozen=True)
class Surface:
    """The appearance of a primitive: ``texture`` (S, S, 3) uint8 with S a power of two, mirrored where it repeats.

    ``size_m`` are the width and height that one copy of the texture covers, in metres; ``offset`` shifts it, in copies.
    ``gloss`` is how much of the light's full brightness a highlight adds.
    """

    texture: np.ndarray
    size_m: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    gloss: float = 0.0

    def __post_init__(self) -> None:
        side = len(self.texture)
        if self.texture.shape != (side, side, 3) or self.texture.dtype != np.uint8 or side < 2 or side & (side - 1):
            raise SceneError(
                "Surface.texture must be (S, S, 3) uint8 with S a power of two, "
                f"got {self.texture.shape} {self.texture.dtype}"
            )
        if min(self.size_m) <= 0:
            raise SceneError(f"Surface.size_m must be positive, got {self.size_m}")
        if not 0 <= self.gloss <= 1:
            raise SceneError(f"Surface.gloss must be between 0 and 1, got {self.gloss}")


@dataclass(frozen=True)
class Rectangle:
    """A flat rectangle; ``half_size`` (hx, hy) in metres, infinite for an unbounded plane.

    With ``one_sided`` it is visible only to cameras on its local z < 0 side.
    """

    world_from_local: np.ndarray
    half_size: tuple[float, float]
    surface: Surface
    one_sided: bool = False

    def __post_init__(self) -> None:
        _check_size("Rectangle.half_size", self.half_size)
        _check_pose("Rectangle", self.world_from_local)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance in metres from points (N, 3) to the rectangle, (N,)."""
        local = _to_local(self.world_from_local, points)
        outside = np.maximum(np.abs(local[:, :2]) - self.half_size, 0.0)
        return np.hypot(np.hypot(outside[:, 0], outside[:, 1]), local[:, 2])


def _faces_in_box() -> np.ndarray:
    """Rotations (6, 3, 3) whose columns point right, down and into the box, for who looks at its faces."""
    rotations = []
    for axis, sign in ((axis, sign) for axis in range(3) for sign in (1.0, -1.0)):
        inward = -sign * np.eye(3)[axis]
        down = np.array([0.0, 0.0, -1.0]) if axis < 2 else np.array([0.0, -1.0, 0.0])
        rotations.append(np.column_stack([np.cross(down, inward), down, inward]))
    return np.array(rotations)


FACES_IN_BOX = _faces_in_box()


@dataclass(frozen=True)
class Box:
    """A solid box; ``half_size`` (hx, hy, hz) in metres along its own axes, of which z is its upward one."""

    world_from_local: np.ndarray
    half_size: tuple[float, float, float]
    surface: Surface

    def __post_init__(self) -> None:
        _check_size("Box.half_size", self.half_size)
        _check_pose("Box", self.world_from_local)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance from points (N, 3) to the box, (N,); negative inside."""
        excess = np.abs(_to_local(self.world_from_local, points)) - self.half_size
        return np.linalg.norm(np.maximum(excess, 0.0), axis=1) + np.minimum(excess.max(axis=1), 0.0)

    def faces(self) -> Iterator[Rectangle]:
        """The six faces, visible from outside only; the texture is shifted sideways from face to face."""
        u, v = self.surface.offset
        half_sizes = np.abs(FACES_IN_BOX.transpose(0, 2, 1) @ self.half_size)  # right, down, inward
        faces_in_box = np.tile(np.eye(4), (6, 1, 1))
        faces_in_box[:, :3, :3] = FACES_IN_BOX
        faces_in_box[:, :3, 3] = -FACES_IN_BOX[:, :, 2] * self.half_size
        for index, pose in enumerate(self.world_from_local @ faces_in_box):
            surface = replace(self.surface, offset=(u + 0.37 * index, v))
            half_right, half_down, _ = half_sizes[index].tolist()
            yield Rectangle(pose, (half_right, half_down), surface, one_sided=True)


@dataclass(frozen=True)
class Sphere:
    """A ball; the texture runs along its circles of longitude and latitude, measured in metres at the equator."""

    world_from_local: np.ndarray
    radius: float
    surface: Surface

    def __post_init__(self) -> None:
        _check_size("Sphere.radius", (self.radius,))
        _check_pose("Sphere", self.world_from_local)

    @property
    def half_size(self) -> tuple[float, float, float]:
        """Half the sides of the bounding box."""
        return (self.radius, self.radius, self.radius)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance from points (N, 3) to the sphere, (N,); negative inside."""
        return np.linalg.norm(_to_local(self.world_from_local, points), axis=1) - self.radius


@dataclass(frozen=True)
class Cylinder:
    """A solid cylinder with caps around its local z axis, from ``-half_height`` to ``half_height``."""

    world_from_local: np.ndarray
    radius: float
    half_height: float
    surface: Surface

    def __post_init__(self) -> None:
        _check_size("Cylinder radius and half height", (self.radius, self.half_height))
        _check_pose("Cylinder", self.world_from_local)

    @property
    def half_size(self) -> tuple[float, float, float]:
        """Half the sides of the bounding box."""
        return (self.radius, self.radius, self.half_height)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance from points (N, 3) to the cylinder, (N,); negative inside."""
        local = _to_local(self.world_from_local, points)
        radial = np.hypot(local[:, 0], local[:, 1]) - self.radius
        axial = np.abs(local[:, 2]) - self.half_height
        outside = np.hypot(np.maximum(radial, 0.0), np.maximum(axial, 0.0))
        return outside + np.minimum(np.maximum(radial, axial), 0.0)


@dataclass(frozen=True)
class HeightField:
    """Ground: ``heights`` (ny, nx) in metres on a grid of ``cell_m``, bilinear in between.

    ``origin`` (3,) is the world position of heights[0, 0] were it zero; columns run along x, rows along y.
    """

    origin: tuple[float, float, float]
    heights: np.ndarray
    cell_m: float
    surface: Surface

    def __post_init__(self) -> None:
        if self.heights.ndim != 2 or min(self.heights.shape) < 2 or not np.isfinite(self.heights).all():
            raise SceneError(f"HeightField.heights must be (ny, nx), finite, at least 2x2, got {self.heights.shape}")
        _check_size("HeightField.cell_m", (self.cell_m,))

    @cached_property
    def max_slope(self) -> float:
        """The steepest slope anywhere on the surface, metres up per metre along."""
        along_x = np.diff(self.heights, axis=1) / self.cell_m
        along_y = np.diff(self.heights, axis=0) / self.cell_m
        dx = np.maximum(np.abs(along_x[1:]), np.abs(along_x[:-1]))
        dy = np.maximum(np.abs(along_y[:, 1:]), np.abs(along_y[:, :-1]))
        return float(np.hypot(dx, dy).max())

    def height(self, xy: np.ndarray) -> np.ndarray:
        """World height (N,) at world positions (N, 2); the rim's height beyond the rim."""
        rows, columns = self.heights.shape
        x, y = ((xy - self.origin[:2]) / self.cell_m).T
        x, y = np.clip(x, 0.0, columns - 1.0), np.clip(y, 0.0, rows - 1.0)
        column, row = np.minimum(x.astype(int), columns - 2), np.minimum(y.astype(int), rows - 2)
        fx, fy = x - column, y - row
        upper = self.heights[row, column] * (1 - fx) + self.heights[row, column + 1] * fx
        lower = self.heights[row + 1, column] * (1 - fx) + self.heights[row + 1, column + 1] * fx
        return self.origin[2] + upper * (1 - fy) + lower * fy

    def distance(self, points: np.ndarray) -> np.ndarray:
        """A lower bound (N,) on the distance from points (N, 3) down to the ground; negative below it."""
        return (points[:, 2] - self.height(points[:, :2])) / np.hypot(1.0, self.max_slope)


Primitive = Rectangle | Box | Sphere | Cylinder | HeightField


def _to_local(world_from_local: np.ndarray, points: np.ndarray) -> np.ndarray:
    return (points - world_from_local[:3, 3]) @ world_from_local[:3, :3]


def _check_size(name: str, size: tuple[float, ...]) -> None:
    if not min(size) > 0:
        raise SceneError(f"{name} must be positive, got {size}")


def _check_pose(name: str, pose: np.ndarray) -> None:
    rotation = pose[:3, :3]
    if pose.shape != (4, 4) or not np.isfinite(pose).all() or np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-6:
        raise SceneError(f"{name}.world_from_local must be a rigid (4, 4) transform, got {pose.tolist()}")

"""Ray intersections, batched over primitives of one type and over views, on the device.

A pixel (x, y) of view b looks along ``rays[b] @ (x, y, 1)``, scaled to z = 1 in the camera, so the ray parameter of a
hit is its depth along the optical axis. Quantities relative to the eye are computed in float64 and stored in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ros_matching.scenes.primitives import FACES_IN_BOX, Cylinder, Rectangle, Sphere
from ros_matching.scenes.tiles import TileGrid


@dataclass(frozen=True)
class Samples:
    """N image samples to shade: ``pixels`` (2, N) of views (N,), the world ray through each (3, N) with
    its z = 1 in the camera, and ``inverse_depth`` (N,) of the visible surface. Coordinates come first: it is faster.
    """

    views: torch.Tensor
    pixels: torch.Tensor
    rays: torch.Tensor
    inverse_depth: torch.Tensor

    def select(self, rows: torch.Tensor) -> Samples:
        """The samples of row numbers."""
        return Samples(
            self.views.index_select(0, rows),
            self.pixels.index_select(1, rows),
            self.rays.index_select(1, rows),
            self.inverse_depth.index_select(0, rows),
        )


@dataclass(frozen=True)
class SurfacePoints:
    """Texture coordinates ``uv`` (2, N) in metres, ``jacobian`` (4, N) d(u, v)/d(px, py) as ux, uy, vx, vy, and the
    world normals (3, N), unit, of either sign.
    """

    uv: torch.Tensor
    jacobian: torch.Tensor
    normals: torch.Tensor


class Rectangles:
    """A batch of rectangles."""

    def __init__(self, poses: np.ndarray, half_sizes: np.ndarray, one_sided: np.ndarray, device: torch.device) -> None:
        """From N poses (N, 4, 4), half sizes (N, 2) and which are ``one_sided`` (N,)."""
        self.centers = torch.from_numpy(poses[:, :3, 3].copy()).to(device)
        self.axes = torch.from_numpy(poses[:, :3, :3].transpose(0, 2, 1).copy()).to(device)  # rows x, y, normal
        self.normals = self.axes[:, 2].float().T.contiguous()
        self.inverse_half_sizes = torch.from_numpy(1.0 / half_sizes).to(device)
        self.one_sided = torch.from_numpy(one_sided).to(device)

    @classmethod
    def of(cls, rectangles: Sequence[Rectangle], device: torch.device) -> Rectangles:
        """The batch of these."""
        poses = np.stack([rectangle.world_from_local for rectangle in rectangles])
        half_sizes = np.array([rectangle.half_size for rectangle in rectangles], np.float64)
        return cls(poses, half_sizes, np.array([rectangle.one_sided for rectangle in rectangles]), device)

    def seen_from(self, eyes: torch.Tensor, rays: torch.Tensor) -> RectanglesInView:
        """Prepare the batch for eyes (B, 3) along rays (B, 3, 3), both float64."""
        return RectanglesInView(self, eyes, rays)


class RectanglesInView:
    """Rectangles in images. Inverse depth W is affine in the pixel on a plane, and so are u W and v W."""

    def __init__(self, batch: Rectangles, eyes: torch.Tensor, rays: torch.Tensor) -> None:
        offsets = (batch.axes @ (batch.centers - eyes[:, None])[..., None]).squeeze(-1)  # (B, N, 3), local
        local_rays = batch.axes @ rays[:, None]  # (B, N, 3, 3)
        distance = offsets[..., 2]
        is_visible = (distance.abs() > 1e-6) & (~batch.one_sided | (distance > 0))
        inverse_depth = torch.where(
            is_visible[..., None], local_rays[..., 2, :] / torch.where(is_visible, distance, 1.0)[..., None], 0.0
        )
        uv = local_rays[..., :2, :] - offsets[..., :2, None] * inverse_depth[..., None, :]
        self._batch = batch
        homographies = torch.cat([uv, inverse_depth[..., None, :]], -2).float()
        self._homographies = homographies.view(-1, 9).T.contiguous()  # (9, B N)
        scaled = torch.cat([uv * batch.inverse_half_sizes[..., None], inverse_depth[..., None, :]], -2).float()
        self._scaled = scaled.view(-1, 3, 3)
        self._shape = scaled.shape[:2]

    def overlaps(self, grid: TileGrid) -> torch.Tensor:
        """Return (B, T, N) bool, True for tiles in which a primitive may appear."""
        u, v, w = self._scaled.view(*self._shape, 3, 3).unbind(2)
        return grid.overlaps(torch.stack([w - u, w + u, w - v, w + v, w], 2))

    def inverse_depth(
        self, grid: TileGrid, tiles: torch.Tensor, rows: torch.Tensor, nearest: torch.Tensor
    ) -> torch.Tensor:
        """1 / z (n, P); at most 0 outside."""
        u, v, w = (
            (grid.at_tile(self._scaled[rows], tiles).view(-1, 3) @ grid.positions).view(len(rows), 3, -1).unbind(1)
        )
        inside = torch.maximum(u.abs_(), v.abs_()) <= w
        return w * inside

    def surface(self, samples: Samples, numbers: torch.Tensor) -> SurfacePoints:
        """The points of rectangles (N,) at the samples."""
        rows = samples.views * self._shape[1] + numbers
        ux, uy, u1, vx, vy, v1, wx, wy, _ = self._homographies.index_select(1, rows)
        x, y = samples.pixels
        depth = samples.inverse_depth.reciprocal()
        u, v = affine(ux, uy, u1, x, y).mul_(depth), affine(vx, vy, v1, x, y).mul_(depth)
        steps = [ux.addcmul(u, wx, value=-1), uy.addcmul(u, wy, value=-1)]
        steps += [vx.addcmul(v, wx, value=-1), vy.addcmul(v, wy, value=-1)]
        return SurfacePoints(
            torch.stack([u, v]), torch.stack(steps).mul_(depth), self._batch.normals.index_select(1, numbers)
        )


class Quadrics:
    """A batch of spheres or of cylinders, each as the unit one in its own scaled frame, inside the cube [-1, 1]^3."""

    def __init__(self, solids: Sequence[Sphere] | Sequence[Cylinder], device: torch.device) -> None:
        self.is_cylinder = isinstance(solids[0], Cylinder)
        poses = np.stack([solid.world_from_local for solid in solids])
        half_sizes = np.array([solid.half_size for solid in solids])
        self.centers = torch.from_numpy(poses[:, :3, 3]).to(device)
        unit_from_world = poses[:, :3, :3].transpose(0, 2, 1) / half_sizes[:, :, None]
        self.unit_from_world = torch.from_numpy(unit_from_world).to(device).contiguous()
        self.half_sizes = torch.from_numpy(half_sizes).float().to(device)
        self.bounds = bounding_faces(poses, half_sizes, device)

    def seen_from(self, eyes: torch.Tensor, rays: torch.Tensor) -> QuadricsInView:
        """Prepare the batch for eyes (B, 3) along rays (B, 3, 3), both float64."""
        return QuadricsInView(self, eyes, rays)


class QuadricsInView:
    """Spheres or cylinders in images."""

    def __init__(self, batch: Quadrics, eyes: torch.Tensor, rays: torch.Tensor) -> None:
        self._batch = batch
        self._count = len(batch.centers)
        eyes_in_unit = batch.unit_from_world @ (eyes[:, None] - batch.centers)[..., None]
        self._eyes = eyes_in_unit.squeeze(-1).float().view(-1, 3)
        self._rays = (batch.unit_from_world @ rays[:, None]).float().view(-1, 3, 3)
        self._bounds = batch.bounds.seen_from(eyes, rays)

    def overlaps(self, grid: TileGrid) -> torch.Tensor:
        """Return (B, T, N) bool, True for tiles in which a primitive may appear."""
        return any_face_overlaps(self._bounds, grid)

    def inverse_depth(
        self, grid: TileGrid, tiles: torch.Tensor, rows: torch.Tensor, nearest: torch.Tensor
    ) -> torch.Tensor:
        """1 / z (n, P); at most 0 where missed."""
        rays = (grid.at_tile(self._rays[rows], tiles).view(-1, 3) @ grid.positions).view(len(rows), 3, -1)
        eyes = self._eyes[rows][..., None]
        axes = slice(0, 2) if self._batch.is_cylinder else slice(0, 3)
        near, far = _unit_ball_interval(eyes[:, axes], rays[:, axes])
        if self._batch.is_cylinder:
            near_cap, far_cap = _unit_slab_interval(eyes[:, 2], rays[:, 2])
            near, far = torch.maximum(near, near_cap), torch.minimum(far, far_cap)
        return torch.where((near < far) & (near > 0), 1.0 / near, 0.0)

    def surface(self, samples: Samples, numbers: torch.Tensor) -> SurfacePoints:
        """The points of the solids (N,) at the samples."""
        rows = samples.views * self._count + numbers
        functions = self._rays.view(-1, 9).T.index_select(1, rows).view(3, 3, -1)  # axis, coefficient, sample
        rays = affine(functions[:, 0], functions[:, 1], functions[:, 2], *samples.pixels)
        depth = samples.inverse_depth.reciprocal()
        points = self._eyes.T.index_select(1, rows).addcmul_(depth, rays)
        half_sizes = self._batch.half_sizes.T.index_select(1, numbers)
        on_cap = (points[2].abs() > 0.9999) if self._batch.is_cylinder else None
        normals = points if on_cap is None else _cylinder_normals(points, on_cap)
        moves = surface_moves(functions[:, :2], rays, normals, depth)
        if on_cap is None:
            uv, steps = _sphere_coordinates(points, moves, half_sizes)
        else:
            uv, steps = _cylinder_coordinates(points, moves, half_sizes, on_cap)
        unit_from_world = self._batch.unit_from_world.float().view(-1, 9).T.index_select(1, numbers).view(3, 3, -1)
        world_normals = (unit_from_world * normals[:, None]).sum(0)
        return SurfacePoints(uv, steps.view(4, -1), world_normals * dot(world_normals, world_normals).rsqrt_())


def _cylinder_normals(points: torch.Tensor, on_cap: torch.Tensor) -> torch.Tensor:
    """Outward normals (3, N), not unit, of the unit cylinder."""
    x, y, z = points
    return torch.stack([torch.where(on_cap, 0.0, x), torch.where(on_cap, 0.0, y), torch.where(on_cap, z, 0.0)])


def _sphere_coordinates(
    points: torch.Tensor, moves: torch.Tensor, half_sizes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Longitude and latitude in metres (2, N) and steps (2, 2, N) at points (3, N) moving by (3, 2, N) a pixel."""
    x, y, z = points
    around = (x * x + y * y).clamp_(min=1e-4)
    uv = torch.stack([torch.atan2(y, x), -torch.asin(z.clamp(-1.0, 1.0))])
    steps = torch.stack([(x * moves[1] - y * moves[0]) / around, -moves[2] / around.sqrt()])
    return uv * half_sizes[0], steps * half_sizes[0]


def _cylinder_coordinates(
    points: torch.Tensor, moves: torch.Tensor, half_sizes: torch.Tensor, on_cap: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Arc length and depth below the middle, or x and y on the caps, in metres, with their steps; shapes as above."""
    x, y, z = points
    radius, _, half_height = half_sizes
    side_uv = torch.stack([torch.atan2(y, x) * radius, -z * half_height])
    side_steps = torch.stack([(x * moves[1] - y * moves[0]) * radius, -moves[2] * half_height])
    return torch.where(on_cap, points[:2] * radius, side_uv), torch.where(on_cap, moves[:2] * radius, side_steps)


def bounding_faces(poses: np.ndarray, half_sizes: np.ndarray, device: torch.device) -> Rectangles:
    """The faces, two-sided, of boxes at poses (N, 4, 4): six of each."""
    faces_in_box = np.tile(np.eye(4), (len(poses), 6, 1, 1))
    faces_in_box[..., :3, :3] = FACES_IN_BOX
    faces_in_box[..., :3, 3] = -FACES_IN_BOX[..., 2] * half_sizes[:, None]
    faces = (poses[:, None] @ faces_in_box).reshape(-1, 4, 4)
    sizes = np.abs(half_sizes[:, None, None] @ FACES_IN_BOX)[..., 0, :2].reshape(-1, 2)  # of x and y
    return Rectangles(faces, sizes, np.zeros(len(faces), bool), device)


def any_face_overlaps(faces: RectanglesInView, grid: TileGrid) -> torch.Tensor:
    """Tiles (B, T, N) that a face of each of N bounding boxes may appear in."""
    overlaps = faces.overlaps(grid)
    return overlaps.view(*overlaps.shape[:2], -1, 6).any(-1)


def affine(
    along_x: torch.Tensor, along_y: torch.Tensor, constant: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """An affine function of the pixel, by its coefficients."""
    return torch.addcmul(constant, along_x, x).addcmul_(along_y, y)


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner products (N,) of vectors (3, N)."""
    return torch.addcmul(a[0] * b[0], a[1], b[1]).addcmul_(a[2], b[2])


def surface_moves(
    ray_steps: torch.Tensor, rays: torch.Tensor, normals: torch.Tensor, depth: torch.Tensor
) -> torch.Tensor:
    """Ray differentials (Igehy 1999): the motion (3, 2, N) of the surface point on its tangent plane per pixel.

    ``ray_steps`` (3, 2, N) is the change of the rays (3, N) per pixel; normals (3, N) need not be unit. Near the
    silhouette the plane is taken as less steep.
    """
    facing = dot(normals, rays)
    limit = 0.02 * (dot(normals, normals) * dot(rays, rays)).sqrt_()
    facing = torch.where(facing < 0, torch.minimum(facing, -limit), torch.maximum(facing, limit))
    depth_steps = (normals[:, None] * ray_steps).sum(0).mul_(-depth / facing)  # (2, N)
    return (depth * ray_steps).addcmul_(rays[:, None], depth_steps)


def _unit_ball_interval(eyes: torch.Tensor, rays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The interval in which rays (n, k, P) from eyes (n, k, 1) are inside the unit ball; empty if they miss.

    By the point nearest to the centre, which keeps its digits at a distance (Haines et al., Ray Tracing Gems, ch. 7).
    """
    inverse_length = 1.0 / (rays * rays).sum(1)
    closest = -(eyes * rays).sum(1) * inverse_length
    off_center = torch.addcmul(eyes, rays, closest[:, None])
    beneath = 1.0 - (off_center * off_center).sum(1)
    half_chord = torch.where(beneath > 0, (beneath.clamp(min=0.0) * inverse_length).sqrt_(), -1.0)
    return closest - half_chord, closest + half_chord


def _unit_slab_interval(eyes: torch.Tensor, rays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The interval in which rays (n, P) from eyes (n, 1) are inside the slab between -1 and 1."""
    inverse = 1.0 / torch.where(rays.abs() < 1e-12, 1e-12, rays)
    first, second = (-1.0 - eyes) * inverse, (1.0 - eyes) * inverse
    return torch.minimum(first, second), torch.maximum(first, second)

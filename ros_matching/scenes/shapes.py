"""Ray intersections, batched over primitives of one type and over views, on the device.

A pixel (x, y) of view b looks along ``rays[b] @ (x, y, 1)``, scaled to z = 1 in the camera, so the ray parameter of a
hit is its depth along the optical axis. What is relative to the eye is computed in float64 and kept in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ros_matching.scenes.primitives import Box, Cylinder, Rectangle, Sphere, Surface
from ros_matching.scenes.tiles import TileGrid


@dataclass(frozen=True)
class Samples:
    """N places in the images to be coloured: ``pixels`` (N, 2) of views (N,), the world ray through each (N, 3) with
    its z = 1 in the camera, and ``inverse_depth`` (N,) of what is seen there.
    """

    views: torch.Tensor
    pixels: torch.Tensor
    rays: torch.Tensor
    inverse_depth: torch.Tensor


@dataclass(frozen=True)
class SurfacePoints:
    """Texture coordinates ``uv`` (N, 2) in metres, ``jacobian`` (N, 4) d(u, v)/d(px, py) as ux, uy, vx, vy, and the
    world normal (N, 3), unit, of either sign.
    """

    uv: torch.Tensor
    jacobian: torch.Tensor
    normals: torch.Tensor


class Rectangles:
    """A batch of rectangles."""

    def __init__(self, rectangles: Sequence[Rectangle], device: torch.device) -> None:
        poses = np.stack([rectangle.world_from_local for rectangle in rectangles])
        self.centers = torch.from_numpy(poses[:, :3, 3]).to(device)
        self.axes = torch.from_numpy(poses[:, :3, :3].transpose(0, 2, 1).copy()).to(device)  # rows x, y, normal
        self.normals = self.axes[:, 2].float()
        half_sizes = torch.tensor([rectangle.half_size for rectangle in rectangles], dtype=torch.float64, device=device)
        self.inverse_half_sizes = 1.0 / half_sizes
        self.one_sided = torch.tensor([rectangle.one_sided for rectangle in rectangles], device=device)

    def seen_from(self, eyes: torch.Tensor, rays: torch.Tensor) -> RectanglesInView:
        """The batch seen from eyes (B, 3) along rays (B, 3, 3), both float64."""
        return RectanglesInView(self, eyes, rays)


class RectanglesInView:
    """Rectangles in images. Inverse depth W is affine in the pixel on a plane, and so are u W and v W."""

    def __init__(self, batch: Rectangles, eyes: torch.Tensor, rays: torch.Tensor) -> None:
        offsets = (batch.axes @ (batch.centers - eyes[:, None])[..., None]).squeeze(-1)  # (B, N, 3), local
        local_rays = batch.axes @ rays[:, None]  # (B, N, 3, 3)
        distance = offsets[..., 2]
        seen = (distance.abs() > 1e-6) & (~batch.one_sided | (distance > 0))
        inverse_depth = torch.where(
            seen[..., None], local_rays[..., 2, :] / torch.where(seen, distance, 1.0)[..., None], 0.0
        )
        uv = local_rays[..., :2, :] - offsets[..., :2, None] * inverse_depth[..., None, :]
        self._batch = batch
        self._homographies = torch.cat([uv, inverse_depth[..., None, :]], -2).float().view(-1, 3, 3)
        scaled = torch.cat([uv * batch.inverse_half_sizes[..., None], inverse_depth[..., None, :]], -2).float()
        self._scaled = scaled.view(-1, 3, 3)
        self._shape = scaled.shape[:2]

    def overlaps(self, grid: TileGrid) -> torch.Tensor:
        """Where each may appear, (B, T, N) bool."""
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
        """The points of rectangles (N,) seen at the samples."""
        rows = samples.views * self._shape[1] + numbers
        homographies = self._homographies.view(-1, 9).index_select(0, rows).view(-1, 3, 3)
        values = homographies[..., 2].addcmul(homographies[..., 0], samples.pixels[:, :1])
        values = values.addcmul_(homographies[..., 1], samples.pixels[:, 1:])  # (N, 3): u W, v W, W
        depth = 1.0 / values[:, 2:]
        uv = values[:, :2] * depth
        jacobian = (homographies[:, :2, :2] - uv[..., None] * homographies[:, 2:, :2]) * depth[..., None]
        return SurfacePoints(uv, jacobian.reshape(-1, 4), self._batch.normals.index_select(0, numbers))


class Quadrics:
    """A batch of spheres or of cylinders, each as the unit one in its own scaled frame, inside the cube [-1, 1]^3."""

    def __init__(self, solids: Sequence[Sphere] | Sequence[Cylinder], device: torch.device) -> None:
        self.is_cylinder = isinstance(solids[0], Cylinder)
        poses = np.stack([solid.world_from_local for solid in solids])
        half_sizes = np.array([solid.half_size for solid in solids])
        self.centers = torch.from_numpy(poses[:, :3, 3]).to(device)
        unit_from_world = poses[:, :3, :3].transpose(0, 2, 1) / half_sizes[:, :, None]
        self.unit_from_world = torch.from_numpy(unit_from_world).to(device)
        self.half_sizes = torch.from_numpy(half_sizes).float().to(device)
        self.bounds = bounding_faces(poses, half_sizes, device)

    def seen_from(self, eyes: torch.Tensor, rays: torch.Tensor) -> QuadricsInView:
        """The batch seen from eyes (B, 3) along rays (B, 3, 3), both float64."""
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
        """Where each may appear, (B, T, N) bool."""
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
        """The points of the solids (N,) seen at the samples."""
        rows = samples.views * self._count + numbers
        ray_functions = self._rays[rows]
        rays = ray_functions[..., 2].addcmul(ray_functions[..., 0], samples.pixels[:, :1])
        rays = rays.addcmul_(ray_functions[..., 1], samples.pixels[:, 1:])
        depth = 1.0 / samples.inverse_depth[:, None]
        points = self._eyes[rows] + depth * rays
        normals = points.clone()
        if self._batch.is_cylinder:
            on_cap = points[:, 2].abs() > 0.9999
            normals[:, 2] = torch.where(on_cap, points[:, 2], 0.0)
            normals[:, :2] = torch.where(on_cap[:, None], 0.0, normals[:, :2])
        moves = surface_moves(ray_functions[..., :2], rays, normals, depth)
        half_sizes = self._batch.half_sizes[numbers]
        uv, jacobian = self._texture_coordinates(points, moves, half_sizes, normals)
        unit_from_world = self._batch.unit_from_world[numbers].float()
        world_normals = (normals[:, None] @ unit_from_world).squeeze(1)
        return SurfacePoints(uv, jacobian, torch.nn.functional.normalize(world_normals, dim=1))

    def _texture_coordinates(
        self, points: torch.Tensor, moves: torch.Tensor, half_sizes: torch.Tensor, normals: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The uv (N, 2), in metres, and jacobian (N, 4) at unit points (N, 3) that move (N, 3, 2) a pixel."""
        x, y, z = points.unbind(1)
        around = (x * x + y * y).clamp_(min=1e-4)
        u = torch.atan2(y, x)
        du = (x[:, None] * moves[:, 1] - y[:, None] * moves[:, 0]) / around[:, None]
        if self._batch.is_cylinder:
            v, dv = -z, -moves[:, 2]
            on_cap = normals[:, 2] != 0
            u, v = torch.where(on_cap, x, u), torch.where(on_cap, y * half_sizes[:, 1] / half_sizes[:, 2], v)
            du = torch.where(on_cap[:, None], moves[:, 0], du)
            dv = torch.where(on_cap[:, None], moves[:, 1] * (half_sizes[:, 1] / half_sizes[:, 2])[:, None], dv)
        else:
            v, dv = -torch.asin(z.clamp(-1.0, 1.0)), -moves[:, 2] / around.sqrt()[:, None]
        scale = half_sizes[:, 1:]
        return torch.stack([u, v], 1) * scale, torch.cat([du * scale[:, :1], dv * scale[:, 1:]], 1)


def bounding_faces(poses: np.ndarray, half_sizes: np.ndarray, device: torch.device) -> Rectangles:
    """The faces, two-sided, of boxes at poses (N, 4, 4): six for each in turn."""
    blank = Surface(np.zeros((2, 2, 3), np.uint8))
    boxes = [Box(pose, tuple(half_size), blank) for pose, half_size in zip(poses, half_sizes, strict=True)]
    faces = [Rectangle(face.world_from_local, face.half_size, blank) for box in boxes for face in box.faces()]
    return Rectangles(faces, device)


def any_face_overlaps(faces: RectanglesInView, grid: TileGrid) -> torch.Tensor:
    """Tiles (B, T, N) that a face of each of N bounding boxes may appear in."""
    overlaps = faces.overlaps(grid)
    return overlaps.view(*overlaps.shape[:2], -1, 6).any(-1)


def surface_moves(
    ray_steps: torch.Tensor, rays: torch.Tensor, normals: torch.Tensor, depth: torch.Tensor
) -> torch.Tensor:
    """How the seen point moves (N, 3, 2) on its tangent plane per pixel right and down (ray differentials, Igehy 1999).

    ``ray_steps`` (N, 3, 2) is the change of the ray per pixel. Near the silhouette the plane is taken as less steep.
    """
    facing = (normals * rays).sum(1)
    limit = 0.02 * normals.norm(dim=1) * rays.norm(dim=1)
    facing = torch.where(facing < 0, torch.minimum(facing, -limit), torch.maximum(facing, limit))
    depth_steps = -depth * (normals[..., None] * ray_steps).sum(1) / facing[:, None]
    return depth[..., None] * ray_steps + rays[..., None] * depth_steps[:, None]


def _unit_ball_interval(eyes: torch.Tensor, rays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where rays (n, k, P) from eyes (n, k, 1) enter and leave the unit ball; an empty interval where they miss.

    By the point nearest to the centre, which keeps its digits at a distance (Haines et al., Ray Tracing Gems, ch. 7).
    """
    inverse_length = 1.0 / (rays * rays).sum(1)
    closest = -(eyes * rays).sum(1) * inverse_length
    off_center = torch.addcmul(eyes, rays, closest[:, None])
    beneath = 1.0 - (off_center * off_center).sum(1)
    half_chord = torch.where(beneath > 0, (beneath.clamp(min=0.0) * inverse_length).sqrt_(), -1.0)
    return closest - half_chord, closest + half_chord


def _unit_slab_interval(eyes: torch.Tensor, rays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where rays (n, P) from eyes (n, 1) enter and leave the slab between -1 and 1."""
    inverse = 1.0 / torch.where(rays.abs() < 1e-12, 1e-12, rays)
    first, second = (-1.0 - eyes) * inverse, (1.0 - eyes) * inverse
    return torch.minimum(first, second), torch.maximum(first, second)

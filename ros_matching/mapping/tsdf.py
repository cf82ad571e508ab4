"""Fusion of depth maps in a truncated signed distance function (Curless and Levoy 1996), sparse.

Only voxels near a surface are stored, as rows of sorted arrays by their number, which packs three indices. A voxel
holds the mean of its signed distances along the viewing rays, positive before the surface, and the mean colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from ros_matching.datatypes import DepthMap, Mesh
from ros_matching.errors import GeometryError
from ros_matching.geometry.se3 import invert, transform
from ros_matching.mapping.surface_nets import surface_net

_BITS = 20  # of each index: half a million voxels to either side of the origin
_OFFSET = 1 << (_BITS - 1)
_MASK = (1 << _BITS) - 1
_MOST_RAYS = 4  # of a pixel, along a side
_STEP = 0.5  # voxels between samples along a ray
_SUMS = 5  # weight, distance, red, green, blue


class TsdfVolume:
    """``integrate`` depth maps, then ``mesh`` for the surface."""

    def __init__(self, voxel_size: float, truncation: float = 3.0) -> None:
        """Distances are truncated at ``truncation`` voxels. Raises ``GeometryError`` for an impossible size."""
        if not (voxel_size > 0 and truncation >= 1.5):
            raise GeometryError(
                f"a volume needs a positive voxel size and a truncation of 1.5 voxels or more, got {voxel_size:g} and "
                f"{truncation:g}"
            )
        self.voxel_size = voxel_size
        self._truncation = truncation * voxel_size
        self._voxels = np.zeros(0, np.int64)
        self._sums = np.zeros((0, _SUMS), np.float32)

    def __len__(self) -> int:
        return len(self._voxels)

    def integrate(self, depth_map: DepthMap, image: np.ndarray, world_from_camera: np.ndarray) -> None:
        """Add a depth map, NaN unknown, with the colours of its image (H, W, 3) uint8, of the size of the depth map."""
        voxels = self._near_surface(depth_map, world_from_camera)
        if not len(voxels):
            return
        # Signed distance of every voxel along its viewing ray
        camera = depth_map.camera
        local = transform(invert(world_from_camera), self._centers(voxels))
        pixels = np.rint(camera.project(local)).astype(np.int64)
        inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
        voxels, local, (u, v) = voxels[inside], local[inside], pixels[inside].T
        distance = depth_map.depth[v, u] - local[:, 2]
        with np.errstate(invalid="ignore"):
            near = np.abs(distance) < self._truncation
        weight = np.maximum(depth_map.confidence[v, u][near], 1e-3)
        values = np.column_stack([np.ones(near.sum()), distance[near], image[v[near], u[near]]])
        self._add(voxels[near], (weight[:, None] * values).astype(np.float32))

    def mesh(self, min_weight: float = 0.0) -> Mesh:
        """Return the surface between voxels of at least this weight, the sum of confidences."""
        kept = self._sums[:, 0] >= max(min_weight, 1e-6)
        voxels, sums = self._voxels[kept], self._sums[kept]
        means = sums[:, 1:] / sums[:, :1]
        vertices, colors, triangles = surface_net(voxels, means[:, 0], means[:, 1:], _BITS)
        corner = np.full(3, _OFFSET) - 0.5  # the centre of a voxel is half its size from its corner
        return Mesh(self.voxel_size * (vertices - corner), np.rint(np.clip(colors, 0, 255)).astype(np.uint8), triangles)

    def _near_surface(self, depth_map: DepthMap, world_from_camera: np.ndarray) -> np.ndarray:
        """Return the numbers of the voxels within the truncation of a surface, sorted."""
        rows, columns = np.nonzero(np.isfinite(depth_map.depth))
        found = np.zeros(0, np.int64)
        if not len(rows):
            return found
        depth = depth_map.depth[rows, columns].astype(np.float64)
        # A pixel that is larger than a voxel has several rays, or voxels between the rays would be missed
        footprint = float(np.median(depth)) / depth_map.camera.fx
        side = int(np.clip(np.ceil(footprint / self.voxel_size), 1, _MOST_RAYS))
        shifts = (np.arange(side) + 0.5) / side - 0.5
        for right, down in product(shifts, shifts):
            rays = depth_map.camera.unproject(np.column_stack([columns + right, rows + down]))
            for offset in self._offsets():
                points = transform(world_from_camera, rays * np.maximum(depth + offset, 1e-9)[:, None])
                found = np.union1d(found, self._numbers(points))
        return found

    def _offsets(self) -> Iterator[float]:
        yield from np.arange(-self._truncation, self._truncation, _STEP * self.voxel_size)

    def _numbers(self, points: np.ndarray) -> np.ndarray:
        index = np.floor(points / self.voxel_size).astype(np.int64) + _OFFSET
        index = index[((index >= 0) & (index <= _MASK)).all(axis=1)]
        return np.unique((index[:, 2] << 2 * _BITS) | (index[:, 1] << _BITS) | index[:, 0])

    def _centers(self, voxels: np.ndarray) -> np.ndarray:
        index = np.stack([voxels & _MASK, voxels >> _BITS & _MASK, voxels >> 2 * _BITS], axis=1)
        return self.voxel_size * (index - _OFFSET + 0.5)

    def _add(self, voxels: np.ndarray, sums: np.ndarray) -> None:
        """Add sums (N, 5) to voxels (N,), sorted and unique."""
        row = np.searchsorted(self._voxels, voxels)
        known = np.zeros(len(voxels), bool)
        inside = row < len(self._voxels)
        known[inside] = self._voxels[row[inside]] == voxels[inside]
        self._sums[row[known]] += sums[known]
        self._sums = np.insert(self._sums, row[~known], sums[~known], axis=0)
        self._voxels = np.insert(self._voxels, row[~known], voxels[~known])

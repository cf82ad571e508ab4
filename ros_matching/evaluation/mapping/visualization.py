"""Images of point clouds and depth maps.

Points are drawn as splats with a depth buffer and eye-dome lighting (Boucheny 2009): a pixel is dark if its neighbours
are nearer to the camera.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ros_matching.datatypes import Camera, DepthMap, PointCloud
from ros_matching.geometry.se3 import invert, pose_from, transform

_BACKGROUND = np.array([250.0, 250.0, 250.0])
_OVERSAMPLING = 2
_MAX_SPLAT_PX = 15  # across, oversampled
_SHADING = 2.5  # darkening by a neighbour that is nearer by e
_RINGS_PX = (1, 2, 4)  # distance of the neighbours
_EMPTY = np.iinfo(np.int64).max
_ROW_BITS = 32
_FOCAL_LENGTHS = (0.85, 3.0)  # the shortest and longest of an overview, in widths of the image
_FRACTION_INSIDE = 0.99  # of the points, along each axis
_FILLED = 0.9  # of the image, by these
_QUANTILE = 0.02
_UNKNOWN = (40, 40, 40)


def draw_cloud(
    cloud: PointCloud, camera: Camera, world_from_camera: np.ndarray, point_size: float, near: float = 0.0
) -> np.ndarray:
    """Return the image of a cloud from a camera, (H, W, 3) uint8 RGB.

    ``point_size`` is how large a point is in the world; what is nearer than ``near`` is left out.
    """
    large = camera.scaled(_OVERSAMPLING * camera.width, _OVERSAMPLING * camera.height)
    local = transform(invert(world_from_camera), np.asarray(cloud.points, np.float64))
    rows = np.flatnonzero(local[:, 2] > max(near, 1e-9))
    pixels, depth = large.project(local[rows]), local[rows, 2]
    visible = _splat(pixels, depth, rows, large.fx * point_size / depth, (large.height, large.width))
    row = visible & ((1 << _ROW_BITS) - 1)
    covered = visible != _EMPTY
    row[~covered] = 0
    if not len(cloud):
        return np.full((camera.height, camera.width, 3), _BACKGROUND, np.uint8)
    shade = _shade(np.where(covered, np.log(np.maximum(local[row, 2], 1e-9)), np.inf))
    image = np.where(covered[..., None], cloud.colors[row] * shade[..., None], _BACKGROUND)
    image = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.rint(image).astype(np.uint8)


def overview(
    cloud: PointCloud, world_from_cameras: Sequence[np.ndarray], width: int = 960, height: int = 600
) -> tuple[Camera, np.ndarray, float]:
    """Return a camera that looks at a cloud from behind the cameras: camera, world_from_camera, nearest depth to show.

    It is placed behind and above their centre, so that the image contains the observed scene, but no walls behind
    them. Its focal length fills the image.
    """
    poses = np.asarray(world_from_cameras)
    middle = poses[len(poses) // 2]
    down, eye = poses[:, :3, 1].mean(axis=0), np.median(poses[:, :3, 3], axis=0)
    down /= np.linalg.norm(down)
    target = np.median(cloud.points, axis=0) if len(cloud) else eye + middle[:3, 2]
    forward = target - eye
    forward -= (forward @ down) * down
    if not np.linalg.norm(forward) > 0.1 * np.linalg.norm(target - eye):
        forward = middle[:3, 2] - (middle[:3, 2] @ down) * down
    forward /= np.linalg.norm(forward)
    reach = np.linalg.norm(target - eye)
    position = eye - 1.1 * reach * forward - 0.8 * reach * down
    pose, near = look_at(position, target, down), 0.9 * float(reach)
    focal_px = _filling_focal_length_px(
        transform(invert(pose), np.asarray(cloud.points, np.float64)), near, width, height
    )
    return Camera(width, height, focal_px, focal_px, (width - 1) / 2, (height - 1) / 2), pose, near


def _filling_focal_length_px(points: np.ndarray, near: float, width: int, height: int) -> float:
    """Return the focal length that shows nearly all points (N, 3) beyond ``near``, within bounds."""
    visible = points[points[:, 2] > near]
    widest, narrowest = _FOCAL_LENGTHS[0] * width, _FOCAL_LENGTHS[1] * width
    if not len(visible):
        return widest
    reach = np.quantile(np.abs(visible[:, :2] / visible[:, 2:]), _FRACTION_INSIDE, axis=0)
    return float(np.clip(_FILLED * np.min((width / 2, height / 2) / np.maximum(reach, 1e-9)), widest, narrowest))


def look_at(position: np.ndarray, target: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return ``world_from_camera`` (4, 4) of a camera that looks at a target with ``down`` downwards in the image."""
    z = (target - position) / np.linalg.norm(target - position)
    x = np.cross(down, z)
    x /= np.linalg.norm(x)
    return pose_from(np.stack([x, np.cross(z, x), z], axis=1), position)


def _splat(
    pixels: np.ndarray, depth: np.ndarray, rows: np.ndarray, sizes_px: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Return depth (in steps) and row of the nearest point for each pixel (H, W), packed into one number.

    Points are squares of ``sizes_px`` (N,); pixels without a point are ``_EMPTY``.
    """
    buffer = np.full(shape[0] * shape[1], _EMPTY)
    if not len(rows):
        return buffer.reshape(shape)
    steps = np.rint(depth / depth.max() * ((1 << 30) - 1)).astype(np.int64)
    packed = steps << _ROW_BITS | rows
    reach = np.clip(np.ceil(sizes_px), 1, _MAX_SPLAT_PX).astype(np.int64)
    largest_first = np.argsort(-reach, kind="stable")
    reach, packed = reach[largest_first], packed[largest_first]
    corner = np.floor(pixels[largest_first] - (reach[:, None] - 1) / 2 + 0.5).astype(np.int64)
    for dv in range(int(reach[0])):
        for du in range(int(reach[0])):
            count = np.searchsorted(-reach, -max(du, dv))  # of points that reach so far
            u, v = corner[:count, 0] + du, corner[:count, 1] + dv
            covers = (u >= 0) & (u < shape[1]) & (v >= 0) & (v < shape[0])
            np.minimum.at(buffer, v[covers] * shape[1] + u[covers], packed[:count][covers])
    return buffer.reshape(shape)


def _shade(log_depth: np.ndarray) -> np.ndarray:
    """Return the brightness (H, W) in (0, 1] from logarithms of depth, infinite without a point."""
    height, width = log_depth.shape
    darkness, count = np.zeros((height, width)), 0
    for ring in _RINGS_PX:
        padded = np.pad(log_depth, ring, constant_values=np.inf)
        for dv, du in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
            neighbour = padded[ring * (1 + dv) :, ring * (1 + du) :][:height, :width]
            with np.errstate(invalid="ignore"):
                nearer = np.fmax(log_depth - neighbour, 0)
            darkness += np.where(np.isfinite(nearer), np.minimum(nearer, 0.3), 0)
            count += 1
    return np.exp(-_SHADING * 8 * darkness / count)


def draw_depth(depth_map: DepthMap, image: np.ndarray) -> np.ndarray:
    """Return the image (H, W, 3) and the depth map next to it, (H, 2 W, 3) uint8 RGB: near is red, far blue.

    Colours are uniform in 1 / depth; grey is unknown.
    """
    height, width = image.shape[:2]
    size = (width, height)
    with np.errstate(divide="ignore"):
        inverse = 1 / depth_map.depth
    known = np.isfinite(inverse)
    if not known.any():
        return np.hstack([image, np.full_like(image, _UNKNOWN)])
    low, high = np.quantile(inverse[known], [_QUANTILE, 1 - _QUANTILE])
    level = np.clip((inverse - low) / max(high - low, 1e-12), 0, 1)
    colors = cv2.applyColorMap(np.rint(255 * np.where(known, level, 0)).astype(np.uint8), cv2.COLORMAP_TURBO)
    colors = np.where(known[..., None], cv2.cvtColor(colors, cv2.COLOR_BGR2RGB), np.uint8(_UNKNOWN))
    return np.hstack([image, cv2.resize(colors, size, interpolation=cv2.INTER_NEAREST)])

"""Pairs of views with known depth or poses, for the description network."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ros_matching.training.photometric import distort
from ros_matching.training.photos import choose_points
from ros_matching.training.recipe import DataFolder
from ros_matching.training.recorded_views import RealViews, RealViewsConfig
from ros_matching.training.rendered_views import WorldViews, WorldViewsConfig
from ros_matching.training.views import DEPTH_TOLERANCE, ViewTuple, project_points, relative_pose

_SENSOR_TOLERANCE = 0.05  # relative; two measurements of one surface from different positions


class RealPairs:
    """Pairs of the sequences in a data folder: ``hololens_000`` with sensor depth, ``fox`` with poses alone."""

    TERMS: ClassVar[str] = (
        "the first 80 % of the frames of hololens_000 (deep-video-mvs sample data, MIT repository) and of fox "
        "(instant-ngp sample)"
    )

    def __init__(self, data: DataFolder, size: tuple[int, int]) -> None:
        self._data, self._size = data, size

    def sample(
        self, index: int, rng: np.random.Generator, count: int, keypoint_fraction: float, *, with_depth: bool
    ) -> dict[str, Tensor]:
        """Return a pair as ``LiteDescription.sample``, with ``count`` points."""
        views = (self._with_depth if with_depth else self._with_poses).sample(index)
        return _pair(views, rng, count, keypoint_fraction, tolerance=_SENSOR_TOLERANCE if with_depth else None)

    @cached_property
    def _with_depth(self) -> RealViews:
        width, height = self._size
        config = RealViewsConfig(width=width, height=height, max_gap=14, zoom=1.4, min_overlap=0.3)
        return RealViews(self._data.sequence("hololens_000"), config)

    @cached_property
    def _with_poses(self) -> RealViews:
        width, height = self._size
        config = RealViewsConfig(width=width, height=height, max_gap=3, max_angle_deg=40.0)
        return RealViews(self._data.sequence("fox"), config)


class WorldPairs:
    """Pairs of rendered views, with exact depth; textures are the photos of the data folder."""

    TERMS: ClassVar[str] = "rendered worlds (ros_matching.scenes) with these photos as textures"

    def __init__(self, data: DataFolder, size: tuple[int, int]) -> None:
        width, height = size
        # The keypoints to look for are chosen before light and lens change the views.
        self._views = WorldViews(data.photos, WorldViewsConfig(width=width, height=height, distort=False))

    def sample(self, index: int, rng: np.random.Generator, count: int, keypoint_fraction: float) -> dict[str, Tensor]:
        """Return a pair as ``LiteDescription.sample``, with ``count`` points."""
        return _pair(self._views.sample(index), rng, count, keypoint_fraction, tolerance=DEPTH_TOLERANCE)


def _pair(
    views: ViewTuple, rng: np.random.Generator, count: int, keypoint_fraction: float, tolerance: float | None
) -> dict[str, Tensor]:
    """Return two views with points: correspondences by depth within ``tolerance``, or else the epipolar geometry."""
    images = np.ascontiguousarray(views["images"].permute(0, 2, 3, 1).numpy())
    inside = np.ones(images.shape[1:3], np.uint8)
    points = [torch.from_numpy(choose_points(view, inside, count, keypoint_fraction, rng)).float() for view in images]
    valid = torch.zeros(count, dtype=torch.bool)
    b_from_a = relative_pose(*views["world_from_camera"])
    if tolerance is not None:
        (depth0, depth1), (moving0, moving1) = views["depth"], views["moving"]
        points[1], valid = project_points(
            points[0],
            depth0,
            *views["intrinsics"],
            b_from_a,
            depth1,
            moving_a=moving0,
            moving_b=moving1,
            tolerance=tolerance,
        )
        points[1] = torch.where(valid[:, None], points[1], 0.0)
    distorted = np.stack([distort(view, rng) for view in images])
    return {
        "images": torch.from_numpy(distorted.transpose(0, 3, 1, 2).copy()),
        "points": torch.stack(points),
        "valid": valid,
        "fundamental": fundamental(views, b_from_a) if tolerance is None else torch.zeros(3, 3),
    }


def fundamental(views: ViewTuple, b_from_a: Tensor) -> Tensor:
    """The fundamental matrix (3, 3) of the first two views, of unit norm: lines of b for pixels of a."""
    x, y, z = b_from_a[:3, 3].double()
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    from_a, from_b = torch.linalg.inv(views["intrinsics"].double())
    matrix = from_b.T @ cross @ b_from_a[:3, :3].double() @ from_a
    return (matrix / matrix.norm()).float()

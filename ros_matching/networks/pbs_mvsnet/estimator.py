"""Depth of a keyframe from its neighbours by PBS-MVSNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Camera, DepthMap, Keyframe
from ros_matching.errors import DataTypeError, GeometryError
from ros_matching.geometry.se3 import invert
from ros_matching.networks import PRECISIONS
from ros_matching.networks.engines import autocast
from ros_matching.networks.pbs_mvsnet.network import FEATURE_STRIDE, BSMVSNet
from ros_matching.networks.pbs_mvsnet.photometric_refinement import Refined, refine
from ros_matching.networks.pbs_mvsnet.regression import depth_hypotheses, sparse_prior
from ros_matching.networks.pbs_mvsnet.regularization import STRIDE
from ros_matching.networks.pbs_mvsnet.warping import visible_in_source

_REFINED_HYPOTHESES = 2  # how far the refinement goes
_MAX_LEVELS = 4
_MIN_LEVEL_SIDE_PX = 128  # a smaller image leaves its depth map with fewer than 32 rows


@dataclass(frozen=True)
class DepthConfig(Config):
    """Settings of the depth estimate of one view."""

    planes: int = parameter(48, "depth hypotheses, best a multiple of 16", minimum=8, maximum=1024)
    levels: int = parameter(
        0,
        "levels of the depth pyramid, each half the image size, 1: no pyramid; 0: by image size",
        minimum=0,
        maximum=4,
    )
    sparse_weight: float = parameter(
        3.0, "weight of sparse points, which lower the costs of the depths near them; 0: unused", minimum=0, maximum=100
    )
    refinement: int = parameter(
        6,
        "depths per side, up to two planes from the network's, that image correlation tries; 0: no refinement",
        minimum=0,
        maximum=32,
    )
    precision: str = parameter("float32", "number format of the network's convolutions", choices=PRECISIONS)


@dataclass(frozen=True)
class DepthPyramid:
    """Depth maps of one view, ``levels`` from coarse to fine, each with its own camera, of one pose."""

    levels: tuple[DepthMap, ...]
    world_from_camera: np.ndarray

    @property
    def finest(self) -> DepthMap:
        """The last level."""
        return self.levels[-1]


class DepthEstimator:
    """Runs a trained ``BSMVSNet``, on the device its weights are on.

    Depth maps are a quarter of the image's size, rounded up, with a camera of their own: pixel (i, j) is the image's
    (4 i, 4 j). Depth is along z of the reference in the unit of the poses, NaN where no source observes the point.
    The finest is refined on the images themselves; its confidence is the network's times the images' agreement there.
    """

    def __init__(self, network: BSMVSNet, config: DepthConfig = DepthConfig()) -> None:
        self.config = config
        self._network = network.eval()
        self._device = next(network.parameters()).device

    def estimate(self, reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float]) -> DepthMap:
        """The depth map at the full image size.

        ``depth_range`` is the nearest and the farthest depth; with inverse sampling the farthest may be infinite. No
        sources, an empty range, or a camera with distortion raise ``GeometryError`` or ``DataTypeError``.
        """
        _check(reference, sources, depth_range, self._network.config.sampling)
        return self._estimate(reference, sources, depth_range, level=0)

    def estimate_pyramid(
        self, reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float]
    ) -> DepthPyramid:
        """Estimate depth at every level independently; see ``mapping.depth_pyramid.merge_levels``."""
        _check(reference, sources, depth_range, self._network.config.sampling)
        count = self.config.levels or sensible_levels(reference.frame.camera)
        levels = [self._estimate(reference, sources, depth_range, level) for level in reversed(range(count))]
        return DepthPyramid(tuple(levels), reference.world_from_camera)

    @torch.inference_mode()
    def _estimate(
        self, reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float], level: int
    ) -> DepthMap:
        views = [reference, *sources]
        cameras = [_at_level(view.frame.camera, level) for view in views]
        images = self._images(views, cameras)
        feature_cameras = [feature_camera(camera) for camera in cameras]
        poses = [invert(view.world_from_camera) @ reference.world_from_camera for view in views]
        near, far = (torch.tensor([value], dtype=torch.float32, device=self._device) for value in depth_range)
        depths = depth_hypotheses(near, far, self.config.planes, self._network.config.sampling)
        with autocast(self._device, self.config.precision):
            projections = self._projections(feature_cameras, poses)
            prior = self._prior(reference, feature_cameras[0], depths[0], images.shape[-2:])
            estimate = self._network(images, projections, depths, prior)
        camera = feature_cameras[0]
        depth, confidence = (x[0, : camera.height, : camera.width] for x in (estimate.depth, estimate.confidence))
        if self.config.refinement and level == 0:
            refined = self._refined(depth, depths[0], images[0], cameras, poses)
            depth = refined.inverse.reciprocal().clamp(depths[0, 0], depths[0, -1])
            confidence = confidence * refined.agreement
        depth, confidence = depth.cpu(), confidence.cpu()
        visible = _visible(depth.double(), feature_cameras, poses)
        return DepthMap(torch.where(visible, depth, torch.nan).numpy(), (confidence * visible).numpy(), camera)

    def _prior(self, view: Keyframe, camera: Camera, hypotheses: Tensor, size: Sequence[int]) -> Tensor | None:
        """Return the prior (1, D, h, w) of a view's sparse points, for padded images of ``size`` (height, width)."""
        depths = np.asarray(view.sparse_depths, np.float64)
        known = np.isfinite(depths) & (depths > 0)
        if not self.config.sparse_weight or not known.any():
            return None
        pixels = camera.project(view.frame.camera.unproject(view.sparse_points_px[known]))
        pixels, depths = (torch.from_numpy(x).to(hypotheses) for x in (pixels, depths[known]))
        map_size = (size[0] // FEATURE_STRIDE, size[1] // FEATURE_STRIDE)
        prior = sparse_prior(pixels, depths, hypotheses, map_size, self._network.config.sampling)
        return self.config.sparse_weight * prior[None]

    def _refined(
        self,
        depth: Tensor,
        hypotheses: Tensor,
        images: Tensor,
        cameras: Sequence[Camera],
        poses: Sequence[np.ndarray],
    ) -> Refined:
        """Refine a depth (h, w) by image correlation at a few hypotheses around it."""
        inverse = depth.reciprocal()
        if self._network.config.sampling == "inverse":
            reach = ((1 / hypotheses[0] - 1 / hypotheses[-1]) / (len(hypotheses) - 1)).expand_as(inverse)
        else:
            reach = (hypotheses[-1] - hypotheses[0]) / (len(hypotheses) - 1) * inverse.square()
        sizes = torch.tensor([[camera.width, camera.height] for camera in cameras], device=self._device)
        projections = self._projections(cameras, poses)[0]
        return refine(inverse, _REFINED_HYPOTHESES * reach, self.config.refinement, images, projections, sizes)

    def _images(self, views: Sequence[Keyframe], cameras: Sequence[Camera]) -> Tensor:
        """The images (1, N, 3, H, W) in [0, 1] at the cameras' sizes, all padded to the same size."""
        height = padded_length(max(camera.height for camera in cameras))
        width = padded_length(max(camera.width for camera in cameras))
        images = []
        for view, camera in zip(views, cameras, strict=True):
            image = torch.from_numpy(np.array(view.frame.image)).to(self._device)
            image = image.permute(2, 0, 1)[None].float() / 255
            size = (camera.height, camera.width)
            if size != image.shape[2:]:
                image = functional.interpolate(image, size=size, mode="bilinear", antialias=True)
            # Padded by the last row and column: a black border would be an edge in all views.
            images.append(functional.pad(image, (0, width - size[1], 0, height - size[0]), mode="replicate"))
        return torch.stack(images, dim=1)

    def _projections(self, cameras: Sequence[Camera], poses: Sequence[np.ndarray]) -> Tensor:
        """``K [R|t]`` (1, N, 4, 4) from reference coordinates, which are small enough for float32."""
        projections = np.stack(poses)
        for projection, camera in zip(projections, cameras, strict=True):
            projection[:3] = camera.matrix @ projection[:3]
        return torch.from_numpy(projections[None]).float().to(self._device)


def sensible_levels(camera: Camera) -> int:
    """Return the number of pyramid levels with a useful image size."""
    side, levels = min(camera.width, camera.height), 1
    while levels < _MAX_LEVELS and side / 2**levels >= _MIN_LEVEL_SIDE_PX:
        levels += 1
    return levels


def feature_camera(camera: Camera) -> Camera:
    """The camera of the feature map, and so of the depth map."""
    return replace(
        camera,
        width=-(-camera.width // FEATURE_STRIDE),
        height=-(-camera.height // FEATURE_STRIDE),
        fx=camera.fx / FEATURE_STRIDE,
        fy=camera.fy / FEATURE_STRIDE,
        cx=camera.cx / FEATURE_STRIDE,
        cy=camera.cy / FEATURE_STRIDE,
    )


def padded_length(length: int) -> int:
    """The least multiple of 32 that holds an image side: the coarsest voxels then cover the same number of pixels."""
    stride = FEATURE_STRIDE * STRIDE
    return -(-length // stride) * stride


def _at_level(camera: Camera, level: int) -> Camera:
    return camera.scaled(-(-camera.width // 2**level), -(-camera.height // 2**level)) if level else camera


def _visible(depth: Tensor, cameras: Sequence[Camera], poses: Sequence[np.ndarray]) -> Tensor:
    """Return (h, w) bool, True for points inside at least one source image."""
    intrinsics = [torch.from_numpy(camera.matrix) for camera in cameras]
    visible = torch.zeros(depth.shape, dtype=torch.bool)
    for camera, matrix, pose in zip(cameras[1:], intrinsics[1:], poses[1:], strict=True):
        size = (camera.height, camera.width)
        visible |= visible_in_source(depth, intrinsics[0], matrix, torch.from_numpy(pose), size)
    return visible


def _check(reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float], sampling: str) -> None:
    if not sources:
        raise GeometryError(f"the depth of keyframe {reference.id} needs at least one other keyframe, got none")
    near, far = depth_range
    if not 0 < near < far or (sampling == "linear" and not np.isfinite(far)):
        raise GeometryError(
            f"a depth range for {sampling} sampling must be 0 < near < far"
            f"{' < infinity' if sampling == 'linear' else ''}, got {depth_range}"
        )
    for view in (reference, *sources):
        if not view.frame.camera.is_pinhole:
            raise DataTypeError(
                f"keyframe {view.id} has {view.frame.camera.distortion_model.value} distortion; undistort its image "
                "first (ros_matching.geometry.distortion.Undistorter)"
            )

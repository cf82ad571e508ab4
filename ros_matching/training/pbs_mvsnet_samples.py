"""What PBS-MVSNet is given of views, and the truth: images, projections to feature maps, a depth range, depth."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ros_matching.networks.pbs_mvsnet.consistency import seen_in_source
from ros_matching.networks.pbs_mvsnet.network import FEATURE_STRIDE, feature_intrinsics
from ros_matching.training.photometric import PhotometricConfig, distort
from ros_matching.training.views import ViewTuple

_QUANTILE = 0.02  # of the depths, on both sides of the range


def training_sample(views: ViewTuple, rng: np.random.Generator) -> dict[str, Tensor]:
    """What the network is given of views, and the truth: see ``PBSMVSNetLiteRecipe.sample``.

    Depth that no source sees is unknown. The range is that of robust quantiles of the depth, widened at random.
    """
    intrinsics = feature_intrinsics(views["intrinsics"].double())
    camera_from_world = torch.linalg.inv(views["world_from_camera"].double())
    projections = camera_from_world.clone()
    projections[:, :3] = intrinsics @ camera_from_world[:, :3]
    depth = views["depth"][0, ::FEATURE_STRIDE, ::FEATURE_STRIDE].double()
    known = depth[torch.isfinite(depth)]
    if len(known) == 0:
        near, far = 1.0, 2.0
    else:
        near, far = torch.quantile(known, torch.tensor([_QUANTILE, 1 - _QUANTILE]).double()).tolist()
    range_ = torch.tensor([near / np.exp(rng.uniform(0.02, 0.5)), far * np.exp(rng.uniform(0.02, 0.5))])
    seen = _seen(depth, intrinsics, camera_from_world)
    return {
        "images": views["images"],
        "projections": projections.float(),
        "depth": torch.where(seen, depth, torch.nan).float(),
        "range": range_.float(),
    }


def halved(projections: Tensor) -> Tensor:
    """Projections to feature maps (..., 4, 4) for images of half the size: pixel u becomes (u + 1/2) / 2 - 1/2."""
    scale = torch.diag(projections.new_tensor([0.5, 0.5, 1, 1]))
    scale[:2, 2] = -0.25 / FEATURE_STRIDE
    return scale @ projections


def distorted(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each view as another camera would have taken it."""
    config = PhotometricConfig(exposure_stops=0.25, gamma=0.08, saturation=0.1, motion_px=6.0)
    views = [distort(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), rng, config) for image in images]
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).contiguous()


def _seen(depth: Tensor, intrinsics: Tensor, camera_from_world: Tensor) -> Tensor:
    """Which points (h, w) are inside of at least one source's image; the world is the reference's camera."""
    sources = zip(intrinsics[1:], camera_from_world[1:], strict=True)
    seen = [seen_in_source(depth, intrinsics[0], matrix, pose, tuple(depth.shape)) for matrix, pose in sources]
    return torch.stack(seen).any(dim=0)

"""Training samples of PBS-MVSNet: images, projections to feature maps, a depth range, and ground-truth depth."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ros_matching.errors import TrainingError
from ros_matching.io.images import read_image
from ros_matching.networks.pbs_mvsnet.network import FEATURE_STRIDE, feature_intrinsics
from ros_matching.networks.pbs_mvsnet.warping import visible_in_source
from ros_matching.training.pbs_mvsnet_planes import draw, random_scene
from ros_matching.training.photometric import PhotometricConfig, distort
from ros_matching.training.recorded_views import RealViews, RealViewsConfig
from ros_matching.training.rendered_views import WorldViews, WorldViewsConfig
from ros_matching.training.viewpoint_sampling import ViewpointConfig
from ros_matching.training.views import ViewTuple, view_tuple

_QUANTILE = 0.02  # of the depths, on both sides of the range


def training_sample(views: ViewTuple, rng: np.random.Generator) -> dict[str, Tensor]:
    """Return the input of the network and the ground truth of views: see ``PBSMVSNetLiteRecipe.sample``.

    Depth outside all sources is unknown. The range is that of robust quantiles of the depth, widened at random.
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
    is_visible = _visible(depth, intrinsics, camera_from_world)
    return {
        "images": views["images"],
        "projections": projections.float(),
        "depth": torch.where(is_visible, depth, torch.nan).float(),
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


def _visible(depth: Tensor, intrinsics: Tensor, camera_from_world: Tensor) -> Tensor:
    """Return (h, w) bool, True for points inside at least one source; the world is the reference camera."""
    sources = zip(intrinsics[1:], camera_from_world[1:], strict=True)
    visible = [visible_in_source(depth, intrinsics[0], matrix, pose, tuple(depth.shape)) for matrix, pose in sources]
    return torch.stack(visible).any(dim=0)


_FOV_DEG = (40.0, 75.0)
_BASELINES = (0.02, 0.15)  # relative to the depth
_NEAR_VIEWS = ViewpointConfig(
    min_baseline=0.02,
    max_baseline=0.2,
    gaze=0.08,
    roll_deg=3.0,
    large_roll=0.0,
    zoom=0.0,
    min_overlap=0.5,
)
_LARGER = 3  # halves of the size that is trained on, which rendered views have
_SAMPLES_PER_WORLD = 60  # of all samples; those that are of another kind are skipped


class DrawnViews:
    """Views of random planes and boxes with photos on them; sources look about where the first view looks.

    The depths of the sources are unknown (NaN).
    """

    def __init__(self, photos: list[Path], views: int, width: int, height: int, seed: int) -> None:
        if not photos:
            raise TrainingError("drawing scenes needs photos, got none")
        self._photos, self._views, self._size, self._seed = photos, views, (width, height), seed

    def sample(self, index: int) -> ViewTuple:
        """A new scene for every index."""
        rng = np.random.default_rng((self._seed, index))
        width, height = self._size
        facets = random_scene(self._texture, rng)
        focal = width / 2 / np.tan(np.radians(rng.uniform(*_FOV_DEG)) / 2)
        intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
        poses = [np.eye(4)]
        image, depth = draw(facets, intrinsics, poses[0], width, height)
        images, middle = [image], float(np.nanmedian(depth))
        for _ in range(self._views - 1):
            poses.append(_beside(middle, rng))
            images.append(draw(facets, intrinsics, np.linalg.inv(poses[-1]), width, height)[0])
        depths = np.full((self._views, height, width), np.nan, np.float32)
        depths[0] = depth
        return view_tuple(np.stack(images), depths, np.stack([intrinsics] * self._views), np.stack(poses))

    def _texture(self, rng: np.random.Generator) -> np.ndarray:
        return _photo(self._photos[rng.integers(len(self._photos))])


class RenderedViews:
    """Views of rendered worlds, close enough to each other for depth; moving objects have no depth (NaN).

    They are half as large again as ``width`` x ``height``, for ``part`` to cut from.
    """

    def __init__(self, photos: Path, views: int, width: int, height: int, seed: int) -> None:
        config = WorldViewsConfig(
            views=views,
            width=_LARGER * width // 2,
            height=_LARGER * height // 2,
            group_views=views + 2,
            samples_per_world=_SAMPLES_PER_WORLD,
            distort=False,
            seed=seed,
        )
        self._views = WorldViews(photos, config, viewpoints=_NEAR_VIEWS)

    def sample(self, index: int) -> ViewTuple:
        """One of the samples of the few worlds that the neighbours of ``index`` are of, too."""
        views = self._views.sample(index)
        return ViewTuple(**{**views, "depth": views["depth"].masked_fill(views["moving"], torch.nan)})


@lru_cache(maxsize=512)
def _photo(path: Path) -> np.ndarray:
    """A photo at half its size: textures are smaller still."""
    photo = read_image(path)
    return cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


class SequenceViews(RealViews):
    """As ``RealViews``, with the frames kept in memory: reading one takes longer than all else. They are not cut."""

    def __init__(self, sequence: Path, config: RealViewsConfig) -> None:
        super().__init__(sequence, config)
        self._kept: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def _view(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if row not in self._kept:
            self._kept[row] = super()._view(row, rng)
        return self._kept[row]


def _beside(depth: float, rng: np.random.Generator) -> np.ndarray:
    """A random pose of a camera next to the one at the origin, with about the same target."""
    direction = rng.normal(size=3) * [1.0, 1.0, 0.5]
    baseline = depth * np.exp(rng.uniform(*np.log(_BASELINES)))
    position = baseline * direction / np.linalg.norm(direction)
    turn_back = np.array([position[1], -position[0], 0]) / depth * rng.uniform(0, 1.2)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(turn_back + rng.normal(0, [0.03, 0.03, 0.04])).as_matrix()
    pose[:3, 3] = position
    return pose


def part(views: ViewTuple, width: int, height: int, rng: np.random.Generator) -> ViewTuple:
    """A random window of the first view, at a random size, and about the same region of each other view.

    Between the whole view, resized to at least ``width`` x ``height``, and a window of that size without resizing.
    """
    full_height, full_width = views["images"].shape[2:]
    least = max(width / full_width, height / full_height)
    if least > 1:
        raise TrainingError(f"cannot cut {width}x{height} pixels from views of {full_width}x{full_height}")
    scale = rng.uniform(least, 1)
    size = max(width, round(full_width * scale)), max(height, round(full_height * scale))
    intrinsics = _resized(views["intrinsics"].numpy(), size[0] / full_width, size[1] / full_height)
    depth = cv2.resize(views["depth"][0].numpy(), size, interpolation=cv2.INTER_NEAREST)
    left, top = int(rng.integers(size[0] - width + 1)), int(rng.integers(size[1] - height + 1))
    known = depth[top : top + height, left : left + width]
    middle = float(np.nanmedian(known)) if np.isfinite(known).any() else 1.0
    center = middle * np.linalg.inv(intrinsics[0]) @ [left + (width - 1) / 2, top + (height - 1) / 2, 1]
    images, depths, matrices = [], [], []
    for row, pose in enumerate(views["world_from_camera"].double().numpy()):
        if row:
            left, top = _corner(intrinsics[row] @ (pose[:3, :3].T @ (center - pose[:3, 3])), size, width, height)
            depth = np.full(size[::-1], np.nan, np.float32)
        image = cv2.resize(views["images"][row].permute(1, 2, 0).numpy(), size, interpolation=cv2.INTER_AREA)
        images.append(image[top : top + height, left : left + width])
        depths.append(depth[top : top + height, left : left + width])
        matrices.append(intrinsics[row] - [[0, 0, left], [0, 0, top], [0, 0, 0]])
    return view_tuple(
        np.stack(images), np.stack(depths), np.stack(matrices), views["world_from_camera"].double().numpy()
    )


def mirrored(views: ViewTuple) -> ViewTuple:
    """Mirror the world: left and right are exchanged."""
    intrinsics = views["intrinsics"].clone()
    intrinsics[:, 0, 2] = views["images"].shape[3] - 1 - intrinsics[:, 0, 2]
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    return ViewTuple(
        images=views["images"].flip(3),
        depth=views["depth"].flip(2),
        moving=views["moving"].flip(2),
        intrinsics=intrinsics,
        world_from_camera=mirror @ views["world_from_camera"] @ mirror,
    )


def _resized(intrinsics: np.ndarray, across: float, down: float) -> np.ndarray:
    """Calibration matrices of resized images: pixel centres are at integers."""
    shift = np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5], [0, 0, 1]])
    return shift @ intrinsics.astype(np.float64)


def _corner(point: np.ndarray, size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """The start of a crop with a homogeneous pixel at its centre, as far as the image permits."""
    u, v = point[:2] / max(point[2], 1e-6)
    left, top = np.clip([u - (width - 1) / 2, v - (height - 1) / 2], 0, [size[0] - width, size[1] - height])
    return round(float(left)), round(float(top))

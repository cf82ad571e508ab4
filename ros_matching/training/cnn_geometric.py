"""CNNGeometric's recipe: the grid loss on photos under random affine, homography and thin-plate spline warps.

``cnn_geometric_lite`` works on PoSFeat-lite's descriptor maps, which stay as they are: that network is no part of the
weights. Each photo yields one source, and one target per model. With ``joint``, every head learns from every target the
best that its own model can do (so that the affine head, the first stage, knows views that are not affine); without,
each from those of its own model, as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.config import parameter
from ros_matching.evaluation.data_split import training_photos, validation_photos
from ros_matching.io.images import read_image
from ros_matching.networks.checkpoint import load_installed, load_named
from ros_matching.networks.cnn_geometric.network import CNNGeometric, DescriptorMapTrunk
from ros_matching.networks.cnn_geometric.transforms import identity, sampling_grid, transform_points, unit_grid
from ros_matching.networks.engines import folded
from ros_matching.networks.imagenet import level_statistics
from ros_matching.training.photometric import PhotometricConfig, distort
from ros_matching.training.recipe import Batch, Recipe, RecipeConfig

LOSS_GRID = 20  # points along each side
_PADDING = 0.5  # of the image's sides, mirrored on each of them
_CROP = 9 / 16  # of the image's sides, the visible part of the pair


def grid_loss(model: str, theta: Tensor, true_theta: Tensor) -> Tensor:
    """Mean squared distance between where two transformations (B, P) take a grid of points (equation 4)."""
    points = unit_grid(LOSS_GRID, LOSS_GRID, like=theta).expand(len(theta), -1, 2)
    difference = transform_points(model, theta, points) - transform_points(model, true_theta, points)
    return difference.square().sum(dim=-1).mean()


def synthetic_pair(
    image: Tensor, model: str, theta: Tensor, size: int, align_corners: bool = True
) -> tuple[Tensor, Tensor]:
    """Source and target (B, C, size, size) of images (B, C, H, W), which theta (B, P) aligns.

    The source shows the middle of the image, the target the samples of theta around it; the image is continued by its
    mirror image. ``align_corners=False`` is the behaviour of the published code with the default of recent PyTorch; the
    published weights were trained with True.
    """
    padded = pad_symmetric(image, round(_PADDING * image.shape[2]), round(_PADDING * image.shape[3]))
    scale = _CROP / (1 + 2 * _PADDING)
    affine_grid = unit_grid(size, size, like=image, align_corners=align_corners).expand(len(image), -1, 2)
    source = affine_grid.reshape(-1, size, size, 2)
    if model == "affine":
        target = transform_points(model, theta, affine_grid).reshape(-1, size, size, 2)
    else:  # the published code spans these grids from pixel centre to pixel centre in any case
        target = sampling_grid(model, theta, size, size)
    return tuple(functional.grid_sample(padded, grid * scale, align_corners=align_corners) for grid in (source, target))


def synthetic_views(image: Tensor, warps: Sequence[tuple[str, Tensor]], size: tuple[int, int]) -> list[Tensor]:
    """Return the view (B, C, *size) of images (B, C, H, W) under each warp, (model, theta).

    As ``synthetic_pair``, whose source is the view of the identity: theta takes a view's points to that one.
    """
    padded = pad_symmetric(image, round(_PADDING * image.shape[2]), round(_PADDING * image.shape[3]))
    scale = _CROP / (1 + 2 * _PADDING)
    grids = [sampling_grid(model, theta.to(image), *size) for model, theta in warps]
    return [functional.grid_sample(padded, grid * scale, align_corners=True) for grid in grids]


def pad_symmetric(image: Tensor, rows: int, columns: int) -> Tensor:
    """The image (B, C, H, W) continued on all sides by its mirror image, its border pixels repeated."""
    height, width = image.shape[-2:]
    y = torch.arange(-rows, height + rows, device=image.device) % (2 * height)
    x = torch.arange(-columns, width + columns, device=image.device) % (2 * width)
    y, x = torch.minimum(y, 2 * height - 1 - y), torch.minimum(x, 2 * width - 1 - x)
    return image[..., y[:, None], x]


MODELS = ("affine", "homography", "tps")
_DESCRIPTORS = "posfeat_lite"
_VALIDATION_PHOTOS = 32
_PHOTO_SIZE = (480, 360)
_MAX_TURN, _MAX_SHEAR, _MAX_STRETCH, _MAX_SHIFT, _MAX_JITTER = np.pi / 12, np.pi / 6, 0.25, 0.25, 0.4


@dataclass(frozen=True)
class CNNGeometricTraining(RecipeConfig):
    """Settings of the training."""

    batch_size: int = parameter(6, "photos in a step, of each process; three pairs each", minimum=1)
    learning_rate: float = parameter(5e-4, "at its peak; it falls along a cosine to a hundredth", minimum=0)
    ema_decay: float = parameter(
        0.99, "of the moving average of the weights, which is validated and kept", minimum=0, maximum=1
    )
    width: int = parameter(240, "of the images, a multiple of 16", minimum=64)
    height: int = parameter(176, "of the images, a multiple of 16", minimum=64)
    head: str = parameter("compact", "head that regresses the parameters", choices=("compact", "paper"))
    joint: bool = parameter(False, "every head learns from the warps of all models")
    strength: float = parameter(1.0, "of the warps; 1 as published", minimum=0.0, maximum=1.5)
    photometric: float = parameter(0.5, "probability that a view is distorted", minimum=0, maximum=1)
    kept: int = parameter(
        0, "samples whose maps are kept in memory, to be used again mirrored and turned; 0: always new ones", minimum=0
    )
    descriptors: str = parameter("", "weights file of posfeat_lite whose maps are aligned; empty: the installed one")


class CNNGeometricLiteRecipe(Recipe):
    """Trains ``cnn_geometric_lite``."""

    name = "cnn_geometric_lite"
    network_name = "cnn_geometric_lite"
    description = "global alignment of two images on PoSFeat-lite's descriptor maps: affine, homography, spline"
    config_class = CNNGeometricTraining
    selection = "score"

    def make_network(self) -> nn.Module:
        """The heads with random weights, each beginning at the identity."""
        return CNNGeometric("descriptor_map", MODELS, self.config.head)

    def parameter_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """The compact heads' last layers slower: they begin at zero, where the fit alone is nearly right."""
        last = [p for head in network.heads.values() for p in head.linear.parameters()]
        known = set(map(id, last))
        others = [p for p in network.parameters() if id(p) not in known]
        scale = 0.05 if self.config.head == "compact" else 1.0
        return [{"params": others, "lr_scale": 1.0}, {"params": last, "lr_scale": scale}]

    def sample(self, index: int) -> dict[str, Tensor]:
        """``maps`` (1 + 3, 128, 15, 15), the source's first; ``goals`` (3, 400, 2), where the loss's grid goes."""
        number = index % self.config.kept if self.config.kept else index
        if number in self._kept:
            return self._kept[number]
        rng = self.generator(number)
        sample = self._pairs(self._photos[rng.integers(len(self._photos))], rng, self.config.photometric)
        if self.config.kept:
            self._kept[number] = sample
        return sample

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The grid loss (equation 4), summed over the heads; logs mean grid errors, as fractions of the side."""
        losses, numbers = [], {}
        for model, squared in self._squared_errors(network, batch).items():
            own = squared[:, MODELS.index(model)]
            losses.append(squared.mean() if self.config.joint else own.mean())
            numbers[model] = own.detach().sqrt().mean() / 2
        return torch.stack(losses).sum(), numbers

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Mean grid errors of each head on warps of its model, as fractions of the image's side, on held-out photos."""
        errors: dict[str, list[float]] = {model: [] for model in MODELS}
        for batch in self._validation:
            for model, squared in self._squared_errors(network, batch).items():
                errors[model].append(float(squared[:, MODELS.index(model)].detach().sqrt().mean() / 2))
        means = {model: float(np.mean(values)) for model, values in errors.items()}
        return {"score": -float(np.mean(list(means.values()))), **means}

    def trained_on(self) -> str:
        """The data and their terms."""
        return "photos of BSDS500 (research) and ImageNet (non-commercial) under synthetic warps, by maps of " + (
            f"{_DESCRIPTORS} ({Path(self.config.descriptors).name or 'as installed'})"
        )

    def _squared_errors(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Of each head the squared distances (B, 3, 400) from the goals of the three targets."""
        maps, goals = batch["maps"], batch["goals"]
        if network.training:
            maps, goals = _turned(maps, goals)
        features = network.features(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        source = features[:, :1].expand(-1, len(MODELS), -1, -1, -1).flatten(0, 1)
        correlation = network.match(source, features[:, 1:].flatten(0, 1))
        grid = unit_grid(LOSS_GRID, LOSS_GRID, like=goals).expand(len(correlation), -1, 2)
        return {
            model: (transform_points(model, head(correlation), grid) - goals.flatten(0, 1))
            .square()
            .sum(dim=-1)
            .unflatten(0, goals.shape[:2])
            for model, head in network.heads.items()
        }

    @torch.no_grad()
    def _maps(self, images: Tensor) -> Tensor:
        """Descriptor maps (B, 128, 15, 15), averaged as the network does, of images (B, 3, H, W) uint8."""
        mean, std = level_statistics()
        pixels = ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)
        return DescriptorMapTrunk()(self._descriptors(pixels).local).contiguous()

    def _pairs(self, photo: Path, rng: np.random.Generator, photometric: float) -> dict[str, Tensor]:
        image = cv2.resize(read_image(photo), _PHOTO_SIZE, interpolation=cv2.INTER_AREA)
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        size = (self.config.height, self.config.width)
        grid = unit_grid(LOSS_GRID, LOSS_GRID, like=tensor)[None]
        warps = [("affine", identity("affine")[None])]
        warps += [(model, random_theta(model, rng, self.config.strength)) for model in MODELS]
        views = [view[0] for view in synthetic_views(tensor, warps, size)]
        images = [_as_image(view, rng, photometric) for view in views]
        goals = [transform_points(model, theta, grid)[0] for model, theta in warps[1:]]
        return {"maps": self._maps(torch.stack(images)), "goals": torch.stack(goals)}

    @cached_property
    def _kept(self) -> dict[int, dict[str, Tensor]]:
        return {}

    @cached_property
    def _photos(self) -> list[Path]:
        return training_photos(self.data.photos)

    @cached_property
    def _validation(self) -> list[dict[str, Tensor]]:
        photos = validation_photos(self.data.photos)[:_VALIDATION_PHOTOS]
        pairs = [self._pairs(photo, np.random.default_rng(row), 0.0) for row, photo in enumerate(photos)]
        rows = range(0, len(pairs), 8)
        return [{key: torch.stack([pair[key] for pair in pairs[row : row + 8]]) for key in pairs[0]} for row in rows]

    @cached_property
    def _descriptors(self) -> nn.Module:
        path = self.config.descriptors
        network: Any = load_named(Path(path), _DESCRIPTORS) if path else load_installed(_DESCRIPTORS)
        return folded(network.description).requires_grad_(False).to(memory_format=torch.channels_last)


def _turned(maps: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
    """All of a batch mirrored or not, from left to right, from top to bottom and across the diagonal, at random.

    The maps of mirrored images differ, but their correspondences remain valid.
    """
    grid = goals.unflatten(2, (LOSS_GRID, LOSS_GRID))  # (B, 3, rows, columns, x and y)
    mirror_x, mirror_y, transpose = (torch.rand(3) < 0.5).tolist()
    if mirror_x:
        maps, grid = maps.flip(-1), grid.flip(3) * grid.new_tensor([-1, 1])
    if mirror_y:
        maps, grid = maps.flip(-2), grid.flip(2) * grid.new_tensor([1, -1])
    if transpose:
        maps, grid = maps.transpose(-1, -2), grid.transpose(2, 3).flip(4)
    return maps, grid.flatten(2, 3)


def random_theta(model: str, rng: np.random.Generator, strength: float = 1.0) -> Tensor:
    """Random parameters (1, P) as in the published training, or weaker ones."""
    if model != "affine":
        start = identity(model)
        return (start + strength * torch.from_numpy(rng.uniform(-_MAX_JITTER, _MAX_JITTER, len(start))).float())[None]
    rotation, shear = strength * rng.uniform(-_MAX_TURN, _MAX_TURN), rng.uniform(-_MAX_SHEAR, _MAX_SHEAR)
    stretch = 1 + strength * rng.uniform(-_MAX_STRETCH, _MAX_STRETCH, 2)
    matrix = _turn(rotation) @ _turn(-shear) @ np.diag(stretch) @ _turn(shear)
    shift = strength * rng.uniform(-_MAX_SHIFT, _MAX_SHIFT, 2)
    return torch.from_numpy(np.column_stack([matrix, shift]).reshape(1, 6)).float()


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _as_image(view: Tensor, rng: np.random.Generator, photometric: float) -> Tensor:
    """A distorted view (3, H, W) uint8, as of a real camera."""
    image = view.round().clamp(0, 255).byte()
    if rng.random() >= photometric:
        return image
    distorted = distort(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), rng, PhotometricConfig(motion_px=6.0))
    return torch.from_numpy(distorted).permute(2, 0, 1).contiguous()

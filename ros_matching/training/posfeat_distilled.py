"""Recipe that distils a teacher, ALIKED with LightGlue, into PoSFeat-lite: descriptors and detector at once.

Descriptors: of the keypoints of two views, each has to find its counterpart among all others (``keypoint_contrast``,
both ways) and among all cells of the other view (``contrastive``). Correspondences are exact in photos under
homographies and by depth in rendered views, and the teacher's in pairs of real frames. Detector: the teacher's
keypoints, by cross-entropy in cells (``imitation_loss``), on descriptors whose gradient it does not change. Views come
in several shapes and in grey, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ros_matching.config import parameter
from ros_matching.evaluation.data_split import validation_photos
from ros_matching.networks.posfeat.extractor import LITE
from ros_matching.networks.posfeat.keypoints import detect_on_response, hessian_response
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.networks.posfeat.nearest import nearest_neighbours
from ros_matching.training.photos import map_points
from ros_matching.training.posfeat_description import PHOTO_TERMS, DescriptionConfig, LiteDescription, normalised
from ros_matching.training.posfeat_detection import detection_sample, imitation_loss
from ros_matching.training.posfeat_distilled_samples import frame_views, photo_views
from ros_matching.training.posfeat_losses import contrastive, keypoint_contrast
from ros_matching.training.posfeat_views import WorldPairs
from ros_matching.training.recipe import Batch
from ros_matching.training.teacher import TERMS, LabelConfig, TeacherLabels

_RIGHT_PX = 1.5
_MAX_RATIO = 0.95
_VALIDATION_PAIRS = 40


@dataclass(frozen=True)
class DistilledConfig(DescriptionConfig):
    """Settings of the distillation."""

    learning_rate: float = parameter(1e-3, "at its peak; it falls along a cosine to a hundredth", minimum=0)
    encoder_rate: float = parameter(0.3, "learning rate of the pretrained encoder, relative", minimum=0, maximum=1)
    sizes: str = parameter(
        "320x240,480x160,320x240,240x320,400x192", "shapes of the training images, multiples of 16; a batch has one"
    )
    points: int = parameter(
        448, "keypoints of each view, at most three quarters of them with a correspondence", minimum=16
    )
    temperature: float = parameter(0.035, "similarities are divided by it", minimum=0.005, maximum=1)
    cell_weight: float = parameter(0.5, "weight of the search among all cells", minimum=0)
    cell_points: int = parameter(96, "keypoints of each view that are looked for among all cells", minimum=1)
    exclude_px: float = parameter(4.0, "cells nearer to the true point are neither right nor wrong", minimum=4)
    exclude_keypoints_px: float = parameter(2.5, "the same for keypoints", minimum=0)
    imitation: float = parameter(0.5, "weight of the imitation of the teacher's keypoints", minimum=0)
    grey_fraction: float = parameter(0.4, "fraction of grey pairs", minimum=0, maximum=1, former_name="grey_share")
    photo_weight: float = parameter(0.5, "weight of photos under homographies", minimum=0, former_name="photo_share")
    frame_weight: float = parameter(
        0.5, "weight of pairs of frames matched by the teacher", minimum=0, former_name="frame_share"
    )
    labels: str = parameter("teacher_labels", "folder of the teacher's labels, made if they are not there")
    label_photos: int = parameter(900, "photos that the teacher labels", minimum=0)
    label_minutes: float = parameter(120.0, "most time spent on labels; 0: those that are there", minimum=0)
    label_step: int = parameter(4, "every how many-th frame begins pairs that the teacher labels", minimum=1)


class LiteDistilled(LiteDescription):
    """``posfeat_lite`` from a teacher; begins from weights of ``posfeat_lite_detection``."""

    name = "posfeat_lite_distilled"
    description = "PoSFeat-lite: keypoints and descriptors, for images of about 240 to 1280 pixels"
    config_class = DistilledConfig
    selection = "right"

    def make_network(self) -> nn.Module:
        """The whole network; earlier training is in the initial weights."""
        return PoSFeatLite()

    def parameter_groups(self, network: nn.Module) -> list[dict]:
        """The encoder slower than decoder and detector."""
        return [*super().parameter_groups(network), {"params": list(network.detection.parameters()), "lr_scale": 1.0}]

    @cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        return [tuple(map(int, size.split("x"))) for size in self.config.sizes.split(",")]

    @cached_property
    def _labels(self) -> TeacherLabels:
        config = LabelConfig(photos=self.config.label_photos, step=self.config.label_step)
        labels = TeacherLabels(Path(self.config.labels), self.data, config)
        labels.make(self.config.label_minutes)
        return labels

    @cached_property
    def _world_pairs(self) -> dict[tuple[int, int], WorldPairs]:
        return {size: WorldPairs(self.data, size) for size in set(self._sizes)}

    def sample(self, index: int) -> dict[str, Tensor]:
        """A pair as ``posfeat_distilled_samples`` describes it; all of a batch have one size."""
        rng, config = self.generator(index), self.config
        batch = np.random.default_rng((config.seed, 2, index // config.batch_size))
        size = self._sizes[batch.integers(len(self._sizes))]
        grey = rng.random() < config.grey_fraction
        weights = np.array([config.photo_weight, config.frame_weight, config.world_weight])
        kind = rng.choice(3, p=weights / weights.sum())
        if kind == 0:
            photos = rng.choice(self._photos, 2)
            return photo_views(photos, self._labels.keypoints(photos[0]), size, config.points, rng, grey)
        if kind == 1:
            pair = self._labels.pairs[rng.integers(len(self._labels.pairs))]
            return frame_views(pair, size, config.points, rng, grey)
        pair = self._world_pairs[size].sample(index, rng, config.points, config.keypoint_fraction)
        del pair["fundamental"]
        # Unknown to the teacher.
        return pair | {"keypoints": torch.zeros(2, *pair["images"].shape[-2:], dtype=torch.uint8)}

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Both images of all pairs in one pass."""
        config = self.config
        images = normalised(batch["images"].flatten(0, 1))
        maps = network.description(images)
        map0, map1 = maps.local.unflatten(0, (-1, 2)).unbind(1)
        points0, points1 = batch["points"].unbind(1)
        descriptors = [network.sample(map_, points) for map_, points in ((map0, points0), (map1, points1))]
        loss, right = keypoint_contrast(
            *descriptors, points0, points1, batch["valid"], config.temperature, config.exclude_keypoints_px
        )
        numbers = {"keypoints": loss.detach(), "right": right}
        if config.cell_weight:
            some = slice(None, config.cell_points)
            points0, points1, valid = points0[:, some], points1[:, some], batch["valid"][:, some]
            of_cells, found = contrastive(
                network.sample, map0, map1, points0, points1, valid, config.temperature, config.exclude_px
            )
            loss = loss + config.cell_weight * of_cells
            numbers |= {"cells": of_cells.detach(), "found": found}
        if config.imitation:
            score = network.detection(images, maps.local, maps.stem).float()
            keypoints = batch["keypoints"].flatten(0, 1)
            labelled = (keypoints > 0).flatten(1).any(dim=1)
            imitation = (
                imitation_loss(score[labelled], keypoints[labelled]) if bool(labelled.any()) else 0 * score.sum()
            )
            loss = loss + config.imitation * imitation
            numbers |= {"imitation": imitation.detach()}
        return loss, numbers

    def validate(self, network: nn.Module) -> dict[str, float]:
        """On held-out photos, half of them in grey, with keypoints and matches as inference has them.

        ``right``: fraction of the matches within 1.5 px; ``matched``: right matches by keypoint of the first view.
        """
        found = np.array([self._validate_pair(network, sample) for sample in self._validation])
        return {"right": float(found[:, 0].mean()), "matched": float(found[:, 1].mean())}

    def _validate_pair(self, network: nn.Module, sample: dict[str, Tensor]) -> tuple[float, float]:
        images = sample["images"].to(next(network.parameters()).device)
        dense = network(normalised(images))
        response = hessian_response(images.float().mean(dim=1, keepdim=True) / 255)
        keypoints = detect_on_response(response, dense.score, LITE.nms_radius_px, LITE.min_response, 1024)
        points = [one.points for one in keypoints]
        if min(map(len, points)) < 2:
            return 0.0, 0.0
        descriptors = [network.sample(dense.descriptors[i : i + 1], points[i][None])[0] for i in range(2)]
        found = nearest_neighbours(*descriptors)
        ratio = ((1 - found.cosine) / (1 - found.second).clamp(min=1e-6)).clamp(min=0).sqrt()
        match = found.mutual & (ratio <= _MAX_RATIO)
        there = map_points(sample["homography"].double().numpy(), points[0].double().cpu().numpy())
        distance = np.linalg.norm(there - points[1][found.column].double().cpu().numpy(), axis=1)
        right = match.cpu().numpy() & (distance <= _RIGHT_PX)
        return right.sum() / max(int(match.sum()), 1), right.sum() / len(right)

    @cached_property
    def _validation(self) -> list[dict[str, Tensor]]:
        photos = validation_photos(self.data.photos)
        step = max(len(photos) // _VALIDATION_PAIRS, 1)
        samples = []
        for number, photo in enumerate(photos[::step][:_VALIDATION_PAIRS]):
            size = self._sizes[number % len(self._sizes)]
            sample = detection_sample((photo, photos[0]), np.random.default_rng((13, number)), size)
            if number % 2:
                sample["images"] = sample["images"].float().mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).byte()
            samples.append(sample)
        return samples

    def trained_on(self) -> str:
        """The photos, the frames and the teacher."""
        worlds = f"; {WorldPairs.TERMS}" if self.config.world_weight else ""
        return f"{PHOTO_TERMS}{worlds}; {TERMS}"

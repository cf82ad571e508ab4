"""Recipe of PoSFeat's detection network, on top of a description network that stays as it is.

Keypoints are drawn at random from the scores and rewarded if their descriptors find the true counterpart: the policy
gradient of DISK, as PoSFeat uses it (section 3.3, equations 9 to 11). Before that, ``imitation`` trains the
network on SIFT keypoints, because a random network is rarely rewarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.config import parameter
from ros_matching.evaluation.data_split import training_photos, validation_photos
from ros_matching.networks.posfeat.keypoints import detect
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.networks.posfeat.network import PoSFeat
from ros_matching.training.photometric import distort
from ros_matching.training.photos import HomographyConfig, photo_pair
from ros_matching.training.posfeat_description import PHOTO_TERMS, normalised
from ros_matching.training.recipe import Batch, Recipe, RecipeConfig

_CELL_PX = 8
_SIMILARITY_SCALE = 60.0
_VALIDATION_PAIRS = 40
_VALIDATION_KEYPOINTS = 400
_PAPER_PENALTY = -0.001


@dataclass(frozen=True)
class DetectionTrainingConfig(RecipeConfig):
    """Settings of the training of the detection network."""

    batch_size: int = parameter(3, "pairs in a step, of each process", minimum=1)
    learning_rate: float = parameter(2e-3, "at its peak; it falls along a cosine to a hundredth", minimum=0)
    width: int = parameter(320, "of the training images, a multiple of 16", minimum=64)
    height: int = parameter(240, "of the training images, a multiple of 16", minimum=64)
    imitation: float = parameter(1.0, "weight of the imitation of SIFT's keypoints", minimum=0)
    policy: float = parameter(4.0, "weight of the policy gradient", minimum=0)
    reward_px: float = parameter(2.0, "distance up to which two keypoints are of the same point", minimum=0.5)
    wrong_reward: float = parameter(-0.25, "reward of a match that is wrong", maximum=0)
    penalty: float = parameter(_PAPER_PENALTY, "reward of every keypoint, that it may be sparing", maximum=0)


class LiteDetection(Recipe):
    """The detector of ``posfeat_lite``; the weights to begin from have its descriptors."""

    name = "posfeat_lite_detection"
    network_name = "posfeat_lite"
    description = "PoSFeat-lite: keypoints and descriptors, for images of about 240 to 640 pixels"
    config_class = DetectionTrainingConfig
    selection = "score"

    def make_network(self) -> nn.Module:
        """The whole network; its descriptors come with the weights to begin from."""
        return PoSFeatLite()

    def parameter_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """The detection network alone."""
        return [{"params": list(network.detection.parameters()), "lr_scale": 1.0}]

    def set_mode(self, network: nn.Module) -> None:
        """The description network keeps its statistics."""
        network.train()
        network.description.eval()

    @cached_property
    def _photos(self) -> list[Path]:
        return training_photos(self.data.photos)

    def sample(self, index: int) -> dict[str, Tensor]:
        """A photo pair: ``images`` (2, 3, H, W) uint8, its ``homography``, ``keypoints`` (2, H, W) to imitate."""
        rng = self.generator(index)
        return detection_sample(rng.choice(self._photos, 2), rng, (self.config.width, self.config.height))

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Imitation and policy gradient, per image."""
        images = normalised(batch["images"].flatten(0, 1))
        with torch.no_grad():
            maps = network.description(images)
        score = network.detection(images, maps.local, maps.stem).float()
        config = self.config
        numbers, loss = {}, score.new_zeros(())
        if config.imitation:
            imitation = imitation_loss(score, batch["keypoints"].flatten(0, 1))
            numbers["imitation"] = imitation.detach()
            loss = loss + config.imitation * imitation
        if config.policy:
            drawn = draw_keypoints(score)
            descriptors = network.sample(maps.local, drawn.points)
            policy, more = self._policy(drawn, descriptors, batch["homography"])
            numbers |= more
            loss = loss + config.policy * policy
        return loss, numbers

    def _policy(self, drawn: Drawn, descriptors: Tensor, homography: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the expected reward of a pair of keypoints, summed over all pairs and over 1000 cells an image."""
        config = self.config
        points, logs, accepted, descriptors = (x.unflatten(0, (-1, 2)).unbind(1) for x in (*drawn, descriptors))
        right = same_point(points[0], points[1], homography, config.reward_px)
        similarity = -_SIMILARITY_SCALE * (1 - descriptors[0] @ descriptors[1].mT)
        log_match = similarity.log_softmax(dim=2) + similarity.log_softmax(dim=1)
        both = accepted[0][:, :, None] & accepted[1][:, None, :]
        reward = torch.where(right, 1.0, config.wrong_reward) * log_match.exp() * both
        gain = (reward * (logs[0][:, :, None] + logs[1][:, None, :])).sum()
        spared = sum((log * accept).sum() for log, accept in zip(logs, accepted, strict=True))
        count = points[0].shape[0] * points[0].shape[1] / 1000
        numbers = {
            "reward": reward.sum() / len(reward),
            "right": (right & both).sum() / len(reward),
            "accepted": accepted[0].float().mean(),
        }
        return -(gain + config.penalty * spared) / (1000 * count), numbers

    def validate(self, network: nn.Module) -> dict[str, float]:
        """On held-out photos: ``repeatability`` at 3 px, and ``score``, the fraction of correctly matched keypoints.

        The score is the mean over thresholds of 1, 2 and 3 pixels, of mutual nearest neighbours.
        """
        found = [self._validate_pair(network, sample) for sample in self._validation]
        repeatability, score = np.mean(found, axis=0)
        return {"score": float(score), "repeatability": float(repeatability)}

    def _validate_pair(self, network: nn.Module, sample: dict[str, Tensor]) -> tuple[float, float]:
        device = next(network.parameters()).device
        dense = network(normalised(sample["images"].to(device)))
        keypoints = detect(dense.score, radius=3, threshold=0.0, max_keypoints=_VALIDATION_KEYPOINTS)
        points = [one.points for one in keypoints]
        descriptors = [network.sample(dense.descriptors[i : i + 1], points[i][None])[0] for i in range(2)]
        homography = sample["homography"].to(device)
        mapped = _mapped(points[0][None], homography[None])[0]
        limit = mapped.new_tensor([dense.score.shape[-1] - 1, dense.score.shape[-2] - 1])
        visible = ((mapped >= 0) & (mapped <= limit)).all(dim=1)
        distance = torch.cdist(mapped.nan_to_num(1e6), points[1])
        similarity = descriptors[0] @ descriptors[1].T
        best1, best0 = similarity.argmax(dim=1), similarity.argmax(dim=0)
        mutual = best0[best1] == torch.arange(len(best1), device=device)
        error = distance.gather(1, best1[:, None])[:, 0]
        count = visible.sum().clamp(min=1)
        score = sum(((error < limit_px) & mutual & visible).sum() / count for limit_px in (1, 2, 3)) / 3
        return float(((distance.amin(dim=1) < 3) & visible).sum() / count), float(score)

    @cached_property
    def _validation(self) -> list[dict[str, Tensor]]:
        photos = validation_photos(self.data.photos)
        step = max(len(photos) // _VALIDATION_PAIRS, 1)
        size = (self.config.width, self.config.height)
        return [
            detection_sample((photo, photos[0]), np.random.default_rng((11, number)), size)
            for number, photo in enumerate(photos[::step][:_VALIDATION_PAIRS])
        ]

    def trained_on(self) -> str:
        """The photos."""
        return PHOTO_TERMS


class FullDetection(LiteDetection):
    """The detector of ``posfeat``; the weights to begin from have its descriptors."""

    name = "posfeat_detection"
    network_name = "posfeat"
    description = "PoSFeat: keypoints and descriptors"

    def make_network(self) -> nn.Module:
        """The whole network; its descriptors come with the weights to begin from."""
        return PoSFeat()


class Drawn(NamedTuple):
    """One proposal for each cell of an image: ``points`` (B, N, 2) pixels, the logarithm of its probability
    ``logs`` (B, N), which has the gradient, and ``accepted`` (B, N) bool.
    """

    points: Tensor
    logs: Tensor
    accepted: Tensor


def draw_keypoints(score: Tensor) -> Drawn:
    """Draw a pixel of every 8x8 cell of score maps (B, 1, H, W) and accept it or not, both by its score as a logit."""
    cells = functional.pixel_unshuffle(score, _CELL_PX)  # (B, 64, h, w)
    rows, columns = cells.shape[-2:]
    logits = cells.flatten(2).mT  # (B, N, 64)
    position = torch.distributions.Categorical(logits=logits)
    chosen = position.sample()
    acceptance = torch.distributions.Bernoulli(logits=logits.gather(2, chosen[..., None])[..., 0])
    accepted = acceptance.sample()
    y, x = torch.meshgrid(
        torch.arange(rows, device=score.device), torch.arange(columns, device=score.device), indexing="ij"
    )
    corner = _CELL_PX * torch.stack([x.flatten(), y.flatten()], dim=1)
    inner = torch.stack([chosen % _CELL_PX, chosen // _CELL_PX], dim=2)
    logs = position.log_prob(chosen) + acceptance.log_prob(accepted)
    return Drawn((corner + inner).to(score.dtype), logs, accepted > 0)


def same_point(points0: Tensor, points1: Tensor, homography: Tensor, radius_px: float) -> Tensor:
    """Return True for pairs (B, N, M) less than a radius apart, in either image, under a homography (B, 3, 3)."""
    forward = torch.cdist(_mapped(points0, homography).nan_to_num(1e6), points1)
    backward = torch.cdist(points0, _mapped(points1, torch.linalg.inv(homography)).nan_to_num(1e6))
    return (forward < radius_px) & (backward < radius_px)


def imitation_loss(score: Tensor, keypoints: Tensor) -> Tensor:
    """Cross-entropy of the pixel of each 8x8 cell that has a keypoint, where there is one, and of there being none.

    ``keypoints`` (B, H, W) uint8 weights pixels from 0 to 255, with each keypoint's neighbours sharing what lies
    between them. A cell without keypoints wants low scores: their sum is weighed against a constant, "none".
    """
    logits = functional.pixel_unshuffle(score, _CELL_PX)
    target = functional.pixel_unshuffle(keypoints[:, None].to(score) / 255, _CELL_PX)
    none = torch.full_like(logits[:, :1], _NONE_LOGIT)
    total = target.sum(dim=1, keepdim=True)
    has = (total > 0.3).to(score)
    wanted = torch.cat([has * target / total.clamp(min=1e-6), 1 - has], dim=1)
    return -(wanted * (_SHARPNESS * torch.cat([logits, none], dim=1)).log_softmax(dim=1)).sum(dim=1).mean()


_NONE_LOGIT = 2.0  # of softplus scores, which lie around 0.8: about one in twenty pixels exceeds it
_SHARPNESS = 3.0  # scores have unit variance, which alone makes for no peaks


def detection_sample(photos: Sequence[Path], rng: np.random.Generator, size: tuple[int, int]) -> dict[str, Tensor]:
    """A pair of views with its homography and SIFT's keypoints of the undistorted views."""
    pair = photo_pair(*photos, size, rng, HomographyConfig())
    views = (pair.view0, pair.view1)
    return {
        "images": torch.from_numpy(np.stack([distort(view, rng) for view in views]).transpose(0, 3, 1, 2).copy()),
        "homography": torch.from_numpy(pair.view1_from_view0.astype(np.float32)),
        "keypoints": torch.from_numpy(np.stack([_sift_map(view) for view in views])),
    }


def keypoint_map(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Keypoints (N, 2) as weights (H, W) uint8 of an image of ``size`` (width, height).

    Each is spread over the four pixels around it.
    """
    width, height = size
    weights = np.zeros((height + 1, width + 1), np.float32)
    corner = np.floor(points).astype(int).clip(0, (width - 1, height - 1))
    fx, fy = (points - corner).clip(0, 1).T
    for dx, wx in ((0, 1 - fx), (1, fx)):
        for dy, wy in ((0, 1 - fy), (1, fy)):
            np.maximum.at(weights, (corner[:, 1] + dy, corner[:, 0] + dx), wx * wy)
    return (255 * weights[:height, :width]).astype(np.uint8)


def _sift_map(view: np.ndarray) -> np.ndarray:
    """SIFT's keypoints (H, W) uint8."""
    found = cv2.SIFT_create(nfeatures=400, contrastThreshold=0.02).detect(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY))
    # OpenCV finds keypoints in a doubled image, a quarter of a pixel too far to the right and down.
    points = np.array([keypoint.pt for keypoint in found], np.float32).reshape(-1, 2) - 0.25
    return keypoint_map(points, view.shape[1::-1])


def _mapped(points: Tensor, homography: Tensor) -> Tensor:
    """Points (B, N, 2) under homographies (B, 3, 3); NaN behind the horizon."""
    mapped = points @ homography[:, :, :2].mT + homography[:, None, :, 2]
    depth = mapped[..., 2:]
    return mapped[..., :2] / torch.where(depth > 1e-9, depth, torch.nan)

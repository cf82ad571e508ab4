"""PBS-MVSNet's recipe: L1 on depth at the pyramid's levels, from real views with sensor depth, rendered worlds and
drawn scenes.

The paper trains on DTU with equation 7, the mean |d - d_truth|. Here it is counted in hypotheses (``index error``), so
that near and far scenes weigh the same; on top of it, switchable, comes the cross-entropy of the hypotheses' softmax
with the true one, which teaches a distribution with one peak where L1 is content with a right mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.config import parameter
from ros_matching.errors import ConfigError
from ros_matching.evaluation.data_split import training_photos, validation_frames
from ros_matching.evaluation.depth.depth_errors import evaluate_depth
from ros_matching.evaluation.depth.depth_views import DepthViews, DepthViewsConfig, depth_views
from ros_matching.io import open_source
from ros_matching.networks.pbs_mvsnet.estimator import DepthConfig, DepthEstimator
from ros_matching.networks.pbs_mvsnet.network import BSMVSNet, BSMVSNetConfig
from ros_matching.networks.pbs_mvsnet.regression import depth_hypotheses
from ros_matching.training.pbs_mvsnet_samples import (
    DrawnViews,
    RenderedViews,
    SequenceViews,
    distorted,
    halved,
    mirrored,
    part,
    training_sample,
)
from ros_matching.training.recipe import Batch, Recipe, RecipeConfig
from ros_matching.training.recorded_views import RealViewsConfig
from ros_matching.training.views import ViewSource, ViewTuple

SEQUENCE = "hololens_000"
_REAL_SIZE = (512, 320)  # of the views before cropping
_ATTEMPTS = 10  # at a sample that is of use
_MIN_KNOWN = 0.05  # smallest fraction of pixels with known depth


@dataclass(frozen=True)
class PBSMVSNetTraining(RecipeConfig):
    """Settings of the training."""

    batch_size: int = parameter(2, "samples in a step, of each process", minimum=1)
    learning_rate: float = parameter(2e-3, "at its peak; it falls along a cosine to a hundredth", minimum=0)
    width: int = parameter(192, "pixels across of the images", minimum=64)
    height: int = parameter(128, "pixels down of the images", minimum=64)
    views: int = parameter(4, "views of a sample, the reference among them", minimum=2, maximum=16)
    planes: int = parameter(32, "depth hypotheses", minimum=16)
    levels: int = parameter(1, "levels of the pyramid, each half the size, that the loss is taken at", minimum=1)
    real: float = parameter(0.4, "fraction of real views with sensor depth", minimum=0, maximum=1)
    rendered: float = parameter(
        0.35, "fraction of rendered views, with exact depth; the rest are drawn planes", minimum=0, maximum=1
    )
    photometric: float = parameter(0.5, "probability that the views of a sample are distorted", minimum=0, maximum=1)
    loss: str = parameter("l1", "of the depth: in hypotheses, or relative", choices=("l1", "smooth_l1", "relative"))
    cross_entropy: float = parameter(0.5, "weight of the hypotheses' cross-entropy besides it", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.real + self.rendered > 1 + 1e-9:
            raise ConfigError(
                f"PBSMVSNetTraining.real and rendered are fractions of all samples, got {self.real:g} and "
                f"{self.rendered:g}, more than 1 together"
            )


class PBSMVSNetLiteRecipe(Recipe):
    """Trains ``pbs_mvsnet_lite``."""

    name = "pbs_mvsnet_lite"
    network_name = "pbs_mvsnet_lite"
    description = "depth of keyframes from neighbours of known pose, on a CPU"
    config_class = PBSMVSNetTraining
    selection = "score"

    def make_network(self) -> nn.Module:
        """The network with random weights."""
        return BSMVSNet(BSMVSNetConfig.named(self.network_name))

    def sample(self, index: int) -> dict[str, Tensor]:
        """``images`` (V, 3, H, W) uint8, ``projections`` (V, 4, 4), ``depth`` (H/4, W/4), ``range`` (2,)."""
        rng = self.generator(index)
        for attempt in range(_ATTEMPTS):
            views = self._views(index, attempt, rng)
            if rng.random() < self.config.photometric:
                views["images"] = distorted(views["images"], rng)
            sample = training_sample(views, rng)
            if torch.isfinite(sample["depth"]).float().mean() > _MIN_KNOWN:
                break
        return sample

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the levels of the pyramid."""
        images, projections, depth = batch["images"].float() / 255, batch["projections"], batch["depth"]
        near, far = batch["range"].unbind(1)
        hypotheses = depth_hypotheses(near, far, self.config.planes, network.config.sampling)
        losses, numbers = [], {}
        for level in range(self.config.levels):
            if level:
                images = functional.avg_pool2d(images.flatten(0, 1), 2).unflatten(0, images.shape[:2])
                projections, depth = halved(projections), depth[:, ::2, ::2]
            cost = network.costs(network.features(images), projections, hypotheses)
            value, numbers_here = self._loss(cost, depth, near, far, network.config.sampling)
            losses.append(value)
            numbers.update({f"{name}_{level}": number for name, number in numbers_here.items()})
        return torch.stack(losses).mean(), numbers

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Errors of the network alone on real views; the score is the fraction within 5 % minus the relative error."""
        estimator = DepthEstimator(network, DepthConfig(planes=64, refinement=0))
        report = evaluate_depth(estimator.estimate, self._validation_views)
        return {
            "score": report.inliers[5] - report.abs_rel,
            "abs_rel": report.abs_rel,
            "median_rel": report.median_rel,
            "within_1": report.inliers[1],
            "within_2": report.inliers[2],
            "within_5": report.inliers[5],
            "confident_abs_rel": report.confident_abs_rel,
        }

    def trained_on(self) -> str:
        """The data and their terms."""
        return (
            f"the first 80 % of {SEQUENCE} (deep-video-mvs sample data, MIT repository) with its depth sensor; "
            "rendered worlds, and drawn scenes of planes and boxes, with photos of BSDS500 (research) and ImageNet "
            "(non-commercial)"
        )

    def _loss(
        self, cost: Tensor, depth: Tensor, near: Tensor, far: Tensor, sampling: str
    ) -> tuple[Tensor, dict[str, Tensor]]:
        planes = cost.shape[1]
        true_index = hypothesis_index(depth, near, far, planes, sampling)
        valid = (true_index >= 0) & (true_index <= planes - 1)
        true_index = torch.where(valid, true_index, 0)
        log_probability = functional.log_softmax(-cost.float(), dim=1)
        steps = torch.arange(planes, dtype=true_index.dtype, device=true_index.device)
        index = torch.einsum("bdhw,d->bhw", log_probability.exp(), steps)
        count = valid.sum().clamp(min=1)
        error = (index - true_index).abs()
        mean_error = torch.where(valid, error, 0).sum() / count
        value = torch.where(valid, self._penalty(index, true_index, near, far, planes, sampling), 0).sum() / count
        if self.config.cross_entropy:
            entropy = torch.where(valid, _cross_entropy(log_probability, true_index), 0).sum() / count
            value = value + self.config.cross_entropy * entropy
        return value, {"index_error": mean_error.detach()}

    def _penalty(
        self, index: Tensor, true_index: Tensor, near: Tensor, far: Tensor, planes: int, sampling: str
    ) -> Tensor:
        if self.config.loss == "l1":
            return (index - true_index).abs()
        if self.config.loss == "smooth_l1":
            return functional.smooth_l1_loss(index, true_index, reduction="none")
        depth, true_depth = (depth_of_index(x, near, far, planes, sampling) for x in (index, true_index))
        return 10 * (depth / true_depth).log().abs()

    def _views(self, index: int, attempt: int, rng: np.random.Generator) -> ViewTuple:
        kind, other = rng.random(), index * _ATTEMPTS + attempt
        if kind >= self.config.real + self.config.rendered:
            return self._drawn.sample(other)
        # Successive indices use the same few worlds, each rendered once.
        whole = self._real.sample(other) if kind < self.config.real else self._rendered.sample(index + attempt)
        views = part(whole, self.config.width, self.config.height, rng)
        return mirrored(views) if rng.random() < 0.5 else views

    @cached_property
    def _real(self) -> ViewSource:
        limits = RealViewsConfig(
            views=self.config.views,
            width=_REAL_SIZE[0],
            height=_REAL_SIZE[1],
            max_gap=1000,
            min_overlap=0.4,
            max_angle_deg=30.0,
            min_baseline=0.04,
            max_baseline=0.4,
            seed=self.config.seed,
        )
        return SequenceViews(self.data.sequence(SEQUENCE), limits)

    @cached_property
    def _rendered(self) -> ViewSource:
        return RenderedViews(
            self.data.photos, self.config.views, self.config.width, self.config.height, self.config.seed
        )

    @cached_property
    def _drawn(self) -> ViewSource:
        photos = training_photos(self.data.photos)
        return DrawnViews(photos, self.config.views, self.config.width, self.config.height, self.config.seed)

    @cached_property
    def _validation_views(self) -> list[DepthViews]:
        folder = self.data.sequence(SEQUENCE)
        source = open_source(str(folder))
        frames = list(source.select(validation_frames(folder.name, len(source))))
        return depth_views(frames, DepthViewsConfig(step=5))


class PBSMVSNetRecipe(PBSMVSNetLiteRecipe):
    """Trains ``pbs_mvsnet``, the paper's."""

    name = "pbs_mvsnet"
    network_name = "pbs_mvsnet"
    description = "depth of keyframes from neighbours of known pose"


def hypothesis_index(depth: Tensor, near: Tensor, far: Tensor, planes: int, sampling: str) -> Tensor:
    """Return the index (B, h, w) of depths among the hypotheses of ``depth_hypotheses``; NaN stays."""
    near, far = near[:, None, None], far[:, None, None]
    if sampling == "linear":
        return (depth - near) / (far - near) * (planes - 1)
    return (1 / near - 1 / depth) / (1 / near - 1 / far) * planes


def depth_of_index(index: Tensor, near: Tensor, far: Tensor, planes: int, sampling: str) -> Tensor:
    """The inverse of ``hypothesis_index``."""
    near, far = near[:, None, None], far[:, None, None]
    if sampling == "linear":
        return near + (far - near) * index / (planes - 1)
    return 1 / (1 / near - (1 / near - 1 / far) * index / planes)


def _cross_entropy(log_probability: Tensor, true_index: Tensor) -> Tensor:
    """Cross entropy of the two hypotheses around the true index (B, h, w), weighted by proximity."""
    below = true_index.floor().long().clamp(max=log_probability.shape[1] - 2).unsqueeze(1)
    weight = true_index - below.squeeze(1)
    lower, upper = (log_probability.gather(1, row).squeeze(1) for row in (below, below + 1))
    return -((1 - weight) * lower + weight * upper)

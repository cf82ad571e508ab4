"""Training recipes: the data, the loss and the validation of one network. ``loop.train`` does the rest."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from ros_matching.config import Config, parameter
from ros_matching.errors import TrainingError

ENVIRONMENT = "ROS_MATCHING_DATA"


class DataFolder:
    """A folder with ``photos/`` (JPEG or PNG, in any subfolders) and sequences with ground truth, one folder each.

    A sequence is a folder that ``io.open_source`` reads, with ``images/``, ``poses.txt`` and ``K.txt``.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise TrainingError(f"there is no data folder {root}; give one with --data or {ENVIRONMENT}")
        self.root = root

    @classmethod
    def found(cls, path: Path | None, environment: Mapping[str, str] = os.environ) -> DataFolder:
        """The folder given, or else the one that the environment names."""
        if path is None and not environment.get(ENVIRONMENT):
            raise TrainingError(f"training needs images: give their folder with --data, or set {ENVIRONMENT}")
        return cls(path or Path(environment[ENVIRONMENT]))

    @property
    def photos(self) -> Path:
        """The folder of the photos."""
        return self._part("photos")

    def sequence(self, name: str) -> Path:
        """The folder of a sequence."""
        return self._part(name)

    def _part(self, name: str) -> Path:
        folder = self.root / name
        if not folder.is_dir():
            raise TrainingError(f"the data folder {self.root} has no {name}/, which this recipe trains on")
        return folder


Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class RecipeConfig(Config):
    """Settings of all recipes; each derives its own with other defaults."""

    steps: int = parameter(10000, "steps of the schedule; a time budget replaces them", minimum=1)
    batch_size: int = parameter(4, "samples in a step, of each process", minimum=1)
    learning_rate: float = parameter(1e-3, "at its peak; it falls along a cosine to a hundredth", minimum=0)
    warmup: float = parameter(
        0.02, "fraction of the schedule over which the learning rate rises", minimum=0, maximum=0.5
    )
    optimizer: str = parameter("adamw", "optimizer of the weights", choices=("adamw", "sgd"))
    weight_decay: float = parameter(1e-4, "decoupled decay of matrices and kernels", minimum=0)
    clip_norm: float = parameter(1.0, "longest gradient; 0 leaves it as it is", minimum=0)
    ema_decay: float = parameter(
        0.998, "of the moving average of the weights, which is validated and kept", minimum=0, maximum=1
    )
    seed: int = parameter(0, "of samples, initial weights and all else that is random", minimum=0)


class Recipe(ABC):
    """The training of one network."""

    name: ClassVar[str]  # on the command line
    network_name: ClassVar[str]  # of the weights, as in networks.registry
    description: ClassVar[str]  # of the use of the weights, for their card
    config_class: ClassVar[type[RecipeConfig]] = RecipeConfig
    selection: ClassVar[str]  # which of the numbers of ``validate`` decides, the larger the better

    def __init__(self, config: RecipeConfig, data: DataFolder) -> None:
        self.config: Any = config
        self.data = data

    @abstractmethod
    def make_network(self) -> nn.Module:
        """The network whose whole state dict is kept, with its initial weights."""

    def parameter_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """Return the trained parameters: groups of ``params`` with a ``lr_scale`` relative to the learning rate."""
        return [{"params": list(network.parameters()), "lr_scale": 1.0}]

    @abstractmethod
    def sample(self, index: int) -> dict[str, Tensor]:
        """Training sample number ``index``, always the same: that is how a run resumes bit for bit."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch (samples stacked) and numbers to log, as tensors without gradient."""

    def set_mode(self, network: nn.Module) -> None:
        """Put ``network`` into the mode it is trained in."""
        network.train()

    @abstractmethod
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return measures of the network on fixed data that is never trained on."""

    @abstractmethod
    def trained_on(self) -> str:
        """The data and their terms, for the card of the weights."""

    def generator(self, index: int) -> np.random.Generator:
        """The source of all that is random in sample ``index``."""
        return np.random.default_rng((self.config.seed, index))


# Module and class, imported on demand.
_RECIPES = {
    "posfeat_lite_description": ("posfeat_description", "LiteDescription"),
    "posfeat_lite_views": ("posfeat_description", "LiteViews"),
    "posfeat_lite_detection": ("posfeat_detection", "LiteDetection"),
    "posfeat_lite_distilled": ("posfeat_distilled", "LiteDistilled"),
    "posfeat_description": ("posfeat_description", "FullDescription"),
    "posfeat_views": ("posfeat_description", "FullViews"),
    "posfeat_detection": ("posfeat_detection", "FullDetection"),
    "cnn_geometric_lite": ("cnn_geometric", "CNNGeometricLiteRecipe"),
    "pbs_mvsnet": ("pbs_mvsnet", "PBSMVSNetRecipe"),
    "pbs_mvsnet_lite": ("pbs_mvsnet", "PBSMVSNetLiteRecipe"),
    "ncnet_lite": ("ncnet", "LiteConsensus"),
    "ncmnet_lite": ("ncmnet", "LitePruning"),
    "ncmnet": ("ncmnet", "FullPruning"),
}


def recipe_names() -> list[str]:
    """Return the names of all recipes."""
    return list(_RECIPES)


def recipe_class(name: str) -> type[Recipe]:
    """The recipe of that name, or ``TrainingError`` with the names there are."""
    if name not in _RECIPES:
        raise TrainingError(f"there is no recipe {name!r}; there are: {', '.join(_RECIPES)}")
    module, attribute = _RECIPES[name]
    return getattr(import_module(f"ros_matching.training.{module}"), attribute)

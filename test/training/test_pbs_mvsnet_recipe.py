"""What PBS-MVSNet learns from: drawn views whose ground truth holds between them, and a loss that leads to depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ros_matching.datatypes import Camera
from ros_matching.errors import ConfigError
from ros_matching.io import open_source
from ros_matching.networks.pbs_mvsnet.estimator import feature_camera
from ros_matching.networks.pbs_mvsnet.network import feature_intrinsics
from ros_matching.networks.pbs_mvsnet.regression import depth_hypotheses
from ros_matching.training.pbs_mvsnet import (
    PBSMVSNetLiteRecipe,
    PBSMVSNetTraining,
    depth_of_index,
    hypothesis_index,
)
from ros_matching.training.pbs_mvsnet_planes import draw, random_scene
from ros_matching.training.pbs_mvsnet_samples import DrawnViews, RenderedViews, halved, mirrored, part, training_sample
from ros_matching.training.recipe import DataFolder
from ros_matching.training.views import ViewTuple

SMALL = PBSMVSNetTraining(
    width=96, height=64, views=3, planes=16, real=0.0, rendered=0.0, photometric=0.0, learning_rate=1e-2
)


@pytest.fixture(scope="module")
def drawn(data: DataFolder) -> ViewTuple:
    return DrawnViews(sorted(data.photos.iterdir()), 3, 192, 128, seed=1).sample(3)


def color_at(image: torch.Tensor, pixels: np.ndarray) -> np.ndarray:
    maps = pixels.astype(np.float32)
    source = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return cv2.remap(source, maps[None, :, 0], maps[None, :, 1], cv2.INTER_LINEAR)[0].astype(float)


def agreement(views: ViewTuple, source: int) -> float:
    """The share of the first view's points whose colour in a source, where they lie in it, is about the same."""
    height, width = views["depth"].shape[1:]
    v, u = np.mgrid[4 : height - 4 : 3, 4 : width - 4 : 3].reshape(2, -1)
    depth = views["depth"][0].numpy()[v, u]
    matrices, poses = views["intrinsics"].double().numpy(), views["world_from_camera"].double().numpy()
    points = (np.linalg.inv(matrices[0]) @ np.stack([u, v, np.ones_like(u)])) * depth
    pose = np.linalg.inv(poses[source]) @ poses[0]
    mapped = matrices[source] @ (pose[:3, :3] @ points + pose[:3, 3:])
    pixels = (mapped[:2] / mapped[2]).T
    inside = (pixels > 2).all(axis=1) & (pixels < [width - 3, height - 3]).all(axis=1) & np.isfinite(depth)
    assert inside.sum() > 200
    first = color_at(views["images"][0], np.column_stack([u, v])[inside])
    there = color_at(views["images"][source], pixels[inside])
    return float((np.abs(first - there).max(axis=1) < 25).mean())


def test_drawn_views_show_the_same_points(drawn: ViewTuple) -> None:
    assert min(agreement(drawn, source) for source in (1, 2)) > 0.85
    wrong = ViewTuple(**{**drawn, "depth": 1.3 * drawn["depth"]})
    assert max(agreement(wrong, source) for source in (1, 2)) < agreement(drawn, 1)


def test_rendered_views_show_the_same_points(data: DataFolder) -> None:
    source = RenderedViews(data.photos, 3, 96, 64, seed=4)
    views = [source.sample(index) for index in range(2)]  # of two worlds
    right = np.mean([agreement(view, source) for view in views for source in (1, 2)])
    wrong = [ViewTuple(**{**view, "depth": 1.3 * view["depth"]}) for view in views]
    assert right > 0.8
    assert np.mean([agreement(view, source) for view in wrong for source in (1, 2)]) < right - 0.1
    for view in views:
        assert view["images"].shape == (3, 3, 96, 144)
        assert not (view["moving"] & torch.isfinite(view["depth"])).any()
        depth = view["depth"][0]
        distances = torch.linalg.vector_norm(view["world_from_camera"][1:, :3, 3], dim=1)
        assert (distances < 0.25 * depth[torch.isfinite(depth)].median()).all()


def test_fractions_of_more_than_all_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fractions"):
        PBSMVSNetTraining(real=0.8, rendered=0.3)


def test_parts_and_mirror_images_keep_the_geometry(drawn: ViewTuple) -> None:
    for seed in range(3):
        cut = part(drawn, 120, 80, np.random.default_rng(seed))
        assert cut["images"].shape == (3, 3, 80, 120)
        assert min(agreement(cut, source) for source in (1, 2)) > 0.8
    assert min(agreement(mirrored(drawn), source) for source in (1, 2)) > 0.85


def test_drawing_keeps_the_nearest_facet_at_its_exact_depth() -> None:
    def texture(rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)

    rng = np.random.default_rng(5)
    facets = random_scene(texture, rng)
    matrix = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
    _, depth = draw(facets, matrix, np.eye(4), 64, 48)
    rays = np.linalg.inv(matrix) @ [40, 20, 1]
    hits = []
    for facet in facets:
        a, b, inverse = np.linalg.solve(np.column_stack([facet.across, facet.down, facet.center]), rays)
        if inverse > 0 and (facet.endless or (abs(a) <= inverse and abs(b) <= inverse)):
            hits.append(1 / inverse)
    assert depth[20, 40] == pytest.approx(min(hits), rel=1e-5)


def test_samples_are_determined_by_their_number(data: DataFolder) -> None:
    recipes = [PBSMVSNetLiteRecipe(SMALL, data) for _ in range(2)]
    one, again = (recipe.sample(7) for recipe in recipes)
    assert all(torch.equal(one[key].nan_to_num(-1), again[key].nan_to_num(-1)) for key in one)
    other = recipes[0].sample(8)
    assert not torch.equal(one["images"], other["images"])
    assert one["images"].shape == (3, 3, 64, 96)
    assert one["depth"].shape == (16, 24)


def test_a_sample_has_the_depth_within_its_range_and_projections_of_feature_maps(drawn: ViewTuple) -> None:
    sample = training_sample(drawn, np.random.default_rng(0))
    near, far = sample["range"].tolist()
    known = sample["depth"][torch.isfinite(sample["depth"])]
    assert ((known > near) & (known < far)).float().mean() > 0.95
    points = torch.tensor([0.1, -0.2, 2.0, 1.0])
    for row in range(3):
        camera_from_world = torch.linalg.inv(drawn["world_from_camera"][row])
        expected = feature_intrinsics(drawn["intrinsics"][row]) @ (camera_from_world @ points)[:3]
        torch.testing.assert_close((sample["projections"][row] @ points)[:3], expected, rtol=1e-4, atol=1e-4)


def test_the_index_of_a_depth_is_that_of_its_hypothesis() -> None:
    near, far = torch.tensor([0.5, 1.0]), torch.tensor([8.0, 3.0])
    for sampling in ("inverse", "linear"):
        depths = depth_hypotheses(near, far, 16, sampling)
        index = hypothesis_index(depths[:, :, None], near, far, 16, sampling)
        torch.testing.assert_close(index[..., 0], torch.arange(16.0).expand(2, -1), rtol=1e-4, atol=1e-4)
        back = depth_of_index(index, near, far, 16, sampling)
        torch.testing.assert_close(back[..., 0], depths, rtol=1e-4, atol=1e-4)


def test_halved_projections_are_those_of_images_of_half_the_size() -> None:
    camera = Camera(64, 48, 50.0, 52.0, 30.0, 25.0)
    full, half = (torch.eye(4), torch.eye(4))
    full[:3, :3] = torch.from_numpy(feature_camera(camera).matrix).float()
    half[:3, :3] = torch.from_numpy(feature_camera(camera.scaled(32, 24)).matrix).float()
    torch.testing.assert_close(halved(full), half)


@pytest.mark.parametrize("settings", [{}, {"loss": "relative", "cross_entropy": 0.0, "levels": 2, "planes": 32}])
def test_the_loss_leads_to_the_depth(data: DataFolder, settings: dict[str, float]) -> None:
    config = replace(SMALL, **settings)
    recipe = PBSMVSNetLiteRecipe(config, data)
    torch.manual_seed(0)
    network = recipe.make_network().train()
    batch = torch.utils.data.default_collate([recipe.sample(0)])
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    errors = []
    for _ in range(16):
        loss, numbers = recipe.loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(numbers["index_error_0"]))
    assert min(errors[-3:]) < 0.6 * errors[0]
    assert all(p.grad is not None for p in network.parameters())


def test_unknown_depth_does_not_train(data: DataFolder) -> None:
    recipe = PBSMVSNetLiteRecipe(SMALL, data)
    network = recipe.make_network().train()
    batch = torch.utils.data.default_collate([recipe.sample(0)])
    batch["depth"] = torch.full_like(batch["depth"], torch.nan)
    loss, _ = recipe.loss(network, batch)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is None or not p.grad.abs().any() for p in network.parameters())


def test_real_views_never_read_the_validation_frames(sequences_dir: Path) -> None:
    recipe = PBSMVSNetLiteRecipe(
        PBSMVSNetTraining(width=96, height=64, views=3, real=1.0, rendered=0.0), DataFolder(sequences_dir)
    )
    sample = recipe.sample(0)
    assert torch.isfinite(sample["depth"]).float().mean() > 0.05
    frames = recipe._real._frames
    assert frames.records[-1].index < 0.8 * len(open_source(sequences_dir / "hololens_000"))

"""The distillation of PoSFeat: labels, samples, loss and recipe, with a teacher that knows the answer."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.errors import TrainingError
from ros_matching.networks.checkpoint import WeightsCard, load_network, read_card, save_weights
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.training.loop import TrainingOptions, train
from ros_matching.training.posfeat_distilled import DistilledConfig, LiteDistilled
from ros_matching.training.posfeat_distilled_samples import frame_views, photo_views
from ros_matching.training.posfeat_losses import keypoint_contrast
from ros_matching.training.recipe import DataFolder
from ros_matching.training.teacher import LabelConfig, TeacherLabels

SHIFT = np.array([7.0, -4.0])  # between two frames
COUNT = 96


def textured(seed: int, width: int = 200, height: int = 160) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(height, width, 3)), (0, 0), 2)
    return (127 + 300 * noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """Photos, and three sequences of ten frames, each moved by ``SHIFT`` from the one before."""
    root = tmp_path_factory.mktemp("data")
    (root / "photos").mkdir()
    for number in range(11):
        cv2.imwrite(str(root / "photos" / f"{number:02}.png"), textured(number))
    for seed, name in enumerate(("hololens_000", "redkitchen", "fox")):
        (root / name / "images").mkdir(parents=True)
        wide = textured(seed, 320, 240)
        for frame in range(10):
            u, v = (np.array([80, 60]) - frame * SHIFT).astype(int)
            cv2.imwrite(str(root / name / "images" / f"{frame:02}.png"), wide[v : v + 100, u : u + 140])
    return DataFolder(root)


class KnowingTeacher:
    """Finds a grid of points, and between frames the true shift; counts its calls."""

    def __init__(self) -> None:
        self.described, self.matched = 0, 0

    def describe(self, image: np.ndarray) -> dict[str, Tensor]:
        self.described += 1
        y, x = torch.meshgrid(
            torch.arange(8.0, image.shape[0] - 8, 9), torch.arange(8.0, image.shape[1] - 8, 9), indexing="ij"
        )
        points = torch.stack([x.flatten(), y.flatten()], dim=1)
        return {"keypoints": points[None], "scores": torch.ones(1, len(points))}

    def match(self, described0: dict[str, Tensor], described1: dict[str, Tensor]) -> np.ndarray:
        self.matched += 1
        points = described0["keypoints"][0].numpy()
        return np.concatenate([points, points + SHIFT], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def labels(folder: DataFolder, tmp_path_factory: pytest.TempPathFactory) -> TeacherLabels:
    made = TeacherLabels(tmp_path_factory.mktemp("labels"), folder, LabelConfig(photos=4, step=1))
    made.make(teacher=KnowingTeacher())
    return made


def test_labels_are_of_training_images_alone_and_made_once(labels: TeacherLabels, folder: DataFolder) -> None:
    again = KnowingTeacher()
    TeacherLabels(labels.folder, folder, labels.config).make(teacher=again)
    assert again.described == again.matched == 0
    frames = {file.name for pair in labels.pairs for file in (pair.image0, pair.image1)}
    assert frames == {f"{frame:02}.png" for frame in range(8)}  # the last fifth is for validation
    photos = sorted(file.stem for file in (labels.folder / "photos").glob("*.npy"))
    assert len(photos) == 4
    assert not {"00", "10"} & set(photos)  # every tenth photo is for validation
    assert labels.keypoints(folder.photos / "00.png") is None


def test_interrupted_labelling_continues(labels: TeacherLabels, folder: DataFolder, tmp_path: Path) -> None:
    stopped = TeacherLabels(tmp_path, folder, labels.config)
    stopped.make(minutes=0, teacher=KnowingTeacher())
    with pytest.raises(TrainingError, match="no labelled pairs"):
        _ = stopped.pairs
    teacher = KnowingTeacher()
    kept = sorted((labels.folder / "pairs" / "fox").glob("*.npy"))
    (tmp_path / "pairs" / "fox").mkdir(parents=True)
    for file in kept:
        (tmp_path / "pairs" / "fox" / file.name).write_bytes(file.read_bytes())
    TeacherLabels(tmp_path, folder, labels.config).make(teacher=teacher)
    assert teacher.matched == len(labels.pairs) - len(kept)


@pytest.mark.parametrize("grey", [False, True])
def test_corresponding_points_of_a_photo_look_alike(folder: DataFolder, labels: TeacherLabels, grey: bool) -> None:
    photos = sorted(folder.photos.glob("*.png"))
    label = np.stack(np.meshgrid(np.arange(10.0, 190, 12), np.arange(10.0, 150, 12)), axis=-1).reshape(-1, 2)
    sample = photo_views(photos[:2], label, (128, 96), COUNT, np.random.default_rng(3), grey)
    assert sample["images"].shape == (2, 3, 96, 128)
    assert sample["points"].shape == (2, COUNT, 2)
    assert sample["valid"].sum() > 10
    assert is_grey(sample["images"]) == grey
    assert agreement(sample) > 0.5
    assert agreement(sample, shuffled=True) < 0.2
    assert (sample["keypoints"].flatten(1) > 0).sum(dim=1).min() > 20


def test_correspondences_in_frames_are_those_of_the_teacher(labels: TeacherLabels) -> None:
    for seed in range(4):
        sample = frame_views(labels.pairs[0], (96, 64), COUNT, np.random.default_rng(seed), grey=False)
        assert sample["valid"].sum() > 10
        assert agreement(sample) > 0.5
        assert agreement(sample, shuffled=True) < 0.2


def is_grey(images: Tensor) -> bool:
    return bool((images[:, 0] == images[:, 2]).all())


def agreement(sample: dict[str, Tensor], *, shuffled: bool = False) -> float:
    """The mean correlation of the patches around partners."""
    valid = sample["valid"]
    grey = sample["images"].float().mean(dim=1, keepdim=True)
    size = grey.new_tensor([grey.shape[3] - 1, grey.shape[2] - 1])
    steps = torch.stack(torch.meshgrid(torch.arange(-4.0, 5), torch.arange(-4.0, 5), indexing="xy"), dim=-1).flatten(
        0, 1
    )
    patches = []
    for image, points in zip(grey, sample["points"], strict=True):
        grid = 2 * (points[valid][:, None] + steps) / size - 1
        patch = functional.grid_sample(image[None], grid[None], align_corners=True)[0, 0]
        patch = patch - patch.mean(dim=1, keepdim=True)
        patches.append(functional.normalize(patch, dim=1))
    if shuffled:
        patches[1] = patches[1].roll(len(patches[1]) // 2, dims=0)
    return float((patches[0] * patches[1]).sum(dim=1).mean())


def unit(*shape: int) -> Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(5)), dim=-1)


def test_contrast_is_small_if_correspondences_are_nearest() -> None:
    descriptors, points = unit(2, 50, 32), 100 * unit(2, 50, 2)
    valid = torch.ones(2, 50, dtype=torch.bool)
    same, found = keypoint_contrast(descriptors, descriptors, points, points, valid, 0.05, 0.0)
    other, wrong = keypoint_contrast(descriptors, descriptors.roll(1, dims=1), points, points, valid, 0.05, 0.0)
    assert found == pytest.approx(1.0)
    assert wrong < 0.1
    assert same < 0.1 < 5 < other


def test_contrast_ignores_points_without_or_near_a_correspondence() -> None:
    descriptors, points = unit(1, 20, 32), 100 * unit(1, 20, 2)
    descriptors, points = descriptors.clone(), points.clone()
    descriptors[:, 1], points[:, 1] = descriptors[:, 0], points[:, 0] + 1.0  # a double, next to its original
    valid = torch.ones(1, 20, dtype=torch.bool)

    def loss(valid: Tensor, exclude_px: float) -> float:
        return float(keypoint_contrast(descriptors, descriptors, points, points, valid, 0.02, exclude_px)[0])

    assert loss(valid, 2.0) < 0.01 < loss(valid, 0.0)
    only = torch.zeros_like(valid)
    only[:, 5] = True
    assert loss(only, 0.0) < 0.01


def test_the_recipe_trains_descriptors_and_detector(folder: DataFolder, labels: TeacherLabels, tmp_path: Path) -> None:
    config = DistilledConfig(
        steps=3, batch_size=2, sizes="64x64,96x64", points=COUNT, labels=str(labels.folder), label_minutes=0
    )
    recipe = LiteDistilled(config, folder)
    shapes = [[recipe.sample(2 * step + one)["images"].shape for one in range(2)] for step in range(6)]
    assert all(first == second for first, second in shapes)
    assert len({first for first, _ in shapes}) == 2
    torch.manual_seed(0)
    initial = tmp_path / "initial.safetensors"
    save_initial(initial, PoSFeatLite())
    before = load_network(initial)
    out = tmp_path / "run"
    train(recipe, TrainingOptions(out, device="cpu", workers=0, initial_weights=initial, hide_progress=True), "distil")
    after = load_network(out / "best.safetensors")
    for part in ("description", "detection"):
        pairs = zip(getattr(before, part).parameters(), getattr(after, part).parameters(), strict=True)
        assert any(not torch.equal(one, other) for one, other in pairs)
    card = read_card(out / "best.safetensors")
    assert "ALIKED" in card.trained_on
    assert "LightGlue" in card.trained_on
    assert set(card.metrics) == {"right", "matched"}


def save_initial(path: Path, network: PoSFeatLite) -> None:
    card = WeightsCard("posfeat_lite", "as initialised", "nothing", "none", "Apache-2.0", {})
    save_weights(path, network.state_dict(), card)

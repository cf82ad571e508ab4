"""Views of random worlds: exact, overlapping, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from ros_matching.errors import TrainingError
from ros_matching.training.rendered_views import WorldViews, WorldViewsConfig
from ros_matching.training.viewpoint_sampling import ViewpointConfig
from ros_matching.training.views import MixedViews, ViewTuple, overlap, pixel_grid, project_points, relative_pose

SMALL = {"width": 128, "height": 96, "groups": 1, "group_views": 3, "samples_per_world": 3, "interleave": 1}


@pytest.fixture(scope="module")
def plain_samples() -> list[ViewTuple]:
    """Three samples of each of six worlds, without photometric effects and highlights."""
    source = WorldViews(config=WorldViewsConfig(**SMALL, views=2, distort=False, glossy=0.0, seed=3))
    return [source.sample(index) for index in range(18)]


def correspondences(sample: ViewTuple) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points of view 0, where they are in view 1, and which are seen there."""
    (depth_a, depth_b), (k_a, k_b), moving = sample["depth"], sample["intrinsics"], sample["moving"]
    points = pixel_grid(128, 96, 2)
    b_from_a = relative_pose(*sample["world_from_camera"])
    points_b, valid = project_points(
        points, depth_a, k_a, k_b, b_from_a, depth_b, moving_a=moving[0], moving_b=moving[1]
    )
    return points, points_b, valid


def colors_at(image: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    size = torch.tensor([image.shape[2], image.shape[1]])
    return grid_sample(image[None].float(), ((points + 0.5) / size * 2 - 1)[None, None], align_corners=False)[0, :, 0]


def test_samples_have_the_expected_format(plain_samples):
    for sample in plain_samples:
        assert sample["images"].shape == (2, 3, 96, 128)
        assert sample["images"].dtype == torch.uint8
        assert sample["depth"].shape == sample["moving"].shape == (2, 96, 128)
        assert sample["moving"].dtype == torch.bool
        assert sample["intrinsics"].shape == (2, 3, 3)
        torch.testing.assert_close(sample["world_from_camera"][0], torch.eye(4))


def test_colours_of_corresponding_points_agree(plain_samples):
    for sample in plain_samples:
        points, points_b, valid = correspondences(sample)
        colors, colors_b = (
            colors_at(image, p[valid]) for image, p in zip(sample["images"], (points, points_b), strict=True)
        )
        shifted = colors_at(sample["images"][1], points_b[valid] + torch.tensor([5.0, 4.0]))
        error = (colors - colors_b).abs().mean()
        assert error < 0.5 * (colors - shifted).abs().mean() + 1.5
        assert error < 9


def test_views_overlap_as_promised(plain_samples):
    for sample in plain_samples:
        (depth_a, depth_b), (k_a, k_b) = sample["depth"], sample["intrinsics"]
        pose_a, pose_b = sample["world_from_camera"]
        assert overlap(depth_a, depth_b, k_a, k_b, relative_pose(pose_a, pose_b), step=2) > 0.2
        assert overlap(depth_b, depth_a, k_b, k_a, relative_pose(pose_b, pose_a), step=2) > 0.2


def test_baselines_are_both_narrow_and_wide(plain_samples):
    ratios = [sample["world_from_camera"][1, :3, 3].norm() / sample["depth"][0].nanmedian() for sample in plain_samples]
    assert min(ratios) < 0.2
    assert max(ratios) > 0.25


def test_moving_objects_are_marked_and_not_valid():
    source = WorldViews(config=WorldViewsConfig(**SMALL, views=3, seed=6))
    samples = (source.sample(index) for index in range(0, 60, 3))
    sample = next(sample for sample in samples if sample["moving"][0].any())
    points, _, valid = correspondences({name: value[:2] for name, value in sample.items()})
    rows, columns = points[valid].long().flip(1).T
    assert valid.any()
    assert not sample["moving"][0][rows, columns].any()


def test_seed_and_index_decide_alone():
    config = WorldViewsConfig(**SMALL, views=2, seed=1)
    one, two = WorldViews(config=config), WorldViews(config=config)
    two.sample(4)
    for index in (0, 1):
        first, second = one.sample(index), two.sample(index)
        for name, value in first.items():
            assert torch.equal(value.nan_to_num(-1.0), second[name].nan_to_num(-1.0)), name
    assert not torch.equal(one.sample(0)["images"], one.sample(1)["images"])


def test_a_cache_changes_nothing_and_is_bounded(tmp_path):
    config = WorldViewsConfig(**SMALL, views=2, worlds=2)
    kept, fresh = WorldViews(config=config, cache=tmp_path), WorldViews(config=config)
    for index in (0, 3, 6):
        expected = fresh.sample(index)
        kept.sample(index)
        again = WorldViews(config=config, cache=tmp_path).sample(index)
        for name, value in expected.items():
            assert torch.equal(value.nan_to_num(-1.0), again[name].nan_to_num(-1.0)), name
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    assert not list(tmp_path.rglob("*.part"))


def test_impossible_wishes_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="group_views"):
        WorldViews(config=WorldViewsConfig(views=5, group_views=4))
    with pytest.raises(TrainingError, match="worlds"):
        WorldViews(cache=tmp_path)


def test_sources_are_mixed_by_weight():
    class Constant:
        def __init__(self, value: int) -> None:
            self.value = value

        def sample(self, index: int) -> int:
            return self.value

    mixed = MixedViews([Constant(0), Constant(1), Constant(2)], [1.0, 3.0, 0.0])
    drawn = np.array([mixed.sample(index) for index in range(400)])
    assert set(drawn) == {0, 1}
    assert 0.68 < drawn.mean() < 0.82
    np.testing.assert_array_equal(drawn, [mixed.sample(index) for index in range(400)])
    with pytest.raises(TrainingError, match="weight"):
        MixedViews([Constant(0)], [1.0, 2.0])


def test_still_and_level_cameras_can_be_had():
    config = ViewpointConfig(max_baseline=0.05, roll_deg=0.0, large_roll=0.0, gaze=0.0, zoom=0.0, min_overlap=0.7)
    sample = WorldViews(config=WorldViewsConfig(**SMALL, seed=2), viewpoints=config).sample(0)
    assert sample["world_from_camera"][1, :3, 3].norm() < 0.051 * sample["depth"][0].nanmedian() * 1.1
    torch.testing.assert_close(sample["intrinsics"][0], sample["intrinsics"][1])

"""Views of real sequences: a made-up one with known ground truth, and the real one where it is at hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ros_matching.errors import TrainingError
from ros_matching.training.recorded_views import RealViews, RealViewsConfig
from ros_matching.training.views import pixel_grid, project_points, relative_pose

K = np.array([[150.0, 0, 88.0], [0, 148.0, 61.0], [0, 0, 1]])
NORMAL, DISTANCE = np.array([0.3, -0.2, 1.0]), 2.5  # a plane in the first camera, and pure rotations of the camera


@pytest.fixture
def sequence(tmp_path) -> Path:
    """Ten frames of 180x120 with the sensor depth of every second pixel; the last fifth cannot be read."""
    folder = tmp_path / "made_up"
    (folder / "images").mkdir(parents=True)
    (folder / "depth").mkdir()
    np.savetxt(folder / "K.txt", K)
    poses = np.tile(np.eye(4), (10, 1, 1))
    poses[:, 0, 3] = np.arange(10) * 0.05
    np.savetxt(folder / "poses.txt", poses.reshape(10, 16))
    v, u = np.mgrid[:120:2, :180:2]
    rays = np.stack([(u - 88.0) / 150, (v - 61.0) / 148, np.ones(u.shape)], -1)
    for number in range(10):
        depth = (DISTANCE - NORMAL[0] * poses[number, 0, 3]) / (rays @ NORMAL)
        cv2.imwrite(str(folder / "depth" / f"{number:03}.png"), np.rint(depth * 1000).astype(np.uint16))
        path = folder / "images" / f"{number:03}.jpg"
        if number < 8:
            cv2.imwrite(str(path), np.full((120, 180, 3), 10 * number, np.uint8))
        else:
            path.write_bytes(b"held out: not to be read")
    return folder


@pytest.mark.parametrize("size", [(90, 60), (128, 96), (64, 80), (200, 150)])
@pytest.mark.parametrize("zoom", [1.0, 1.7])
def test_depth_and_intrinsics_follow_cut_and_size(sequence, size, zoom):
    source = RealViews(sequence, RealViewsConfig(views=2, width=size[0], height=size[1], zoom=zoom))
    for index in range(3):
        sample = source.sample(index)
        assert sample["images"].shape == (2, 3, size[1], size[0])
        assert sample["moving"].shape == sample["depth"].shape == (2, size[1], size[0])
        for depth, k, image in zip(
            sample["depth"].double(), sample["intrinsics"].double(), sample["images"], strict=True
        ):
            shift = 0.05 * round(image.float().mean().item() / 10)
            points = pixel_grid(*size).double()
            rays = torch.cat([points, torch.ones_like(points[:, :1])], 1) @ torch.linalg.inv(k).T
            expected = (DISTANCE - NORMAL[0] * shift) / (rays @ torch.from_numpy(NORMAL))
            seen = depth.flatten().isfinite()
            assert seen.float().mean() > 0.95
            torch.testing.assert_close(depth.flatten()[seen], expected[seen], rtol=1e-3, atol=0)


def test_held_out_frames_are_never_read(sequence):
    source = RealViews(sequence, RealViewsConfig(views=3, width=60, height=40))
    assert len(source) == 8
    for index in range(30):
        source.sample(index)


def test_samples_repeat_by_seed_and_vary(sequence):
    config = RealViewsConfig(views=3, width=60, height=40, zoom=1.3)
    first, again = RealViews(sequence, config).sample(5), RealViews(sequence, config).sample(5)
    for name, value in first.items():
        assert torch.equal(value.nan_to_num(-1.0), again[name].nan_to_num(-1.0)), name
    assert not torch.equal(first["intrinsics"], RealViews(sequence, config).sample(6)["intrinsics"])


def test_companions_keep_the_limits(sequence):
    config = RealViewsConfig(views=2, width=60, height=40, min_gap=2, max_gap=4, max_baseline=0.16)
    source = RealViews(sequence, config)
    for index in range(20):
        distance = source.sample(index)["world_from_camera"][1, :3, 3].norm().item()
        assert 0.099 < distance < 0.151


def test_impossible_wishes_are_refused(sequence):
    with pytest.raises(TrainingError, match="widen"):
        RealViews(sequence, RealViewsConfig(min_baseline=5.0))


def test_colours_agree_between_the_views_of_a_sequence(sequences_dir):
    source = RealViews(sequences_dir / "hololens_000", RealViewsConfig(max_gap=2, width=270, height=180))
    correlations = []
    for index in range(4):
        sample = source.sample(index)
        (depth_a, depth_b), (k_a, k_b) = sample["depth"], sample["intrinsics"]
        points = pixel_grid(270, 180, 3)
        b_from_a = relative_pose(*sample["world_from_camera"])
        points_b, valid = project_points(points, depth_a, k_a, k_b, b_from_a, depth_b)
        columns, rows = points[valid].long().T
        columns_b, rows_b = points_b[valid].round().long().T
        colors = sample["images"][0][:, rows, columns], sample["images"][1][:, rows_b, columns_b]
        correlations.append(np.corrcoef(colors[0].flatten(), colors[1].flatten())[0, 1])
    assert np.median(correlations) > 0.9

"""The aligners, with heads that return known transformations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ros_matching.datatypes import Features
from ros_matching.errors import ConfigError, MatchingError
from ros_matching.networks.cnn_geometric import aligner, transforms
from ros_matching.networks.cnn_geometric.aligner import AlignerConfig, FeatureAligner, ImageAligner
from ros_matching.networks.cnn_geometric.network import CNNGeometric, cnn_geometric_lite

SIZE0, SIZE1 = (97, 61), (81, 121)  # width, height
AFFINE = (0.9, 0.2, 0.1, -0.15, 1.1, -0.05)
HOMOGRAPHY = (-0.9, -1.1, 1.2, 0.8, -1.0, 0.9, -0.8, 1.1)


def bent() -> torch.Tensor:
    return transforms.identity("tps") + 0.1 * torch.randn(18, generator=torch.Generator().manual_seed(3))


def answering(trunk: str, **thetas: torch.Tensor | tuple[float, ...]) -> CNNGeometric:
    """A network whose heads answer the given parameters, whatever they see."""
    network = CNNGeometric(trunk, list(thetas))
    with torch.no_grad():
        for model, theta in thetas.items():
            network.heads[model].linear.weight.zero_()
            network.heads[model].linear.bias.copy_(torch.as_tensor(theta))
    network.trunk = torch.nn.AdaptiveAvgPool2d(15)  # any trunk serves here, and this is quick
    return network


def image(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def features(columns: int, rows: int, extractor: str = "posfeat", dense: bool = True) -> Features:
    dense_map = torch.rand(8, rows, columns, generator=torch.Generator().manual_seed(columns)) if dense else None
    return Features(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 8)), extractor, dense_map)


def to_pixels(unit: torch.Tensor, first: float, last: tuple[float, float]) -> np.ndarray:
    return first + (unit.numpy() + 1) / 2 * (np.array(last) - first)


UNIT = transforms.unit_grid(7, 9, like=torch.zeros(1))


@pytest.mark.parametrize(
    ("stages", "thetas"),
    [
        ("affine", {"affine": AFFINE}),
        ("homography", {"homography": HOMOGRAPHY}),
        ("tps", {"tps": bent()}),
        ("affine+tps", {"affine": AFFINE, "tps": bent()}),
        ("homography+tps", {"homography": HOMOGRAPHY, "tps": bent()}),
    ],
)
def test_pixels_go_through_the_last_stage_first(stages: str, thetas: dict) -> None:
    transform = ImageAligner(answering("vgg16", **thetas), AlignerConfig(stages=stages)).align(
        image(SIZE0), image(SIZE1)
    )
    expected = UNIT[None]
    for model in reversed(stages.split("+")):
        expected = transforms.transform_points(model, torch.as_tensor(thetas[model])[None], expected, epsilon=0.0)
    points = to_pixels(UNIT, 0, (96, 60))
    np.testing.assert_allclose(transform.map_points(points), to_pixels(expected[0], 0, (80, 120)), atol=1e-4)


def test_maps_cover_the_image_from_the_middle_of_their_first_cell() -> None:
    maker = FeatureAligner(answering("descriptor_map", affine=AFFINE, tps=bent()), "posfeat", stride_px=4)
    transform = maker.align(features(40, 30), features(20, 25))
    expected = transforms.transform_points("tps", bent()[None], UNIT[None])
    expected = transforms.transform_points("affine", torch.tensor([AFFINE]), expected)
    points = to_pixels(UNIT, 1.5, (4 * 39 + 1.5, 4 * 29 + 1.5))
    np.testing.assert_allclose(
        transform.map_points(points), to_pixels(expected[0], 1.5, (4 * 19 + 1.5, 4 * 24 + 1.5)), atol=1e-4
    )


def test_iterations_compose_their_estimates() -> None:
    network = answering("descriptor_map", affine=AFFINE)
    once, thrice = (FeatureAligner(network, "posfeat", 4, AlignerConfig(stages="affine", iterations=n)) for n in (1, 3))
    step = once.align(features(30, 30), features(30, 30)).image1_from_image0
    all_steps = thrice.align(features(30, 30), features(30, 30)).image1_from_image0
    np.testing.assert_allclose(all_steps, np.linalg.matrix_power(step, 3), rtol=1e-5, atol=1e-4)


def test_each_iteration_and_stage_starts_from_the_aligned_images(monkeypatch: pytest.MonkeyPatch) -> None:
    shift = (1.0, 0, 0.125, 0, 1, 0)  # of one cell of a map of 17, to where theta takes the target
    network = answering("descriptor_map", affine=shift, tps=transforms.identity("tps"))
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(network, "features", lambda x: seen.append(x) or torch.ones(1, 1, 15, 15))
    ramp = torch.arange(17.0).expand(1, 1, 17, 17)
    aligner.estimate(network, ramp, ramp, ("affine", "tps"), iterations=2)
    assert [x[0, 0, 8, 5].item() for x in seen] == pytest.approx([5, 5, 6, 7, 7])  # the target, then the source


@pytest.mark.parametrize(
    "thetas",
    [
        {"affine": (-1.0, 0, 0, 0, 1, 0)},
        {"affine": (0.01, 0, 0, 0, 0.01, 0)},
        {"affine": (float("nan"), 0, 0, 0, 1, 0)},
        {"homography": (1.0, 1, -1, -1, -1, 1, -1, 1)},
        {"homography": (-1.0, 1, 1, -1, -1, 1, -1, 1)},
        {"tps": transforms.identity("tps").view(2, 9).flip(1).flatten() * torch.tensor([1.0] * 9 + [-1.0] * 9)},
    ],
)
def test_folded_or_degenerate_estimates_are_rejected(thetas: dict) -> None:
    [stages] = thetas
    maker = FeatureAligner(answering("descriptor_map", **thetas), "posfeat", 4, AlignerConfig(stages=stages))
    assert maker.align(features(20, 20), features(20, 20)) is None


def test_warping_image_1_by_the_stages_shows_image_0() -> None:
    theta = torch.tensor([AFFINE])
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6), (240, 240), mode="bicubic")
    warped = transforms.warp(smooth, "affine", theta)
    transform = aligner.image_transform([("affine", theta)], (0, 0, 239, 239), (0, 0, 239, 239))
    u, v = 120, 70
    [[u1, v1]] = transform.map_points(np.array([[u, v]], dtype=float))
    assert warped[0, 0, v, u].item() == pytest.approx(smooth[0, 0, round(v1), round(u1)].item(), abs=0.02)


def test_features_and_networks_that_do_not_fit_are_refused() -> None:
    maps = cnn_geometric_lite()
    fitting = FeatureAligner(maps, "posfeat", 4)
    with pytest.raises(MatchingError, match="'orb'"):
        fitting.align(features(20, 20), features(20, 20, extractor="orb"))
    with pytest.raises(MatchingError, match="got none"):
        fitting.align(features(20, 20, dense=False), features(20, 20))
    with pytest.raises(MatchingError, match="15x15 up"):
        fitting.align(features(20, 14), features(20, 20))
    with pytest.raises(ConfigError, match="trunk descriptor_map"):
        ImageAligner(maps)
    with pytest.raises(ConfigError, match="heads for affine, tps only"):
        FeatureAligner(maps, "posfeat", 4, AlignerConfig(stages="homography"))


def test_images_of_another_kind_are_refused() -> None:
    maker = ImageAligner(answering("vgg16", affine=AFFINE, tps=bent()))
    with pytest.raises(MatchingError, match="uint8 RGB"):
        maker.align(image(SIZE0)[..., 0], image(SIZE1))
    with pytest.raises(MatchingError, match="float64"):
        maker.align(image(SIZE0).astype(float), image(SIZE1))


def test_half_precision_keeps_the_parameters_exact() -> None:
    config = AlignerConfig(precision="bfloat16", iterations=2)
    maker = FeatureAligner(answering("descriptor_map", affine=AFFINE, tps=bent()), "posfeat", 4, config)
    single = FeatureAligner(maker.network, "posfeat", 4, AlignerConfig(iterations=2))
    pair = features(40, 30), features(20, 25)
    points = np.array([[10.0, 20], [100, 90]])
    np.testing.assert_allclose(maker.align(*pair).map_points(points), single.align(*pair).map_points(points), atol=1e-3)

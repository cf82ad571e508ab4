"""PoSFeat against outputs of the authors' networks, on weights filled by a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from golden import assert_recorded, normal
from scipy.spatial import cKDTree
from torch import Tensor

from ros_matching.networks.posfeat.keypoints import detect
from ros_matching.networks.posfeat.network import DenseFeatures, DetectionConfig, DetectionNetwork, PoSFeat
from ros_matching.networks.posfeat.official import from_official
from ros_matching.networks.posfeat.sampling import sample_normalised, to_normalised

PRESETS = {
    "hpatches": (1, 0.9, 8192),
    "eth": (3, 0.9, 20480),
    "aachen": (3, 0.5, 20480),
    "top150": (1, 0.9, 150),
    "val": (1, 0.0, 1024),
}
SHAPES = {"a": (1, 3, 96, 128), "batch": (2, 3, 48, 64), "odd": (1, 3, 88, 104)}


@pytest.fixture(scope="module")
def golden(load_golden: Callable[[str], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    return load_golden("posfeat")


def image(case: str, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(normal(f"posfeat/img_{case}", SHAPES[case])).to(dtype)


@pytest.fixture(scope="module")
def dense(network: PoSFeat, dtype: torch.dtype) -> DenseFeatures:
    with torch.inference_mode():
        return network(image("a", dtype))


def assert_close(ours: Tensor, theirs: np.ndarray, tolerance: float) -> None:
    assert tuple(ours.shape) == theirs.shape
    np.testing.assert_allclose(ours.double().numpy(), theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", ["a", "batch", "odd"])
def test_golden_description(network: PoSFeat, dtype: torch.dtype, golden: Mapping[str, np.ndarray], case: str) -> None:
    with torch.inference_mode():
        maps = network.description(image(case, dtype), with_coarse=True)
    named = {"local_map": maps.local, "global_map": maps.coarse, "local_map_small": maps.stem}
    for name in named if case != "batch" else ("local_map", "global_map"):
        ours, theirs = named[name], golden[f"{case}/{name}"]
        assert_close(ours, theirs, tolerance=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("case", ["a", "batch"])
def test_golden_score(network: PoSFeat, dtype: torch.dtype, golden: Mapping[str, np.ndarray], case: str) -> None:
    with torch.inference_mode():
        assert_close(network(image(case, dtype)).score, golden[f"{case}/score"], tolerance=5e-5)


def test_golden_detection_by_itself(network: PoSFeat, dtype: torch.dtype, golden: Mapping[str, np.ndarray]) -> None:
    local, stem = (torch.from_numpy(golden[f"a/{name}"]).to(dtype) for name in ("local_map", "local_map_small"))
    with torch.inference_mode():
        assert_close(network.detection(image("a", dtype), local, stem), golden["a/score"], tolerance=5e-5)


@pytest.mark.parametrize(
    ("stored", "prior", "activation", "tolerance"),
    [("SSIM_Sigmoid", "dissimilarity", "sigmoid", 1e-4), ("ASL_Peak_Softplus", "peakiness", "softplus", 5e-5)],
)
def test_golden_score_with_a_prior(
    network: PoSFeat,
    dtype: torch.dtype,
    golden: Mapping[str, np.ndarray],
    stored: str,
    prior: str,
    activation: str,
    tolerance: float,
) -> None:
    detection = DetectionNetwork(DetectionConfig(prior=prior, activation=activation))
    detection.load_state_dict(network.detection.state_dict())
    with torch.inference_mode():
        maps = network.description(image("batch", dtype))
        score = detection.to(dtype)(image("batch", dtype), maps.local, maps.stem)
    assert_close(score, golden[f"batch/score_{stored}"], tolerance)


def test_golden_score_of_the_prior_that_is_left_out(golden: Mapping[str, np.ndarray]) -> None:
    """The authors' third prior (that of D2-Net) overflows on the descriptors: no number says how it would be."""
    assert np.isnan(golden["batch/score_D2_Softplus"]).all()
    assert golden["batch/local_map"].max() > np.log(np.finfo(np.float32).max)


@pytest.mark.parametrize("preset", PRESETS)
def test_golden_keypoints(dense: DenseFeatures, golden: Mapping[str, np.ndarray], preset: str) -> None:
    """As sets: the order of scores that differ by less than rounding is nobody's."""
    radius, threshold, count = PRESETS[preset]
    [keypoints] = detect(dense.score, radius, threshold, count)
    theirs_px, theirs_scores = golden[f"a/{preset}/kpts_px"][0], golden[f"a/{preset}/scores"][0, :, 0]
    assert keypoints.points.shape == theirs_px.shape
    distance, row = cKDTree(theirs_px).query(keypoints.points.double().numpy())
    assert distance.max() < 1e-3
    assert len(np.unique(row)) == len(row)
    assert_close(keypoints.scores, theirs_scores[row], tolerance=5e-5)
    normalised = to_normalised(keypoints.points, 96, 128)
    assert_close(normalised, golden[f"a/{preset}/kpts_norm"][0][row], tolerance=2e-5)


@pytest.mark.parametrize("preset", ["eth", "top150"])
def test_golden_descriptors(
    network: PoSFeat, dense: DenseFeatures, golden: Mapping[str, np.ndarray], preset: str
) -> None:
    points = torch.from_numpy(golden[f"a/{preset}/kpts_norm"]).to(dense.descriptors)
    theirs = golden[f"a/{preset}/desc"]
    assert_close(sample_normalised(dense.descriptors, points), theirs, tolerance=5e-6)
    pixels = torch.from_numpy(golden[f"a/{preset}/kpts_px"]).to(dense.descriptors)
    assert_close(network.sample(dense.descriptors, pixels), theirs, tolerance=2e-5)  # pixels are rounded to float32


def test_golden_sampling(golden: Mapping[str, np.ndarray], dtype: torch.dtype) -> None:
    descriptors = torch.from_numpy(normal("posfeat/fm", (1, 8, 6, 9))).to(dtype)
    points = torch.from_numpy(golden["sample/coords"]).to(dtype)
    assert_close(sample_normalised(descriptors, points), golden["sample/desc"], tolerance=5e-6)


def test_golden_parameter_counts(network: PoSFeat) -> None:
    description, detection = (
        sum(p.numel() for p in part.parameters()) for part in (network.description, network.detection)
    )
    assert (description, detection) == (20_508_992, 628_930)


def test_outputs_are_those_on_record(published: dict[str, Tensor]) -> None:
    network = PoSFeat().double().eval()
    network.load_state_dict(from_official(published))
    with torch.inference_mode():
        for case in SHAPES:
            maps = network.description(image(case, torch.float64), with_coarse=True)
            assert_recorded(f"posfeat/{case}", local=maps.local, coarse=maps.coarse, stem=maps.stem)
        dense = network(image("a", torch.float64))
        [keypoints] = detect(dense.score, 3, 0.9, 100)
        descriptors = network.sample(dense.descriptors, keypoints.points[None].double())
    assert_recorded("posfeat/a", score=dense.score, keypoints=keypoints.points.double(), descriptors=descriptors)

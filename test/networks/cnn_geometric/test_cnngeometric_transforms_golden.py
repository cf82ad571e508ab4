"""Transformations, losses and synthetic pairs against the authors' own outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from golden import assert_recorded, normal, uniform

from ros_matching.networks.cnn_geometric import transforms
from ros_matching.networks.cnn_geometric.aligner import image_transform
from ros_matching.training import cnn_geometric
from ros_matching.training.cnn_geometric import grid_loss, synthetic_pair

TOLERANCE = 5e-6
# The image is white noise, up to 8 per pixel steep, and float32 rounds a position in its 128 pixels to 4e-6 px or more.
SAMPLE_ROUNDING = 4e-5  # of samples in float32 at given positions
GRID_ROUNDING = {"affine": 0.0, "homography": 0.0, "tps": 2e-5}  # what the rounding of the positions adds to it
SHORT = {"affine": "affine", "homography": "hom", "tps": "tps"}
CONVENTION = {True: "align_true", False: "torch2_default"}
DTYPES = [torch.float32, torch.float64]


class Reference:
    """The stored arrays, as tensors of one precision."""

    def __init__(self, arrays: Mapping[str, np.ndarray], dtype: torch.dtype) -> None:
        self._arrays = arrays
        self.dtype = dtype

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self._arrays[name]).to(self.dtype)

    def theta(self, model: str) -> torch.Tensor:
        return self[f"geo/theta_{SHORT[model]}"]


@pytest.fixture(params=DTYPES, ids=str)
def reference(load_golden: Callable, request: pytest.FixtureRequest) -> Reference:
    return Reference(load_golden("cnngeometric"), request.param)


def assert_equal(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("model", SHORT)
def test_points_golden(reference: Reference, model: str) -> None:
    points = reference["geo/points"].transpose(1, 2)
    mapped = transforms.transform_points(model, reference.theta(model), points)
    assert_equal(mapped.transpose(1, 2), reference[f"geo/pts_{SHORT[model]}"])


def test_homography_from_corners_golden(reference: Reference) -> None:
    matrix = transforms.homography_from_corners(reference.theta("homography"))
    assert_equal(matrix.flatten(1), reference["geo/H_from_4pt"])


def test_spline_system_golden(reference: Reference) -> None:
    assert_equal(transforms.tps_system_inverse().to(reference.dtype)[None], reference["geo/tps_Li"])


@pytest.mark.parametrize(
    ("model", "stored"), [("affine", "aff_grid_align_true"), ("homography", "hom_grid"), ("tps", "tps_grid")]
)
def test_sampling_grids_golden(reference: Reference, model: str, stored: str) -> None:
    assert_equal(transforms.sampling_grid(model, reference.theta(model), 12, 10), reference[f"geo/{stored}"])


def test_grid_from_edge_to_edge_golden(reference: Reference) -> None:
    theta = reference.theta("affine")
    points = transforms.unit_grid(12, 10, like=theta, align_corners=False).expand(2, -1, 2)
    mapped = transforms.transform_points("affine", theta, points).reshape(2, 12, 10, 2)
    assert_equal(mapped, reference["geo/aff_grid_torch2_default"])


@pytest.mark.parametrize(("model", "stored"), [("affine", "compose_aff"), ("tps", "compose_tps")])
def test_compositions_golden(reference: Reference, model: str, stored: str) -> None:
    theta = reference.theta(model)
    assert_equal(transforms.compose(model, theta, theta.flip(0)), reference[f"geo/{stored}"])


def test_pixels_of_unit_coordinates_golden(load_golden: Callable) -> None:
    reference = load_golden("cnngeometric")
    for item, (height, width) in enumerate([(120, 160), (200, 90)]):
        pixels_from_unit = image_transform([], (-1, -1, 1, 1), (0, 0, width - 1, height - 1))
        pixels = pixels_from_unit.map_points(reference["geo/unit"][item].T.astype(np.float64))
        first_is_one = pixels.T + 1  # as the authors count
        np.testing.assert_allclose(first_is_one, reference["geo/px_back"][item], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("model", SHORT)
def test_grid_loss_golden(reference: Reference, model: str) -> None:
    theta = reference.theta(model)
    assert_equal(grid_loss(model, theta, theta.flip(0)), reference[f"geo/gridloss_{SHORT[model]}"])


def authors_grid(reference: Reference, model: str, size: int) -> torch.Tensor:
    """The sampling grid (2, size, size, 2) from their inverse matrices by their order of operations."""
    x, y = (torch.from_numpy(axis.ravel().astype(np.float32)) for axis in np.meshgrid(*[np.linspace(-1, 1, size)] * 2))
    if model == "homography":
        h = reference["geo/H_from_4pt"][..., None].unbind(1)
        w = x * h[6] + y * h[7] + h[8]
        mapped = torch.stack([(x * h[0] + y * h[1] + h[2]) / w, (x * h[3] + y * h[4] + h[5]) / w], dim=1)
    else:
        goals = reference.theta("tps").reshape(2, 2, 9).transpose(1, 2)
        coefficients = (reference["geo/tps_Li"][0, :, :9] @ goals).transpose(1, 2).contiguous()[:, :, None]
        bending, flat = coefficients.split([9, 3], dim=3)
        to_control = torch.stack([x, y], dim=-1)[:, None] - transforms.identity("tps").reshape(2, 9).T
        squared = to_control.square().sum(dim=-1)
        kernel = squared * squared.where(squared > 0, 1).log()
        mapped = flat[..., 0] + flat[..., 1] * x + flat[..., 2] * y + (bending * kernel).sum(dim=-1)
    return mapped.transpose(1, 2).reshape(2, size, size, 2)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("model", SHORT)
def test_synthetic_pairs_golden(
    load_golden: Callable, model: str, align_corners: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, at exact positions and at positions rounded as theirs; and in float32."""
    golden = load_golden("cnngeometric")
    image = torch.from_numpy(normal("cnngeo/synth", (2, 3, 48, 64)))

    def pair(dtype: torch.dtype) -> torch.Tensor:
        theta = torch.from_numpy(golden[f"geo/theta_{SHORT[model]}"]).to(dtype)
        return torch.stack(synthetic_pair(image.to(dtype), model, theta, 20, align_corners))

    names = ("source", f"target_{SHORT[model]}")
    theirs = torch.from_numpy(np.stack([golden[f"synth/{name}_{CONVENTION[align_corners]}"] for name in names]))
    exact, ours = pair(torch.float64), pair(torch.float32)
    assert_equal(theirs.double(), exact, SAMPLE_ROUNDING + GRID_ROUNDING[model])
    assert_equal(ours.double(), exact, SAMPLE_ROUNDING + GRID_ROUNDING[model])
    if model != "affine":
        grid = authors_grid(Reference(golden, torch.float32), model, 20).double()
        monkeypatch.setattr(cnn_geometric, "sampling_grid", lambda *_: grid)
    assert_equal(theirs.double(), pair(torch.float64), SAMPLE_ROUNDING)


@pytest.mark.parametrize("model", SHORT)
def test_transforms_are_those_on_record(model: str) -> None:
    identity = transforms.identity(model).double()
    noise = torch.from_numpy(normal(f"cnngeo/recorded_{model}", (2, len(identity)))).double()
    theta = identity + 0.1 * noise
    points = torch.from_numpy(uniform("cnngeo/recorded_points", (2, 30, 2))).double() * 2 - 1
    image = torch.from_numpy(normal("cnngeo/synth", (2, 3, 48, 64))).double()
    assert_recorded(
        f"cnn_geometric/{model}",
        points=transforms.transform_points(model, theta, points),
        grid=transforms.sampling_grid(model, theta, 12, 10),
        loss=grid_loss(model, theta, theta.flip(0))[None],
        warped=synthetic_pair(image, model, theta, 20)[1],
    )

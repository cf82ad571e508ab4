import pytest
import torch
from plane_views import SIZE, projections

from ros_matching.networks.pbs_mvsnet.aggregation import PixelGate, ViewAggregation, voxel_gate
from ros_matching.networks.pbs_mvsnet.warping import source_from_reference, warp

DEPTHS = torch.linspace(0.8, 6.0, 19, dtype=torch.float64)[None]
FEATURES = torch.randn(1, 4, 4, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def aggregation(gates: str) -> ViewAggregation:
    """With weights and statistics that are not those of a new network."""
    torch.manual_seed(5)
    module = ViewAggregation(4, gates).double()
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.data = tensor.data + 0.3 * torch.rand_like(tensor)
    return module.eval()


def differences() -> list[torch.Tensor]:
    """Equation 3, squared, for each source view."""
    rotation, translation = source_from_reference(projections())
    return [
        (warp(FEATURES[:, i + 1], rotation[:, i], translation[:, i], DEPTHS, SIZE) - FEATURES[:, :1].transpose(1, 2))
        ** 2
        for i in range(3)
    ]


def batch_norm(x: torch.Tensor, layer: torch.nn.BatchNorm3d) -> torch.Tensor:
    return (x - layer.running_mean) / torch.sqrt(layer.running_var + layer.eps) * layer.weight + layer.bias


def test_without_gates_it_is_the_mean_of_the_squared_differences():
    expected = sum(differences()) / 3
    torch.testing.assert_close(aggregation("none")(FEATURES, projections(), DEPTHS), expected)


def test_voxel_weights_follow_equation_5():
    module = aggregation("voxel")
    (conv1, norm1, _), (conv2, norm2, _) = module.voxel
    total = 0
    for difference in differences():
        w = torch.einsum("bcdhw,c->bdhw", difference, conv1.weight.flatten()) + conv1.bias
        w = batch_norm(w, norm1).clamp(min=0) * conv2.weight.flatten() + conv2.bias
        w = batch_norm(w, norm2).clamp(min=0)
        total = total + (1 + w.unsqueeze(1)) * difference
    torch.testing.assert_close(module(FEATURES, projections(), DEPTHS), total / 3)


def test_pixel_weights_follow_equation_4():
    module = aggregation("pixel")
    total = 0
    for difference in differences():
        norm = difference.abs().sum(dim=1)
        maps = torch.stack([norm.max(dim=1).values, norm.mean(dim=1)], dim=1)
        w = torch.sigmoid(module.pixel.body(maps))
        assert w.shape == (1, 1, *SIZE)  # one weight per pixel, for all depths and channels
        total = total + (1 + w.unsqueeze(2)) * difference
    torch.testing.assert_close(module(FEATURES, projections(), DEPTHS), total / 3)


def test_both_weights_add():
    both = aggregation("both")
    total = 0
    for difference in differences():
        total = total + (1 + both.pixel(difference) + both.voxel(difference)) * difference
    torch.testing.assert_close(both(FEATURES, projections(), DEPTHS), total / 3)


@pytest.mark.parametrize("gates", ["none", "voxel", "pixel", "both"])
def test_the_order_of_the_sources_does_not_matter(gates):
    module, shuffled = aggregation(gates), [0, 3, 1, 2]
    expected = module(FEATURES, projections(), DEPTHS)
    torch.testing.assert_close(module(FEATURES[:, shuffled], projections()[:, shuffled], DEPTHS), expected)


@pytest.mark.parametrize("gates", ["none", "voxel", "pixel", "both"])
def test_equal_views_cost_nothing(gates):
    same = [0, 0, 0]
    assert aggregation(gates)(FEATURES[:, same], projections()[:, same], DEPTHS).abs().max() < 1e-20


@pytest.mark.parametrize("gates", ["voxel", "pixel", "both"])
def test_any_number_of_sources(gates):
    module = aggregation(gates)
    one = module(FEATURES[:, :2], projections()[:, :2], DEPTHS)
    twice = [0, 1, 1, 1, 1]
    torch.testing.assert_close(module(FEATURES[:, twice], projections()[:, twice], DEPTHS), one)


def test_gate_sizes():
    assert sum(p.numel() for p in voxel_gate(32).parameters()) == 39
    assert sum(p.numel() for p in PixelGate().parameters()) == 1353


def test_gradients():
    module = aggregation("both")
    features = torch.randn(1, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: module(x, projections(3), DEPTHS[:, :4]), features, fast_mode=True)

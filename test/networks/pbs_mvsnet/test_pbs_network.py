import pytest
import torch
from plane_views import projections

from ros_matching.errors import ConfigError
from ros_matching.networks.pbs_mvsnet.network import BSMVSNet, BSMVSNetConfig, FeatureNet, feature_intrinsics
from ros_matching.networks.pbs_mvsnet.regression import depth_hypotheses

TINY = BSMVSNetConfig(feature_width=2, cost_width=2)


def network(config: BSMVSNetConfig = TINY) -> BSMVSNet:
    torch.manual_seed(1)
    return BSMVSNet(config).eval()


def inputs(height: int = 64, width: int = 96, planes: int = 17, views: int = 4) -> tuple[torch.Tensor, ...]:
    images = torch.rand(1, views, 3, height, width, generator=torch.Generator().manual_seed(2))
    return (
        images,
        projections(views).float(),
        depth_hypotheses(torch.tensor([0.8]), torch.tensor([6.0]), planes, "inverse"),
    )


@pytest.mark.parametrize(("gates", "count"), [("voxel", 850_975), ("pixel", 852_289), ("both", 852_328)])
def test_sizes_equal_the_design_table(gates, count):
    net = BSMVSNet(BSMVSNetConfig(gates=gates))
    assert sum(p.numel() for p in net.feature.parameters()) == 40_120
    assert sum(p.numel() for p in net.parameters()) == count


def test_half_the_cost_channels_are_the_table_s_lower_end():
    net = BSMVSNet(BSMVSNetConfig(cost_width=4, gates="both"))
    assert sum(p.numel() for p in net.parameters()) == 257_096


def test_variants_by_name():
    lite = BSMVSNet(BSMVSNetConfig.named("pbs_mvsnet_lite"))
    assert sum(p.numel() for p in lite.parameters()) < 250_000
    with pytest.raises(ConfigError, match="pbs_mvsnet_lite"):
        BSMVSNetConfig.named("pbs")
    with pytest.raises(ConfigError, match="even"):
        BSMVSNetConfig(confidence_window=5)


def test_features_sit_on_every_fourth_pixel():
    """An image shifted by four pixels has its features shifted by one, away from the borders."""
    net = FeatureNet(2).eval()
    image = torch.rand(1, 3, 80, 96)
    moved = net(image.roll((4, 8), dims=(2, 3)))
    torch.testing.assert_close(moved[..., 9:12, 10:14], net(image)[..., 8:11, 8:12], atol=1e-5, rtol=1e-5)
    matrix = torch.tensor([[100.0, 0.0, 32.0], [0.0, 100.0, 24.0], [0.0, 0.0, 1.0]])
    pixel = matrix @ torch.tensor([0.08, -0.04, 1.0])
    torch.testing.assert_close(4 * (feature_intrinsics(matrix) @ torch.tensor([0.08, -0.04, 1.0]))[:2], pixel[:2])


@pytest.mark.parametrize(("size", "planes"), [((64, 96), 17), ((75, 101), 37), ((130, 67), 8)])
def test_any_size_and_number_of_planes(size, planes):
    images, poses, depths = inputs(*size, planes)
    estimate = network()(images, poses, depths)
    expected = (1, -(-size[0] // 4), -(-size[1] // 4))
    assert all(tuple(x.shape) == expected for x in estimate)
    assert ((estimate.depth > depths.min() - 1e-4) & (estimate.depth < depths.max() + 1e-4)).all()


@pytest.mark.parametrize("gates", ["voxel", "pixel", "both", "none"])
def test_the_order_of_the_sources_does_not_matter(gates):
    net = network(BSMVSNetConfig(2, 2, gates))
    images, poses, depths = inputs()
    shuffled = [0, 2, 3, 1]
    torch.testing.assert_close(
        net(images[:, shuffled], poses[:, shuffled], depths), net(images, poses, depths), atol=1e-4, rtol=1e-4
    )


def test_the_unit_of_length_does_not_matter():
    net = network()
    images, poses, depths = inputs()
    scaled = poses.clone()
    scaled[..., :3, 3] *= 50
    estimate, larger = net(images, poses, depths), net(images, scaled, 50 * depths)
    torch.testing.assert_close(larger.depth, 50 * estimate.depth, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(larger.confidence, estimate.confidence, rtol=1e-3, atol=1e-4)


def test_samples_of_a_batch_are_independent():
    net = network()
    first, second = inputs(), inputs()
    second[0].mul_(0.5)
    both = net(*(torch.cat(pair) for pair in zip(first, second, strict=True)))
    torch.testing.assert_close(both.depth[:1], net(*first).depth, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both.depth[1:], net(*second).depth, atol=1e-4, rtol=1e-4)


def test_features_of_a_view_can_be_used_again():
    net = network()
    images, poses, depths = inputs()
    one_by_one = torch.cat([net.features(images[:, i : i + 1]) for i in range(4)], dim=1)
    torch.testing.assert_close(
        net.estimate(one_by_one, poses, depths), net(images, poses, depths), atol=1e-4, rtol=1e-4
    )


def test_double_precision_agrees():
    net = network()
    images, poses, depths = inputs()
    estimate = net(images, poses, depths)
    exact = net.double()(images.double(), poses.double(), depths.double())
    assert exact.depth.dtype == torch.float64
    torch.testing.assert_close(estimate.depth.double(), exact.depth, atol=1e-4, rtol=1e-4)


def test_autocast_keeps_geometry_and_depth_in_full_precision():
    net = network()
    images, poses, depths = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        estimate = net(images, poses, depths)
    assert {x.dtype for x in estimate} == {torch.float32}
    reference = net(images, poses, depths)
    assert (estimate.index - reference.index).abs().mean() < 0.2


def test_the_graph_compiles_without_breaks():
    net = network()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    few = inputs(planes=8, views=2)
    torch.testing.assert_close(compiled(*few), net(*few))


def test_a_training_step_on_one_sample_reaches_every_parameter():
    net = network(BSMVSNetConfig(2, 2, "both")).train()
    net(*inputs()).depth.mean().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []


def test_a_few_steps_fit_one_view():
    net = network(BSMVSNetConfig(2, 2, "both")).train()
    images, poses, depths = inputs(65, 97, planes=17, views=2)
    target = torch.cat([torch.full((1, 17, 12), 4.0), torch.full((1, 17, 13), 11.0)], dim=2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        loss = (net(images, poses, depths).index - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]

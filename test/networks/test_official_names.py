from __future__ import annotations

import pytest
import torch
from torch import nn

from ros_matching.errors import CheckpointError
from ros_matching.networks.published import convert, differences, shapes_of

RENAMES = ((r"^net\.", ""), (r"^vgg\.", "model."), (r"^model\.0\.", "conv."), (r"^model\.1\.", "norm."))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, (3, 1))
        self.norm = nn.BatchNorm2d(3)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def published(network) -> dict[str, torch.Tensor]:
    """What the authors would have written, with the kernel's rows first."""
    theirs = {"conv": "net.model.0", "norm": "net.model.1"}
    state = {f"{theirs[key.split('.')[0]]}.{key.split('.')[1]}": value for key, value in network.state_dict().items()}
    return state | {"net.model.0.weight": state["net.model.0.weight"].permute(2, 0, 1, 3)}


def from_published(state: dict[str, torch.Tensor], dead: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    layouts = {r"conv\.weight": lambda stored: stored.permute(1, 2, 0, 3)}
    return convert(state, shapes_of(Network()), network="Net", renames=RENAMES, dead=dead, layouts=layouts)


def assert_equal(came: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(came) == list(expected)
    for key, value in expected.items():
        torch.testing.assert_close(came[key], value, rtol=0, atol=0)


def test_names_and_layouts_become_ours(network, published):
    converted = from_published(published)
    assert_equal(converted, network.state_dict())
    assert all(value.is_contiguous() for value in converted.values())
    Network().load_state_dict(converted)


@pytest.mark.parametrize(("old", "new"), [("net.", "module.net."), ("net.model", "net.vgg")])
def test_old_prefixes(network, published, old, new):
    assert_equal(from_published({key.replace(old, new): v for key, v in published.items()}), network.state_dict())


def test_counters_may_be_missing_or_too_many(network, published):
    published["net.other.num_batches_tracked"] = published.pop("net.model.1.num_batches_tracked")
    assert_equal(from_published(published), network.state_dict())


def test_dead_keys_are_dropped_if_they_are_declared(network, published):
    published["module.net.unused.weight"] = torch.zeros(7)
    with pytest.raises(CheckpointError, match=r"unknown keys: module\.net\.unused\.weight$"):
        from_published(published)
    assert_equal(from_published(published, dead=(r"net\.unused\..*",)), network.state_dict())


def test_a_declared_dead_key_does_not_hide_a_weight(network, published):
    assert_equal(from_published(published, dead=(r"net\..*",)), network.state_dict())


def test_all_differences_are_in_one_message(published):
    del published["net.model.1.weight"]
    published["net.model.0.bias"] = torch.zeros(4)
    published["net.model.7.bias"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as info:
        from_published(published)
    assert str(info.value) == (
        "these are not the published weights of Net: unknown keys: net.model.7.bias; "
        "wrong shapes: net.model.0.bias (here conv.bias) should be 3, is 4; missing keys (our names): norm.weight"
    )


def test_long_lists_are_cut(published):
    published |= {f"extra{i}": torch.zeros(1) for i in range(20)}
    with pytest.raises(CheckpointError, match=r"extra0, .*, extra5 and 14 more$"):
        from_published(published)


@pytest.mark.parametrize("wrong", [torch.zeros(3, 2, 3), torch.zeros(2, 3, 3, 1), torch.zeros(())])
def test_a_wrong_layout_is_a_wrong_shape(published, wrong):
    published["net.model.0.weight"] = wrong
    with pytest.raises(CheckpointError, match=r"net\.model\.0\.weight \(here conv\.weight\) should be 3x2x3x1, is "):
        from_published(published)


def test_two_keys_for_one_weight(published):
    published["net.vgg.0.bias"] = published["net.model.0.bias"]
    with pytest.raises(CheckpointError, match=r"two keys for one weight: net\.model\.0\.bias and net\.vgg\.0\.bias"):
        from_published(published)


def test_an_empty_state_dict_lacks_everything():
    with pytest.raises(CheckpointError, match="missing keys"):
        from_published({})


def test_differences():
    assert differences({"a": (1, 2)}, {"a": [1, 2]}) == ""
    assert differences({"a": (1,), "b": ()}, {"a": (2,), "c": ()}) == (
        "unknown keys: b; missing keys: c; wrong shapes: a should be 2, is 1"
    )

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_network import assert_equal, tiny
from torch import nn

from ros_matching.errors import CheckpointError
from ros_matching.networks.checkpoint import (
    WeightsCard,
    load_network,
    load_weights,
    read_card,
    read_weights,
    save_weights,
)

CARD = WeightsCard(
    network="tiny",
    description="for tests",
    trained_on="nothing",
    command="pytest",
    licence="Apache-2.0",
    metrics={"loss": 0.25, "pairs": 3},
)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, tiny().state_dict(), CARD)
    return path


def edit_header(file: Path, change) -> None:
    """Rewrite the JSON header of a safetensors file."""
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_saved_weights_come_back(file):
    network = tiny()
    nn.init.zeros_(network[0].weight)
    card = load_weights(file, network, "tiny")
    assert_equal(network.state_dict(), tiny().state_dict())
    assert card == replace(CARD, sha256=card.sha256) == read_card(file)


def test_saving_is_reproducible(file, tmp_path):
    save_weights(tmp_path / "again", dict(reversed(tiny().state_dict().items())), CARD)
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_half_is_half_the_size_and_loads_as_single(tmp_path):
    state = {"kernel": torch.randn(64, 64, generator=torch.Generator().manual_seed(0)), "bias": torch.full((9,), 1e-9)}
    save_weights(tmp_path / "single", state, CARD)
    save_weights(tmp_path / "half", state, CARD, half=True)
    loaded, _ = read_weights(tmp_path / "half")
    assert loaded["kernel"].dtype == loaded["bias"].dtype == torch.float32
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "single").stat().st_size
    torch.testing.assert_close(loaded["kernel"], state["kernel"], rtol=2**-11, atol=2**-25)
    torch.testing.assert_close(loaded["bias"], state["bias"], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_trained_in_half_precision_loads_as_single(tmp_path, dtype):
    save_weights(tmp_path / "w", tiny().to(dtype).state_dict(), CARD)
    network = tiny()
    load_weights(tmp_path / "w", network)
    assert_equal(network.state_dict(), tiny().to(dtype).float().state_dict())
    assert read_weights(tmp_path / "w")[0]["1.bias"].dtype == torch.float32


def test_weights_load_into_any_precision(file):
    network = tiny().double()
    nn.init.zeros_(network[0].weight)
    load_weights(file, network)
    assert_equal(network.state_dict(), tiny().double().state_dict())


def test_weights_of_common_memory_or_other_layout_are_saved(tmp_path):
    shared = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "w", {"a": shared, "b": shared, "c": shared.transpose(2, 3)}, CARD)
    loaded, _ = read_weights(tmp_path / "w")
    assert_equal(loaded, {"a": shared, "b": shared, "c": shared.transpose(2, 3)})


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (float("inf"), False), (1e5, True)])
def test_infinite_weights_are_not_saved(tmp_path, value, half):
    with pytest.raises(CheckpointError, match="kernel"):
        save_weights(tmp_path / "w", {"kernel": torch.full((2, 2), value)}, CARD, half=half)
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(file, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    before = file.read_bytes()
    monkeypatch.setattr("ros_matching.networks.checkpoint.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(file, tiny(5).state_dict(), CARD)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        (tiny(4), r"0\.weight should be 4x2x3x3, is 3x2x3x3"),
        (nn.Sequential(nn.Conv2d(2, 3, 3)), r"unknown keys: 1\.bias, 1\.num"),
        (nn.Sequential(*tiny(), nn.Linear(1, 1)), r"missing keys: 2\.weight, 2\.bias$"),
    ],
)
def test_weights_of_another_network_change_nothing(file, network, problem):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=problem):
        load_weights(file, network)
    assert_equal(network.state_dict(), before)


def test_the_card_must_name_the_network(file):
    with pytest.raises(CheckpointError, match="has weights of tiny, expected huge"):
        load_weights(file, tiny(), "huge")


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file(file, length):
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=file.name):
        read_weights(file)


@pytest.mark.parametrize("position", [-1, -100])
def test_a_flipped_bit_in_the_tensors(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_weights(file, tiny())


def test_exchanged_names_are_noticed(file):
    def exchange(header):
        header["1.weight"], header["1.bias"] = header["1.bias"], header["1.weight"]

    edit_header(file, exchange)
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_weights(file)


def test_a_file_of_others_has_no_card(tmp_path):
    save_file(tiny().state_dict(), tmp_path / "w")
    with pytest.raises(CheckpointError, match="no card"):
        read_weights(tmp_path / "w")


@pytest.mark.parametrize("path", ["", "missing.safetensors"])
def test_a_path_that_is_no_file(tmp_path, path):
    with pytest.raises(CheckpointError, match="cannot read"):
        read_weights(tmp_path / path)


@pytest.mark.parametrize(
    "change",
    [
        {"licence": ""},
        {"licence": None},
        {"metrics": {"loss": "small"}},
        {"metrics": [1]},
        {"surprise": 1},
    ],
)
def test_a_card_that_is_wrong(file, change):
    def edit(header):
        card = json.loads(header["__metadata__"]["ros_matching"])
        header["__metadata__"]["ros_matching"] = json.dumps(card | change)

    edit_header(file, edit)
    with pytest.raises(CheckpointError, match=f"{file.name}: .*{next(iter(change))}"):
        read_card(file)


def test_load_network_builds_the_network_of_the_card(file, entry):
    network = load_network(file)
    assert_equal(network.state_dict(), tiny().state_dict())
    assert not network.training


def test_load_network_of_an_unknown_name(file):
    with pytest.raises(CheckpointError, match="no network is called 'tiny'"):
        load_network(file)

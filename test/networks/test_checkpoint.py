from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import struct
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ros_matching.errors import CheckpointError
from ros_matching.networks import registry
from ros_matching.networks.card import WeightsCard
from ros_matching.networks.checkpoint import (
    load_network,
    load_official,
    load_weights,
    read_card,
    read_weights,
    save_weights,
)
from ros_matching.networks.published import read_published, sha256_of

CARD = WeightsCard(
    network="tiny",
    description="for tests",
    trained_on="nothing",
    command="pytest",
    licence="Apache-2.0",
    metrics={"loss": 0.25, "pairs": 3},
)


def tiny(channels: int = 3) -> nn.Sequential:
    torch.manual_seed(channels)
    network = nn.Sequential(nn.Conv2d(2, channels, 3), nn.BatchNorm2d(channels))
    network[1].running_var.uniform_(1e-9, 1)
    return network


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, tiny().state_dict(), CARD)
    return path


@pytest.fixture
def entry(monkeypatch) -> registry.NetworkEntry:
    """``tiny`` among the networks, whose authors publish it with "net." before each key, whole or in two parts."""

    class Entry(registry.NetworkEntry):
        def from_official(self, *states):
            return {key.removeprefix("net."): value for state in states for key, value in state.items()}

    entry = Entry("tiny", "tiny", lambda state: tiny(len(state["0.bias"])), licence="MIT")
    monkeypatch.setattr(registry, "networks", lambda: {"tiny": entry})
    return entry


def assert_equal(came: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert came.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(came[key], value, rtol=0, atol=0)


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


def test_weights_load_into_any_precision(file):
    network = tiny().double()
    nn.init.zeros_(network[0].weight)
    load_weights(file, network)
    assert_equal(network.state_dict(), tiny().double().state_dict())


def test_weights_that_share_memory_or_lie_otherwise_are_saved(tmp_path):
    shared = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "w", {"a": shared, "b": shared, "c": shared.transpose(2, 3)}, CARD)
    loaded, _ = read_weights(tmp_path / "w")
    assert_equal(loaded, {"a": shared, "b": shared, "c": shared.transpose(2, 3)})


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (float("inf"), False), (1e5, True)])
def test_what_is_not_finite_is_not_saved(tmp_path, value, half):
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


def test_load_network_builds_what_the_card_names(file, entry):
    network = load_network(file)
    assert_equal(network.state_dict(), tiny().state_dict())
    assert not network.training


def test_load_network_of_an_unknown_name(file):
    with pytest.raises(CheckpointError, match="no network is called 'tiny'"):
        load_network(file)


def published(network: nn.Module) -> dict[str, torch.Tensor]:
    return OrderedDict((f"net.{key}", value) for key, value in network.state_dict().items())


def training_state(network: nn.Module) -> dict:
    """All that authors have put beside the weights."""
    return {
        "epoch": 5,
        "args": argparse.Namespace(kernel_sizes=[5, 5, 5], name="a"),
        "state_dict": published(network),
        "best_loss": np.float64(0.5),
        "train_loss": np.zeros(3),
        "optimizer": torch.optim.Adam(network.parameters()).state_dict(),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [published, training_state, lambda network: {"model": published(network)}])
def test_published_files(tmp_path, entry, wrap, zipped):
    torch.save(wrap(tiny()), tmp_path / "a.pth.tar", _use_new_zipfile_serialization=zipped)
    assert_equal(load_official(tmp_path / "a.pth.tar", "tiny"), tiny().state_dict())


def test_numpy_1_names_are_known(tmp_path):
    """NumPy 2 moved ``numpy.core`` to ``numpy._core``; published files say the former."""
    torch.save(training_state(tiny()), tmp_path / "a", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a").read_bytes()
    assert b"numpy._core.multiarray" in content or b"numpy.core.multiarray" in content
    (tmp_path / "a").write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert_equal(read_published(tmp_path / "a"), published(tiny()))


class Hostile:
    def __reduce__(self):
        return print, ("code of the file was run",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_published_file_is_not_run(tmp_path, capsys, zipped):
    state = {"state_dict": published(tiny()), "x": Hostile()}
    torch.save(state, tmp_path / "a", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"would build a .*print, which could run code"):
        read_published(tmp_path / "a")
    assert "code" not in capsys.readouterr().out


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_published_file(tmp_path, zipped, kept):
    torch.save(training_state(tiny()), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match=r"a\.pth.* download it again"):
        read_published(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>404</html>", "no PyTorch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (bytes(1000), "no PyTorch checkpoint"),
        (pickle.dumps({"a": 1}, 2), "no PyTorch checkpoint"),
    ],
)
def test_what_is_no_published_file(tmp_path, content, message):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_published(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 1}, {}, {"state_dict": {"a": 1}}, {1: torch.zeros(1)}])
def test_a_file_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_published(tmp_path / "a.pth")


def test_the_hash_of_published_files(tmp_path, entry):
    torch.save(published(tiny()), tmp_path / "a.pth")
    right = hashlib.sha256((tmp_path / "a.pth").read_bytes()).hexdigest()
    assert sha256_of(tmp_path / "a.pth") == right
    load_official(tmp_path / "a.pth", "tiny", sha256=[right.upper()])
    with pytest.raises(CheckpointError, match=f"expected {'0' * 64}, got {right}"):
        load_official(tmp_path / "a.pth", "tiny", sha256=["0" * 64])


def test_a_conversion_that_does_not_fit_is_refused(tmp_path, entry):
    torch.save(published(tiny()) | {"net.2.bias": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"does not fit tiny: unknown keys: 2\.bias"):
        load_official(tmp_path / "a.pth", "tiny")


def test_a_failed_conversion_names_the_file(tmp_path, entry, monkeypatch):
    def refuse(self, *states):
        raise CheckpointError("unknown keys: a")

    monkeypatch.setattr(type(entry), "from_official", refuse)
    torch.save(published(tiny()), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: unknown keys: a$"):
        load_official(tmp_path / "a.pth", "tiny")


def test_weights_in_parts(tmp_path, entry, monkeypatch):
    parts = replace(entry, parts=("one.pth", "two.pth"))
    monkeypatch.setattr(registry, "networks", lambda: {"tiny": parts})
    state = published(tiny())
    torch.save({key: value for key, value in state.items() if "net.0" in key}, tmp_path / "one.pth")
    torch.save({key: value for key, value in state.items() if "net.1" in key}, tmp_path / "two.pth")
    files = [tmp_path / "one.pth", tmp_path / "two.pth"]
    for given in (tmp_path, files, files[::-1]):
        assert_equal(load_official(given, "tiny"), tiny().state_dict())
    with pytest.raises(CheckpointError, match=r"published as one\.pth and two\.pth"):
        load_official(files[0], "tiny")
    with pytest.raises(CheckpointError, match=r"two\.pth repeats net\.1\.bias"):
        load_official([files[1], files[1]], "tiny")
    files[1].unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*two\.pth"):
        load_official(tmp_path, "tiny")


def test_one_file_is_not_several(tmp_path, entry):
    with pytest.raises(CheckpointError, match="published as one file, got 2"):
        load_official([tmp_path / "a", tmp_path / "b"], "tiny")

"""Files as the networks' authors publish them: pickles, read without running them."""

from __future__ import annotations

import argparse
import hashlib
import pickle
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_network import assert_equal, tiny
from torch import nn

from ros_matching.errors import CheckpointError
from ros_matching.networks import registry
from ros_matching.networks.checkpoint import (
    load_official,
)
from ros_matching.networks.published import read_published, sha256_of


def published(network: nn.Module) -> dict[str, torch.Tensor]:
    return OrderedDict((f"net.{key}", value) for key, value in network.state_dict().items())


def training_state(network: nn.Module) -> dict:
    """Other content of published files."""
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
    """NumPy 2 moved ``numpy.core`` to ``numpy._core``; published files contain the former."""
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
def test_other_files_are_refused(tmp_path, content, message):
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

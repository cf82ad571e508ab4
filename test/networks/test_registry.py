from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ros_matching.errors import CheckpointError
from ros_matching.networks.published import shapes_of
from ros_matching.networks.registry import entry, networks

# Entries that distinguish the forms of a network.
_AFFINE_HEAD = {"heads.affine.linear.bias": torch.zeros(6)}
MARKS = {"cnn_geometric": _AFFINE_HEAD, "cnn_geometric_lite": _AFFINE_HEAD}


@pytest.mark.parametrize("name", networks())
def test_a_network_is_found_again_from_its_state_dict(name):
    empty = entry(name).make_empty(MARKS.get(name, {}))
    assert sum(parameter.numel() for parameter in empty.parameters()) > 0
    assert shapes_of(entry(name).make_empty(empty.state_dict())) == shapes_of(empty)


@pytest.mark.parametrize("name", [name for name, network in networks().items() if network.is_published])
def test_published_files_are_checked(name):
    with pytest.raises(CheckpointError):
        entry(name).from_official({"stranger": torch.zeros(1)})


@pytest.mark.parametrize("name", [name for name, network in networks().items() if not network.is_published])
def test_networks_without_published_weights_are_refused(name, tmp_path):
    with pytest.raises(CheckpointError, match=f"published weights of {name}"):
        entry(name).official_files([tmp_path])


def test_an_unknown_name():
    with pytest.raises(CheckpointError, match="no network is called 'resnet'"):
        entry("resnet")


def test_names_are_known_without_torch():
    code = "import sys; from ros_matching.networks.registry import networks; networks(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

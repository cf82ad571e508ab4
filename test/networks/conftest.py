"""Where the reference outputs lie, and a network of our own among the known ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from tiny_network import tiny

from ros_matching.networks import registry

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def load_golden() -> Callable[[str], Mapping[str, np.ndarray]]:
    """Loads the reference outputs of a network by name, from ``ROS_MATCHING_GOLDEN`` or next to the repository."""
    folder = Path(os.environ.get("ROS_MATCHING_GOLDEN", REPOSITORY.parent / "shared" / "golden"))

    def load(name: str) -> Mapping[str, np.ndarray]:
        file = folder / f"{name}.npz"
        if not file.is_file():
            pytest.skip(f"no reference outputs at {file}; set ROS_MATCHING_GOLDEN to a folder that has them")
        return np.load(file)

    return load


@pytest.fixture
def entry(monkeypatch) -> registry.NetworkEntry:
    """``tiny`` among the networks, whose authors publish it with "net." before each key, whole or in two parts."""

    class Entry(registry.NetworkEntry):
        def from_official(self, *states):
            return {key.removeprefix("net."): value for state in states for key, value in state.items()}

    entry = Entry("tiny", "tiny", lambda state: tiny(len(state["0.bias"])), licence="MIT")
    monkeypatch.setattr(registry, "networks", lambda: {"tiny": entry})
    return entry

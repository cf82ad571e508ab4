"""Where the reference outputs lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def load_golden() -> Callable[[str], Mapping[str, np.ndarray]]:
    """Loads the reference outputs of a network by name, from ``ROS_MATCHING_GOLDEN`` or beside the repository."""
    folder = Path(os.environ.get("ROS_MATCHING_GOLDEN", REPOSITORY.parent / "shared" / "golden"))

    def load(name: str) -> Mapping[str, np.ndarray]:
        file = folder / f"{name}.npz"
        if not file.is_file():
            pytest.skip(f"no reference outputs at {file}; set ROS_MATCHING_GOLDEN to a folder that has them")
        return np.load(file)

    return load

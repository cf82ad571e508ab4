from __future__ import annotations

import numpy as np
import pytest
from layout_writers import Sequence

from ros_matching.io import open_source


@pytest.fixture(scope="session")
def room() -> Sequence:
    """Six images of a rendered room, with a field of view of 90 degrees."""
    pytest.importorskip("torch")
    source = open_source("scene:room?seed=4&frames=6&width=160&height=120&fov_deg=90&fps=5")
    frames = list(source)
    return Sequence(
        np.stack([frame.image for frame in frames]),
        np.stack([frame.depth for frame in frames]),
        np.stack([frame.true_world_from_camera for frame in frames]),
        source.camera.matrix,
    )


@pytest.fixture(scope="session")
def walk() -> Sequence:
    """Eight images from farther apart, for the tracker."""
    pytest.importorskip("torch")
    source = open_source("scene:room?seed=1&frames=8&width=240&height=180&fov_deg=90&fps=4")
    frames = list(source)
    return Sequence(
        np.stack([frame.image for frame in frames]),
        np.stack([frame.depth for frame in frames]),
        np.stack([frame.true_world_from_camera for frame in frames]),
        source.camera.matrix,
    )

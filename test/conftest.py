"""Fixtures of several tests, and the marker of slow ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ros_matching.io import open_source
from ros_matching.io.images import write_image
from ros_matching.io.text import write_lines
from ros_matching.threads import set_thread_defaults

# The number of threads affects rounding: use that of the executables, with one process per core.
set_thread_defaults()
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
SLOW_TESTS = frozenset((Path(__file__).parent / "slow_tests.txt").read_text().splitlines())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of ``slow_tests.txt`` as slow."""
    for item in items:
        if f"{item.path.name}::{getattr(item, 'originalname', item.name)}" in SLOW_TESTS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real sequences with ground truth, by ``ROS_MATCHING_DATA`` or next to the repository."""
    folder = Path(os.environ.get("ROS_MATCHING_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real sequences at {folder}; set ROS_MATCHING_DATA to a folder that has them")
    return folder


@pytest.fixture(scope="session")
def rendered_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the real sequences, with a rendered ``hololens_000``."""
    folder = tmp_path_factory.mktemp("sequences") / "hololens_000"
    poses = []
    for frame in open_source("scene:room?frames=30&fps=10&width=270&height=180&path=loop"):
        name = f"{frame.index:05d}.png"
        write_image(folder / "images" / name, frame.image)
        depth = np.nan_to_num(1000 * frame.depth[::2, ::2]).round().astype(np.uint16)  # every second pixel
        write_image(folder / "depth" / name, depth)
        poses.append(frame.true_world_from_camera.ravel())
    write_lines(folder / "poses.txt", (" ".join(map(repr, pose.tolist())) for pose in poses))
    write_lines(folder / "K.txt", (" ".join(map(repr, row.tolist())) for row in frame.camera.matrix))
    return folder.parent


@pytest.fixture(params=["rendered", "real"])
def sequences_dir(request: pytest.FixtureRequest) -> Path:
    """The rendered sequence, available in every checkout, and the real ones if present."""
    return request.getfixturevalue("rendered_data_dir" if request.param == "rendered" else "data_dir")

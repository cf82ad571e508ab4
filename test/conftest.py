"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ros_matching.io import open_source
from ros_matching.io.images import write_image
from ros_matching.io.text import write_lines
from ros_matching.threads import set_thread_defaults

# With another number of threads sums round otherwise than in the executables; and there is one process for each core.
set_thread_defaults()
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real sequences with ground truth, by ``ROS_MATCHING_DATA`` or beside the repository."""
    folder = Path(os.environ.get("ROS_MATCHING_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real sequences at {folder}; set ROS_MATCHING_DATA to a folder that has them")
    return folder


@pytest.fixture(scope="session")
def rendered_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the real sequences, with a rendered one in place of ``hololens_000``."""
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
    """The rendered sequence, which every checkout has, and the real ones where they are."""
    return request.getfixturevalue("rendered_data_dir" if request.param == "rendered" else "data_dir")

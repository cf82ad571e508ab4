"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ros_matching.threads import keep_blas_single_threaded

# With another number of threads sums round otherwise than in the executables; and there is one process for each core.
keep_blas_single_threaded()
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real sequences with ground truth, by ``ROS_MATCHING_DATA`` or beside the repository."""
    folder = Path(os.environ.get("ROS_MATCHING_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real sequences at {folder}; set ROS_MATCHING_DATA to a folder that has them")
    return folder

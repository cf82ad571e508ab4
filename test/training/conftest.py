"""A data folder to train on in tests."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ros_matching.training.recipe import DataFolder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """Twelve photos of smooth noise, and no sequences."""
    root = tmp_path_factory.mktemp("data")
    (root / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        photo = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / "photos" / f"{number}.png"), photo)
    return DataFolder(root)

"""Masks of images: files by name and by index, one for all, undistorted like the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ros_matching.errors import SourceError
from ros_matching.io import open_source
from ros_matching.io.images import write_image
from ros_matching.io.masks import MaskedSource

WIDTH, HEIGHT = 64, 48


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three images of a distorted camera."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / "images" / name, rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    (tmp_path / "calibration.yaml").write_text(
        f"image_width: {WIDTH}\nimage_height: {HEIGHT}\ndistortion_model: plumb_bob\n"
        "camera_matrix: {rows: 3, cols: 3, data: [40, 0, 31.5, 0, 40, 23.5, 0, 0, 1]}\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [-0.2, 0, 0, 0, 0]}\n"
    )
    return tmp_path


def left_excluded(width: int = WIDTH) -> np.ndarray:
    mask = np.full((HEIGHT, width, 3), 255, np.uint8)
    mask[:, : width // 2] = 0
    return mask


def test_each_image_has_the_mask_of_its_name(folder: Path) -> None:
    write_image(folder / "masks" / "b.png", left_excluded())
    write_image(folder / "masks" / "c.png.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    first, second, third = MaskedSource(open_source(folder), folder / "masks")
    assert first.mask is None
    assert not second.mask[:, :28].any()
    assert second.mask[:, 36:].all()
    assert not third.mask.any()
    [selected] = MaskedSource(open_source(folder, start=1, stop=2), folder / "masks")
    np.testing.assert_array_equal(selected.mask, second.mask)


def test_a_mask_is_undistorted_like_its_image(folder: Path) -> None:
    source = open_source(folder)
    assert source.calibration.camera.has_distortion
    mask = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    mask[:6] = 0  # a border of the stored image, which the undistorted one magnifies or cuts
    image = folder / "images" / "a.png"
    write_image(image, mask)
    write_image(folder / "mask.png", mask)
    frame = next(iter(MaskedSource(open_source(folder), folder / "mask.png")))
    np.testing.assert_array_equal(frame.mask, frame.image[..., 0] >= 128)


def test_one_mask_is_for_all_frames_of_any_source(tmp_path: Path) -> None:
    write_image(tmp_path / "body.png", left_excluded())
    frames = list(
        MaskedSource(open_source(f"scene:room?frames=2&width={WIDTH}&height={HEIGHT}"), tmp_path / "body.png")
    )
    assert len(frames) == 2
    assert all(not frame.mask[:, : WIDTH // 2].any() and frame.mask[:, WIDTH // 2 :].all() for frame in frames)


def test_frames_without_file_names_have_masks_by_index(tmp_path: Path) -> None:
    write_image(tmp_path / "000001.png", left_excluded())
    first, second = MaskedSource(open_source(f"scene:room?frames=2&width={WIDTH}&height={HEIGHT}"), tmp_path)
    assert first.mask is None
    assert second.mask.any()


def test_the_source_stays_what_it_is(folder: Path) -> None:
    write_image(folder / "masks" / "b.png", left_excluded())
    source = open_source(folder)
    masked = MaskedSource(source, folder / "masks")
    assert (len(masked), masked.name, masked.camera) == (3, source.name, source.camera)
    assert list(masked.faults) == []


def test_wrong_masks_are_refused_with_the_expected_form(folder: Path) -> None:
    write_image(folder / "masks" / "z.png", left_excluded())
    with pytest.raises(SourceError, match=r"NAME\.png"):
        MaskedSource(open_source(folder), folder / "masks")
    write_image(folder / "small.png", left_excluded(32))
    with pytest.raises(SourceError, match="32x48, and the images are 64x48"):
        MaskedSource(open_source(folder), folder / "small.png")
    with pytest.raises(SourceError, match="cannot be read"):
        MaskedSource(open_source(folder), folder / "missing.png")

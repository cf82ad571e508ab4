"""Principal components and centres of VLAD, from descriptors of photos and rendered images.

    python -m ros_matching.training.vlad --data DIR --out ros_matching/weights

There is no gradient: it is a principal component analysis and k-means, so this is no recipe of ``ros-matching train``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ros_matching.evaluation.data_split import training_photos
from ros_matching.networks.checkpoint import WeightsCard, load_installed, save_weights
from ros_matching.networks.posfeat.extractor import LITE, PoSFeatExtractor
from ros_matching.training.photometric import distort
from ros_matching.training.photos import photo_pair
from ros_matching.training.recipe import DataFolder
from ros_matching.training.rendered_views import WorldViews, WorldViewsConfig

_SIZES = ((320, 240), (640, 480))
_PER_IMAGE = 100  # descriptors taken of each image
_ITERATIONS = 25

Describe = Callable[[np.ndarray], np.ndarray]
"""Returns the descriptors (N, D) of an image (H, W, 3)."""


def training_images(data: DataFolder, photos: int, worlds: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Views of training photos, distorted as a camera would, then of random worlds."""
    rng = np.random.default_rng(seed)
    files = training_photos(data.photos)
    for number in range(photos):
        photo, background = (files[int(rng.integers(len(files)))] for _ in range(2))
        yield distort(photo_pair(photo, background, _SIZES[number % 2], rng).view0, rng)
    views = WorldViews(data.photos, WorldViewsConfig(views=1, samples_per_world=2, group_views=2, groups=1))
    for number in range(worlds):
        yield np.ascontiguousarray(views.sample(number)["images"][0].permute(1, 2, 0).numpy())


def fit(descriptors: np.ndarray, centers: int, size: int, seed: int = 0) -> dict[str, Tensor]:
    """Return the state of ``Vlad`` for descriptors (N, D): ``size`` components and ``centers`` centres."""
    mean = descriptors.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(descriptors, rowvar=False))
    components = vectors[:, ::-1][:, :size].T
    reduced = (descriptors - mean) @ components.T
    found = reduced[np.random.default_rng(seed).permutation(len(reduced))[:centers]]
    for _ in range(_ITERATIONS):
        nearest = np.argmax(reduced @ found.T - 0.5 * np.sum(found**2, axis=1), axis=1)
        counts = np.bincount(nearest, minlength=centers)
        sums = np.stack([np.bincount(nearest, column, centers) for column in reduced.T], axis=1)
        found = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], found)
    arrays = {"mean": mean, "components": components, "centers": found}
    return {name: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for name, array in arrays.items()}


def _describers() -> dict[str, Describe]:
    from ros_matching.matching.classical import SiftConfig, SiftExtractor

    posfeat, sift = PoSFeatExtractor(load_installed("posfeat_lite"), LITE), SiftExtractor(SiftConfig())
    return {
        "vlad_posfeat_lite": lambda image: posfeat.extract(image).descriptors.numpy(),
        "vlad_sift": lambda image: sift.extract(image).descriptors,
    }


def main() -> None:
    """Fit and save the weights of all extractors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with photos/; by default that of ROS_MATCHING_DATA")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--worlds", type=int, default=100)
    parser.add_argument("--centers", type=int, default=32)
    parser.add_argument("--size", type=int, default=32)
    args = parser.parse_args()
    rng, describers = np.random.default_rng(0), _describers()
    found: dict[str, list[np.ndarray]] = {name: [] for name in describers}
    for image in training_images(DataFolder.found(args.data), args.photos, args.worlds):
        for name, describe in describers.items():
            descriptors = describe(image)
            found[name].append(descriptors[rng.permutation(len(descriptors))[:_PER_IMAGE]])
    for name, parts in found.items():
        card = WeightsCard(
            network=name,
            description="centres and principal components of VLAD, for place recognition",
            trained_on=f"{args.photos} views of training photos (BSDS500, ImageNet samples; research and "
            f"non-commercial terms) and {args.worlds} rendered views of random worlds",
            command=f"python -m ros_matching.training.vlad --photos {args.photos} --worlds {args.worlds} "
            f"--centers {args.centers} --size {args.size}",
            licence="Apache-2.0",
        )
        save_weights(args.out / f"{name}.safetensors", fit(np.concatenate(parts), args.centers, args.size), card)


if __name__ == "__main__":
    main()

"""The learned matchers: PoSFeat features, matched by nearest neighbours, filtered by NCNet and pruned by NCMNet.

    posfeat                 mutual nearest neighbours; score: one minus the distance ratio to the second nearest
    posfeat+ncnet           those that neighbourhood consensus supports; the same score
    posfeat+ncmnet          those that NCMNet keeps; the score times its confidence in the match
    posfeat+ncnet+ncmnet    both
    ...+cnngeometric        with an overlap estimate of two images by CNNGeometric

The remaining matches are refined photometrically (``matching.refinement``). All share their features.
Pruning needs both cameras and a minimum number of matches; otherwise it keeps all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ros_matching.datatypes import Camera, Features, Matches
from ros_matching.errors import CheckpointError, MatchingError
from ros_matching.matching import VARIANTS
from ros_matching.matching.parts import (
    ConsensusFilter,
    DescriptorMetric,
    FeatureExtractor,
    FeatureMatcher,
    MatchPruner,
    OverlapEstimator,
)
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.matching.place_description import place_describer
from ros_matching.matching.refinement import PhotometricRefiner
from ros_matching.networks.checkpoint import load_named, read_card, weights_file
from ros_matching.networks.cnn_geometric.cell_overlap import CellOverlap
from ros_matching.networks.engines import torch_device
from ros_matching.networks.ncmnet.pruner import NCMNetPruner
from ros_matching.networks.ncnet.matcher import ConsensusConfig, ConsensusMatcher
from ros_matching.networks.ncnet.network import NCNet
from ros_matching.networks.posfeat.extractor import LITE, MIN_SIDE_PX, PoSFeatConfig, PoSFeatExtractor
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.networks.posfeat.nearest import NearestMatcher

Weights = Path | str | Sequence[Path | str]

# The network of each stage by variant, and others that a weights file may replace it with.
_STAGES = {
    "posfeat": {"lite": "posfeat_lite", "full": "posfeat"},
    "ncnet": {"lite": "ncnet_lite", "full": "ncnet_ivd", "wide": "ncnet_pfpascal"},
    "ncmnet": {"lite": "ncmnet_lite", "full": "ncmnet"},
    # Compares the descriptor maps of either PoSFeat network.
    "cnngeometric": {"lite": "cnn_geometric_lite", "full": "cnn_geometric_lite"},
}


class LearnedExtractor(FeatureExtractor):
    """PoSFeat features with the data of later stages: the descriptor map for consensus, its cells for the overlap.

    Features stay on the device of the network as tensors.
    """

    min_side_px = MIN_SIDE_PX

    def __init__(self, posfeat: PoSFeatExtractor, *, keeps_map: bool, overlap: CellOverlap | None = None) -> None:
        self.name = posfeat.network.name
        self._posfeat = posfeat
        self._keeps_map = keeps_map
        self._overlap = overlap

    @property
    def engine(self) -> str:
        """The engine that runs the network, and its precision."""
        return self._posfeat.engine

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights in single precision."""
        return self._posfeat.fingerprint

    def restored(self, keypoints_px: np.ndarray, descriptors: np.ndarray, image_size: tuple[int, int]) -> Features:
        """Return stored keypoints and descriptors as features on the device; see ``FeatureExtractor``."""
        device = self._posfeat.device
        keypoints = torch.from_numpy(keypoints_px.astype(np.float32)).to(device)
        vectors = torch.from_numpy(descriptors.astype(np.float32)).to(device)
        scores = torch.ones(len(keypoints), device=device)
        return Features(keypoints, scores, vectors, self.name, is_restored=True)

    def extract(self, image: np.ndarray) -> Features:
        """Return sub-pixel keypoints with unit (N, 128) descriptors, strongest first; see ``PoSFeatExtractor``."""
        features = self._posfeat.extract(image)
        cells = None if self._overlap is None else self._overlap.cells(features.dense_map)
        # The map of an image of 640x480 pixels has 10 MB, and a tracker keeps the features of many images.
        return replace(features, cells=cells, dense_map=features.dense_map if self._keeps_map else None)


class NearestNeighbourMatcher(FeatureMatcher):
    """Mutual nearest neighbours among descriptors on a device."""

    def __init__(self, nearest: NearestMatcher | None = None) -> None:
        self._nearest = nearest or NearestMatcher()

    def match(self, features0: Features, features1: Features) -> Matches:
        """Return the mutual nearest neighbours; see ``NearestMatcher``."""
        return self._nearest.match(features0, features1)


class NCNetFilter(ConsensusFilter):
    """Keeps the matches that neighbourhood consensus (NCNet) supports."""

    stage = "ncnet"

    def __init__(self, consensus: ConsensusMatcher) -> None:
        self._consensus = consensus

    def filter(self, matches: Matches, features0: Features, features1: Features) -> Matches:
        """Return the supported ones of the nearest-neighbour ``matches``; see ``ConsensusMatcher``."""
        if features0.is_restored or features1.is_restored:
            return matches
        return self._consensus.match(features0, features1, matches)


class ConfidencePruner(MatchPruner):
    """Keeps the matches that NCMNet trusts, and multiplies their scores by its confidence."""

    stage = "ncmnet"

    def __init__(self, pruner: NCMNetPruner) -> None:
        self._pruner = pruner

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> Matches:
        """Return the trusted matches; all of them if there are too few for the network."""
        pruned = self._pruner.prune(matches, camera0, camera1)
        if pruned is None:
            return matches
        return replace(pruned.matches, scores=pruned.matches.scores * matches.scores[pruned.rows])


class MapOverlapEstimator(OverlapEstimator):
    """Overlap from the descriptor maps of two images by CNNGeometric."""

    def __init__(self, overlap: CellOverlap) -> None:
        self._overlap = overlap

    def estimate(self, features: Features, others: Sequence[Features]) -> np.ndarray | None:
        """Return the fraction of an image that each of the others shows; see ``CellOverlap``.

        ``None`` for a restored image, and 0 for each restored one of the others: their cells are not kept.
        """
        if features.is_restored:
            return None
        known = [row for row, other in enumerate(others) if not other.is_restored]
        for each in (features, *(others[row] for row in known)):
            if each.cells is None:
                raise MatchingError(
                    f"an overlap needs features with cells, got none from {each.extractor!r}; extract them with a "
                    "matcher of CNNGeometric"
                )
        overlaps = np.zeros(len(others))
        if known:
            cells = torch.stack([others[row].cells for row in known])
            overlaps[known] = self._overlap.fractions(features.cells, cells).double().cpu().numpy()
        return overlaps


class TensorMetric(DescriptorMetric):
    """Euclidean distance of unit vectors in tensors."""

    max_distance = 0.9  # a cosine of 0.6

    @torch.inference_mode()
    def distance(self, descriptors0: Tensor, descriptors1: Tensor) -> np.ndarray:
        """Return the distances (P,), row by row, in host memory."""
        return (descriptors0 - descriptors1).norm(dim=1).cpu().numpy()


def learned_matcher(
    name: str,
    posfeat: PoSFeatExtractor,
    consensus: ConsensusMatcher | None = None,
    pruner: NCMNetPruner | None = None,
    overlap: CellOverlap | None = None,
) -> MatchingPipeline:
    """Compose a learned matcher of the networks' inference classes."""
    return MatchingPipeline(
        name,
        LearnedExtractor(posfeat, keeps_map=consensus is not None, overlap=overlap),
        NearestNeighbourMatcher(None if consensus is None else consensus.nearest),
        TensorMetric(),
        consensus=None if consensus is None else NCNetFilter(consensus),
        pruner=None if pruner is None else ConfidencePruner(pruner),
        refiner=PhotometricRefiner(),
        overlap_estimator=None if overlap is None else MapOverlapEstimator(overlap),
        place_describer=place_describer(posfeat.network.name),
    )


def load_learned(
    name: str,
    device: str = "auto",
    weights: Weights | None = None,
    variant: str = "lite",
    max_keypoints: int | None = None,
    engine: str = "auto",
    precision: str = "auto",
) -> MatchingPipeline:
    """Load a learned matcher; see ``ros_matching.load_matcher``."""
    if variant not in VARIANTS:
        raise MatchingError(f"unknown variant {variant!r}; choose one of: {', '.join(VARIANTS)}")
    where = torch_device(device)
    networks = {
        stage: load_named(path, network).to(where)
        for stage, (path, network) in _files(name.split("+"), weights, variant).items()
    }
    config = LITE if isinstance(networks["posfeat"], PoSFeatLite) else PoSFeatConfig()
    config = replace(config, engine=engine, precision=precision)
    if max_keypoints is not None:
        config = replace(config, max_keypoints=max_keypoints)
    posfeat = PoSFeatExtractor(networks["posfeat"], config)
    return learned_matcher(
        name,
        posfeat,
        _consensus(networks["ncnet"], posfeat) if "ncnet" in networks else None,
        NCMNetPruner(networks["ncmnet"]) if "ncmnet" in networks else None,
        CellOverlap(networks["cnngeometric"]) if "cnngeometric" in networks else None,
    )


def has_stage_of(name: str, network: str) -> bool:
    """Return True if a network is part of the matcher ``name``, in one of its variants."""
    return any(network in _STAGES.get(stage, {}).values() for stage in name.split("+"))


def _consensus(network: nn.Module, posfeat: PoSFeatExtractor) -> ConsensusMatcher:
    """Consensus on the maps of that extractor: sparse on a CPU, where it saves time, dense on a GPU."""
    config = ConsensusConfig(
        form="dense" if posfeat.device.type == "cuda" else "sparse",
        map_sampling="aligned" if isinstance(posfeat.network, PoSFeatLite) else "published",
    )
    return ConsensusMatcher(network.matching if isinstance(network, NCNet) else network, config)


def _files(stages: Sequence[str], weights: Weights | None, variant: str) -> dict[str, tuple[Path, str]]:
    """Return the weights file and the network of each stage: from ``weights``, or those of the package."""
    paths = [Path(path) for path in ([weights] if isinstance(weights, (str, Path)) else weights or [])]
    folders = [path for path in paths if path.is_dir()]
    if len(folders) > 1:
        raise CheckpointError(f"give one folder of weights, and single files if needed; got {len(folders)} folders")
    given = {read_card(path).network: path for path in paths if path not in folders}
    found: dict[str, tuple[Path, str]] = {}
    for stage in stages:
        own = [network for network in dict.fromkeys(_STAGES[stage].values()) if network in given]
        if len(own) > 1:
            raise CheckpointError(f"more than one weights file is given for {stage}: {', '.join(own)}")
        network = own[0] if own else _STAGES[stage][variant]
        found[stage] = (given.pop(network) if own else weights_file(network, *folders), network)
    if given:
        unused = ", ".join(f"{path} ({network})" for network, path in given.items())
        raise CheckpointError(f"matcher {'+'.join(stages)} does not use the weights {unused}; leave them out")
    return found

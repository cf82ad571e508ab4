"""Putting a learned front end together: which networks it is made of, and where their weights are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from ros_matching.errors import CheckpointError, MatchingError
from ros_matching.matching import VARIANTS
from ros_matching.matching.learned import LearnedMatcher
from ros_matching.networks.checkpoint import load_named, read_card, weights_file
from ros_matching.networks.cnn_geometric.overlap_estimator import OverlapEstimator
from ros_matching.networks.engines import torch_device
from ros_matching.networks.ncmnet.pruner import NCMNetPruner
from ros_matching.networks.ncnet.matcher import ConsensusConfig, ConsensusMatcher
from ros_matching.networks.ncnet.network import NCNet
from ros_matching.networks.posfeat.extractor import LITE, PoSFeatConfig, PoSFeatExtractor
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.networks.posfeat.nearest import NearestMatcher

Weights = Path | str | Sequence[Path | str]

# The network of each stage, by variant, and what else may stand there if its weights file is given.
_STAGES = {
    "posfeat": {"lite": "posfeat_lite", "full": "posfeat"},
    "ncnet": {"lite": "ncnet_lite", "full": "ncnet_ivd", "wide": "ncnet_pfpascal"},
    "ncmnet": {"lite": "ncmnet_lite", "full": "ncmnet"},
    # Compares descriptor maps, whichever network they are of.
    "cnngeometric": {"lite": "cnn_geometric_lite", "full": "cnn_geometric_lite"},
}


def load_learned(
    name: str,
    device: str = "auto",
    weights: Weights | None = None,
    variant: str = "lite",
    max_keypoints: int | None = None,
    engine: str = "auto",
    precision: str = "auto",
) -> LearnedMatcher:
    """The learned front end of that name; see ``ros_matching.load_matcher``."""
    if variant not in VARIANTS:
        raise MatchingError(f"no variant is called {variant!r}; there are: {', '.join(VARIANTS)}")
    where = torch_device(device)
    networks = {
        stage: load_named(path, network).to(where)
        for stage, (path, network) in _files(name.split("+"), weights, variant).items()
    }
    config = LITE if isinstance(networks["posfeat"], PoSFeatLite) else PoSFeatConfig()
    config = replace(config, engine=engine, precision=precision)
    if max_keypoints is not None:
        config = replace(config, max_keypoints=max_keypoints)
    extractor = PoSFeatExtractor(networks["posfeat"], config)
    matching = _consensus(networks["ncnet"], extractor) if "ncnet" in networks else NearestMatcher()
    pruner = NCMNetPruner(networks["ncmnet"]) if "ncmnet" in networks else None
    overlap = OverlapEstimator(networks["cnngeometric"]) if "cnngeometric" in networks else None
    return LearnedMatcher(name, extractor, matching, pruner, overlap=overlap)


def is_made_of(name: str, network: str) -> bool:
    """Whether a network has a part in the front end of that name, in one of its variants."""
    return any(network in _STAGES.get(stage, {}).values() for stage in name.split("+"))


def _consensus(network: nn.Module, extractor: PoSFeatExtractor) -> ConsensusMatcher:
    """On the maps of that extractor; the strongest pairs alone save time on a CPU, on a GPU they would cost some."""
    config = ConsensusConfig(
        form="dense" if extractor.device.type == "cuda" else "sparse",
        map_sampling="aligned" if isinstance(extractor.network, PoSFeatLite) else "published",
    )
    return ConsensusMatcher(network.matching if isinstance(network, NCNet) else network, config)


def _files(stages: Sequence[str], weights: Weights | None, variant: str) -> dict[str, tuple[Path, str]]:
    """The weights file and the network of each stage: of the ``weights`` given, or installed."""
    paths = [Path(path) for path in ([weights] if isinstance(weights, (str, Path)) else weights or [])]
    folders = [path for path in paths if path.is_dir()]
    if len(folders) > 1:
        raise CheckpointError(f"give one folder of weights, and files beside it if need be; got {len(folders)} folders")
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
        raise CheckpointError(f"front end {'+'.join(stages)} has no use for the weights {unused}")
    return found

"""The networks by name: construction by state dict, and the published weights of their authors.

Torch and the networks are imported on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

    Make = Callable[[Mapping[str, Tensor]], nn.Module]


@dataclass(frozen=True)
class NetworkEntry:
    """One network, in ``folder`` next to this file.

    ``make`` builds the network that a state dict of ours belongs to. The rest is empty if no others publish
    weights: ``licence`` of the authors' code, ``parts`` the files that make one set of weights, if more than one, and
    ``joinable`` where several sets of weights make one network.
    """

    name: str
    folder: str
    make: Make
    licence: str = ""
    parts: tuple[str, ...] = ()
    joinable: bool = False

    @property
    def is_published(self) -> bool:
        """True if the authors publish weights, which ``from_official`` converts."""
        return bool(self.licence)

    def make_empty(self, state: Mapping[str, Tensor]) -> nn.Module:
        """As ``make``, but with shapes alone: no memory and no initialisation."""
        import torch

        with torch.device("meta"):
            return self.make(state)

    def from_official(self, *states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The authors' state dict (or several, where ``joinable``) as one of ours."""
        return import_module(f"ros_matching.networks.{self.folder}.official").from_official(*states)

    def official_files(self, paths: Sequence[Path]) -> list[Path]:
        """The files to read for the ``paths`` a user gave; ``CheckpointError`` when these are too few or too many."""
        if not self.is_published:
            raise CheckpointError(f"there are no published weights of {self.name} to import; use those of the package")
        if len(paths) == 1 and paths[0].is_dir() and self.parts:
            return [paths[0] / name for name in self.parts]
        if self.parts and len(paths) != len(self.parts):
            raise CheckpointError(
                f"{self.name} is published as {' and '.join(self.parts)}: give these, or the folder that has them"
            )
        if not paths or (len(paths) > 1 and not (self.parts or self.joinable)):
            raise CheckpointError(f"{self.name} is published as one file, got {len(paths)}")
        return list(paths)


def networks() -> dict[str, NetworkEntry]:
    """The networks there are, by name."""
    return {entry.name: entry for entry in _ENTRIES if find_spec(f"ros_matching.networks.{entry.folder}")}


def entry(name: str) -> NetworkEntry:
    """The network of that name, or ``CheckpointError`` with the names there are."""
    known = networks()
    if name not in known:
        raise CheckpointError(f"no network is called {name!r}; there are: {', '.join(known)}")
    return known[name]


def _posfeat(state: Mapping[str, Tensor]) -> nn.Module:
    from ros_matching.networks.posfeat.network import PoSFeat

    return PoSFeat()


def _posfeat_lite(state: Mapping[str, Tensor]) -> nn.Module:
    from ros_matching.networks.posfeat.lite import PoSFeatLite

    return PoSFeatLite()


def _ncnet(name: str) -> Make:
    def make(state: Mapping[str, Tensor]) -> nn.Module:
        """With the authors' trunk or, where the state dict has none, on the feature maps of another network."""
        from ros_matching.networks.ncnet.network import SETTINGS, NCNet, consensus_network

        if any(key.startswith("trunk.") for key in state):
            return NCNet(SETTINGS[name])
        return consensus_network(name)

    return make


def _ncmnet(state: Mapping[str, Tensor]) -> nn.Module:
    from ros_matching.networks.ncmnet.network import NCMNet

    return NCMNet()


def _ncmnet_lite(state: Mapping[str, Tensor]) -> nn.Module:
    from ros_matching.networks.ncmnet.network import ncmnet_lite

    return ncmnet_lite()


def _cnn_geometric(state: Mapping[str, Tensor]) -> nn.Module:
    """With the trunk, or none, and the heads that the state dict has."""
    from ros_matching.networks.cnn_geometric.network import CNNGeometric
    from ros_matching.networks.cnn_geometric.official import architecture, head_of

    return CNNGeometric(*architecture(state), head_of(state))


def _pbs_mvsnet(name: str) -> Make:
    def make(state: Mapping[str, Tensor]) -> nn.Module:
        from ros_matching.networks.pbs_mvsnet.network import BSMVSNet, BSMVSNetConfig

        return BSMVSNet(BSMVSNetConfig.named(name))

    return make


def _vlad(state: Mapping[str, Tensor]) -> nn.Module:
    from ros_matching.networks.vlad.network import Vlad

    if "centers" not in state:
        return Vlad(32, 32, 128)
    return Vlad(*state["centers"].shape, state["components"].shape[1])


_ENTRIES = (
    NetworkEntry("posfeat", "posfeat", _posfeat, "Apache-2.0", parts=("backbone.pth", "localheader.pth")),
    NetworkEntry("posfeat_lite", "posfeat", _posfeat_lite),
    NetworkEntry("ncnet_pfpascal", "ncnet", _ncnet("ncnet_pfpascal"), "MIT"),
    NetworkEntry("ncnet_ivd", "ncnet", _ncnet("ncnet_ivd"), "MIT"),
    NetworkEntry("ncnet_lite", "ncnet", _ncnet("ncnet_lite")),
    NetworkEntry("ncmnet", "ncmnet", _ncmnet, "none stated: all rights with the authors"),
    NetworkEntry("ncmnet_lite", "ncmnet", _ncmnet_lite),
    NetworkEntry("cnn_geometric", "cnn_geometric", _cnn_geometric, "MIT", joinable=True),
    NetworkEntry("cnn_geometric_lite", "cnn_geometric", _cnn_geometric),
    NetworkEntry("pbs_mvsnet", "pbs_mvsnet", _pbs_mvsnet("pbs_mvsnet")),
    NetworkEntry("pbs_mvsnet_lite", "pbs_mvsnet", _pbs_mvsnet("pbs_mvsnet_lite")),
    NetworkEntry("vlad_posfeat_lite", "vlad", _vlad),
    NetworkEntry("vlad_sift", "vlad", _vlad),
)

"""The weights that come with the package, or lie in a folder like its own: one ``NAME.safetensors`` for a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.errors import CheckpointError
from ros_matching.networks import registry

if TYPE_CHECKING:
    from torch import nn

WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "weights"


def weights_file(name: str, folder: Path | str | None = None) -> Path:
    """The weights of network ``name`` in ``folder``, by default the package's; ``CheckpointError`` if not there."""
    registry.entry(name)
    path = Path(folder or WEIGHTS_FOLDER) / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"there are no weights of {name}: {path} does not exist; give the file or folder that has them, "
            f"or make them with 'ros-matching train {name}'"
        )
    return path


def load_installed(name: str, folder: Path | str | None = None) -> nn.Module:
    """Network ``name`` with the weights of ``weights_file``, on the CPU in evaluation mode."""
    return load_named(weights_file(name, folder), name)


def load_named(path: Path, name: str) -> nn.Module:
    """The network of a weights file, which must be ``name``; on the CPU in evaluation mode."""
    from ros_matching.networks.checkpoint import load_network, read_card

    if (found := read_card(path).network) != name:
        raise CheckpointError(f"{path} has weights of {found}, expected {name}")
    return load_network(path)

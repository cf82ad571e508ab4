"""Our weights files: safetensors with a provenance card in the header, saved and loaded strictly.

    network = load_network(path)                 # the network that the card names, with its weights
    card = load_weights(path, network)           # into a network that is already there
    state = load_official(paths, "posfeat")      # the authors' files, converted

Everything is checked before the first weight is set: the header, the card, the SHA-256 of the tensors, names and shapes
against the network, and that all numbers are finite. Whatever is wrong raises ``CheckpointError``, nothing half-loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ros_matching import __version__
from ros_matching.atomic_file import atomic_path
from ros_matching.errors import CheckpointError
from ros_matching.networks import registry
from ros_matching.networks.published import differences, read_published, sha256_of, shapes_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class WeightsCard:
    """The provenance of a set of weights. All fields are text, except ``metrics``, which maps names to numbers.

    ``sha256`` is that of the tensors, not of the file (which holds the card); saving fills it in.
    """

    network: str  # its name in networks.registry
    description: str  # of the use of these weights
    trained_on: str  # the data
    command: str  # that created the file
    licence: str  # of the weights
    metrics: Mapping[str, float] = field(default_factory=dict)
    version: str = __version__  # of ros_matching, when the file was made
    sha256: str = ""

    def __post_init__(self) -> None:
        for info in dataclasses.fields(self):
            value = getattr(self, info.name)
            if info.name == "metrics":
                _check_metrics(value)
            elif not isinstance(value, str) or not (value.strip() or info.name == "sha256"):
                raise CheckpointError(f"the card of weights needs a text for {info.name!r}, got {value!r}")

    def to_json(self) -> str:
        """The card as one JSON object."""
        return json.dumps(dataclasses.asdict(self) | {"metrics": dict(self.metrics)})

    @classmethod
    def from_json(cls, text: str) -> WeightsCard:
        """Read a card; raises ``CheckpointError`` for anything that ``to_json`` would not have written."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise CheckpointError(f"the card of weights is not JSON ({error})") from error
        if not isinstance(values, dict):
            raise CheckpointError(f"the card of weights is not a JSON object but {text[:100]}")
        if wrong := values.keys() ^ {info.name for info in dataclasses.fields(cls)}:
            raise CheckpointError(
                f"the card of weights lacks these fields, or has them too much: {', '.join(sorted(wrong))}; "
                "it is damaged or of another version of ros_matching"
            )
        return cls(**values)


def _check_metrics(metrics: Any) -> None:
    if not isinstance(metrics, Mapping):
        raise CheckpointError(f"the metrics on a card of weights map names to numbers, got {metrics!r}")
    for name, value in metrics.items():
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
            raise CheckpointError(f"the metrics on a card of weights map names to numbers, got {name!r}: {value!r}")


_CARD_KEY = "ros_matching"  # of the header's metadata
_HALVES = (torch.float16, torch.bfloat16)


def save_weights(
    path: Path | str, state: Mapping[str, Tensor], card: WeightsCard, *, half: bool = False
) -> WeightsCard:
    """Write a state dict and its card, whole or not at all; returns the card with the SHA-256 filled in.

    With ``half``, matrices and kernels are stored in float16: half the size for a relative error of 2^-11; they are
    loaded as float32 again. Biases and statistics, which are small, keep their type. Raises ``CheckpointError`` for
    numbers that are not finite, be it only because float16 cannot hold them.
    """
    path = Path(path)
    tensors = {key: _stored(value, half) for key, value in state.items()}
    _check_finite(tensors, f"cannot save {path}")
    card = dataclasses.replace(card, sha256=digest(tensors))
    with atomic_path(path) as unfinished:
        save_file(tensors, unfinished, metadata={_CARD_KEY: card.to_json()})
    return card


def read_card(path: Path | str) -> WeightsCard:
    """The card of a weights file, from its header alone; the tensors are not looked at."""
    return _read(Path(path), with_tensors=False)[1]


def read_weights(path: Path | str) -> tuple[dict[str, Tensor], WeightsCard]:
    """The state dict of a weights file, on the CPU with 16-bit numbers made float32, and its card; both verified."""
    path = Path(path)
    tensors, card = _read(path, with_tensors=True)
    if digest(tensors) != card.sha256:
        raise CheckpointError(f"{path} is damaged: its tensors do not have the SHA-256 {card.sha256} of its card")
    _check_finite(tensors, f"{path} is not usable")
    return {key: value.float() if value.dtype in _HALVES else value for key, value in tensors.items()}, card


def load_weights(path: Path | str, network: nn.Module, name: str | None = None) -> WeightsCard:
    """Load a weights file into ``network`` and return its card; with ``name``, the card must name that network."""
    state, card = read_weights(path)
    if name is not None and card.network != name:
        raise CheckpointError(f"{path} has weights of {card.network}, expected {name}")
    _check_fits(state, network, f"{path} does not fit {card.network}")
    network.load_state_dict(state)
    return card


def load_network(path: Path | str) -> nn.Module:
    """The network that the card of a weights file names, on the CPU in evaluation mode, with those weights."""
    state, card = read_weights(path)
    network = registry.entry(card.network).make(state)
    _check_fits(state, network, f"{path} does not fit {card.network}")
    network.load_state_dict(state)
    return network.eval()


def load_official(paths: Path | str | Sequence[Path | str], name: str, sha256: Sequence[str] = ()) -> dict[str, Tensor]:
    """The authors' files of network ``name`` as a state dict of ours.

    Where they publish a network in more than one file, give all of them, or the folder that has them. ``sha256`` are
    the hashes that the files must have, in any order; without, they are not checked.
    """
    entry = registry.entry(name)
    files = entry.official_files([Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)])
    _check_hashes(files, {digest.lower() for digest in sha256})
    states = _states(files, together=bool(entry.parts))
    source = ", ".join(map(str, files))
    try:
        state = entry.from_official(*states)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    _check_fits(state, entry.make_empty(state), f"{source} does not fit {name}")
    return state


def _states(files: Sequence[Path], *, together: bool) -> list[dict[str, Tensor]]:
    """The state dict of each file, or all ``together`` in one, where the files are parts of one network."""
    states = [read_published(file) for file in files]
    if not together:
        return states
    merged: dict[str, Tensor] = {}
    for file, state in zip(files, states, strict=True):
        if twice := merged.keys() & state.keys():
            raise CheckpointError(f"{file} repeats {min(twice)} of the files before it; give each part once")
        merged |= state
    return [merged]


def _check_hashes(files: Sequence[Path], expected: set[str]) -> None:
    if expected and expected != (came := {sha256_of(file) for file in files}):
        raise CheckpointError(
            f"wrong SHA-256 of {', '.join(map(str, files))}: expected {', '.join(sorted(expected))}, "
            f"got {', '.join(sorted(came))}; download again, and only use files whose hash you know"
        )


def _check_fits(state: Mapping[str, Tensor], network: nn.Module, source: str) -> None:
    problems = differences({key: tuple(value.shape) for key, value in state.items()}, shapes_of(network))
    if problems:
        raise CheckpointError(f"{source}: {problems}")


def _check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    bad = [key for key, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise CheckpointError(f"{source}: {bad[0]} and {len(bad) - 1} more tensors hold infinities or NaN")


def _stored(value: Tensor, half: bool) -> Tensor:
    """A tensor as it is written: on the CPU, with memory of its own, kernels in float16 if ``half``."""
    dtype = torch.float16 if half and value.is_floating_point() and value.ndim >= 2 else value.dtype
    return value.detach().to("cpu", dtype).clone(memory_format=torch.contiguous_format)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, type, shape and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _read(path: Path, *, with_tensors: bool) -> tuple[dict[str, Tensor], WeightsCard]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys() if with_tensors else ()
            tensors = {name: file.get_tensor(name) for name in names}
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is truncated, damaged or no safetensors file; get it again ({error})") from error
    if _CARD_KEY not in metadata:
        raise CheckpointError(f"{path} has no card in its header: it was not written by ros-matching")
    try:
        return tensors, WeightsCard.from_json(metadata[_CARD_KEY])
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


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

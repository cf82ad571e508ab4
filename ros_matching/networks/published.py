"""Reading of the files in which authors publish their weights: pickles, of which nothing but tensors is built.

``torch.load(weights_only=True)`` refuses a file that names any class it does not know. The published files also hold
training arguments and statistics; the classes of these are allowed by name, and an empty object is put in their place.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ros_matching.errors import CheckpointError

# The classes of training arguments (argparse) and of losses and scores (NumPy, before and since 2.0).
_ALLOWED = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
)
_WRAPPERS = ("state_dict", "model")  # the keys under which a training state holds the state dict
_LFS_POINTER = b"version https://git-lfs"


class _Discarded:
    """Stands for an object of a published file that is not a tensor: takes whatever it is built from, keeps nothing."""

    def __new__(cls, *_: Any) -> _Discarded:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _stand_in(full_name: str) -> type[_Discarded]:
    module, _, name = full_name.rpartition(".")
    return type(name, (_Discarded,), {"__module__": module, "__qualname__": name})


_STAND_INS = [_stand_in(name) for name in _ALLOWED]


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; raises ``CheckpointError`` when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from error
    return digest.hexdigest()


def read_published(file: Path) -> dict[str, Tensor]:
    """The state dict in a file written by ``torch.save``, on the CPU: the file itself, or its "state_dict" or "model".

    Raises ``CheckpointError`` when the file is not there, damaged, holds no state dict, or names a class that is
    neither PyTorch's nor on the list above.
    """
    _check_start(file)
    try:
        with _allowed():
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        raise CheckpointError(_why_unreadable(file, error)) from error
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not (isinstance(content, Mapping) and content and all(map(_is_weight, content.items()))):
        raise CheckpointError(
            f"{file} holds no state dict; expected a mapping of names to tensors, at the top or under "
            f"{' or '.join(map(repr, _WRAPPERS))}"
        )
    return dict(content)


def _is_weight(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _allowed() -> contextlib.AbstractContextManager[None]:
    """Lets the classes on the list through; before PyTorch 2.5 there is no way to, and the files that need it fail."""
    if hasattr(torch.serialization, "safe_globals"):
        return torch.serialization.safe_globals(_STAND_INS)
    return contextlib.nullcontext()


def _check_start(file: Path) -> None:
    """Raise for a file that cannot be one of PyTorch's, before PyTorch says so in its own words."""
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_LFS_POINTER))
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from error
    if not start:
        raise CheckpointError(f"{file} is empty; download it again")
    if start == _LFS_POINTER:
        raise CheckpointError(f"{file} only points to the weights in Git LFS; get them by 'git lfs pull'")


def _why_unreadable(file: Path, error: Exception) -> str:
    refused = re.search(r"Unsupported (?:global: GLOBAL|class) (\S+)", str(error))
    if refused and refused[1] in _ALLOWED:
        return f"reading {file} takes PyTorch 2.5 or later, this is {torch.__version__}; import it where there is one"
    if refused:
        return (
            f"{file} was not read: loading it would build a {refused[1]}, which could run code; published weights may "
            f"name, besides what PyTorch allows, {', '.join(_ALLOWED)}"
        )
    reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
    return (
        f"{file} ({file.stat().st_size} bytes) is truncated, damaged or no PyTorch checkpoint; download it again "
        f"({type(error).__name__}: {reason[:200]})"
    )

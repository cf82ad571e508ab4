"""Reading of the files in which authors publish their weights: pickles, restricted to tensors.

``torch.load(weights_only=True)`` refuses a file that names any class it does not know. The published files also hold
training arguments and statistics; the classes of these are allowed by name, and replaced by an empty object.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
    """Placeholder of an object that is not a tensor: accepts any arguments and stores nothing."""

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
    """Permits the listed classes; PyTorch before 2.5 cannot, and rejects files that need them."""
    if hasattr(torch.serialization, "safe_globals"):
        return torch.serialization.safe_globals(_STAND_INS)
    return contextlib.nullcontext()


def _check_start(file: Path) -> None:
    """Raise a clear error for a file that is not one of PyTorch."""
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
            f"name, besides those of PyTorch, {', '.join(_ALLOWED)}"
        )
    reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
    return (
        f"{file} ({file.stat().st_size} bytes) is truncated, damaged or no PyTorch checkpoint; download it again "
        f"({type(error).__name__}: {reason[:200]})"
    )


_DATA_PARALLEL_PREFIX = "module."
_LISTED = 6  # keys named in an error; the others are counted


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every entry of the module's state dict; build the module on the "meta" device to spend nothing."""
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def convert(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Sequence[int]],
    *,
    network: str,
    renames: Sequence[tuple[str, str]] = (),
    dead: Sequence[str] = (),
    layouts: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
) -> dict[str, Tensor]:
    """The authors' ``state`` under our keys, in the order and exactly with the shapes of ``expected``.

    A leading "module." (data parallel training) is taken off each key; then each pair of ``renames`` (regular
    expression, replacement) is applied in turn, as by ``re.sub``. Keys that lead to no weight of ours are dropped where
    one of the regular expressions ``dead`` matches the authors' key as a whole. ``layouts`` maps a regular expression
    for our whole key to the function that brings the stored tensor into our layout, such as a permutation. The step
    counters of batch normalisation, which files from before PyTorch 0.4 lack and evaluation ignores, are filled with 0
    or dropped.

    Raises ``CheckpointError``, headed by the name ``network``, that lists unknown keys, missing keys and wrong shapes.
    """
    problems: list[tuple[str, str]] = []
    found: dict[str, str] = {}  # the authors' key, by ours
    for theirs in state:
        bare = theirs.removeprefix(_DATA_PARALLEL_PREFIX)
        ours = _renamed(bare, renames)
        if ours in found:
            problems.append(("two keys for one weight", f"{found[ours]} and {theirs}, both {ours}"))
        elif ours in expected:
            found[ours] = theirs
        elif not (_is_counter(bare) or any(re.fullmatch(pattern, bare) for pattern in dead)):
            problems.append(("unknown keys", theirs))

    converted: dict[str, Tensor] = {}
    for ours, shape in expected.items():
        if ours in found:
            converted[ours] = _laid_out(ours, state[found[ours]], layouts or {})
            if tuple(converted[ours].shape) != tuple(shape):
                problems.append(("wrong shapes", _wrong_shape(found[ours], ours, converted[ours].shape, shape)))
        elif _is_counter(ours):
            converted[ours] = torch.zeros((), dtype=torch.int64)
        else:
            problems.append(("missing keys (our names)", ours))
    if problems:
        raise CheckpointError(f"these are not the published weights of {network}: {_summary(problems)}")
    return converted


def differences(came: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]]) -> str:
    """Return the differences of the shapes of a state dict to the ``expected`` ones in one line; "" if none."""
    problems = [("unknown keys", key) for key in came if key not in expected]
    problems += [("missing keys", key) for key in expected if key not in came]
    common = [key for key in expected if key in came and tuple(came[key]) != tuple(expected[key])]
    problems += [("wrong shapes", _wrong_shape(key, key, came[key], expected[key])) for key in common]
    return _summary(problems)


def _summary(problems: Sequence[tuple[str, str]]) -> str:
    """One line that groups ``problems`` (kind, detail) by kind and names the first few of each."""
    details: dict[str, list[str]] = {}
    for kind, detail in problems:
        details.setdefault(kind, []).append(detail)
    return "; ".join(f"{kind}: {_listed(items)}" for kind, items in details.items())


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return ", ".join(items[:_LISTED]) + more


def _is_counter(key: str) -> bool:
    return key.rpartition(".")[2] == "num_batches_tracked"


def _renamed(key: str, renames: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        key = re.sub(pattern, replacement, key)
    return key


def _laid_out(ours: str, tensor: Tensor, layouts: Mapping[str, Callable[[Tensor], Tensor]]) -> Tensor:
    """The tensor in our layout; one that cannot be brought into it stays, and its shape is reported as stored."""
    for pattern, layout in layouts.items():
        if re.fullmatch(pattern, ours):
            try:
                return layout(tensor).contiguous()
            except (IndexError, RuntimeError):  # too few or too many axes
                return tensor
    return tensor


def _wrong_shape(theirs: str, ours: str, came: Sequence[int], expected: Sequence[int]) -> str:
    name = theirs if theirs == ours else f"{theirs} (here {ours})"
    return f"{name} should be {_shape(expected)}, is {_shape(came)}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a scalar"

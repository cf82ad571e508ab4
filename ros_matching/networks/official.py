"""Strict conversion of the state dicts that the networks' authors published into ours.

Each network states its rules in its own ``official.py`` and calls ``convert``. Nothing is guessed: a key that no rule
leads to a parameter of ours, a parameter that no key leads to and a shape that differs are all listed in one error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ros_matching.errors import CheckpointError

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
    """What is wrong with a state dict of shapes ``came`` where ``expected`` is wanted, in one line; "" if nothing."""
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

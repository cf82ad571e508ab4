"""Turns the state dict of the authors' published NCMNet checkpoint into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ros_matching.errors import CheckpointError
from ros_matching.networks.ncmnet.network import NCMNet

_MODULES = {"ds_0": "coarse", "ds_1": "fine"}
_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_LINEAR = r"(weight|bias)"
_LINEAR_NORM_RELU = {rf"0\.{_LINEAR}": r"0.\1", rf"1\.{_NORM}": r"1.\1"}
_RESIDUAL = {
    rf"left\.0\.{_LINEAR}": r"linear1.\1",
    rf"left\.2\.{_NORM}": r"norm1.norm.\1",
    rf"left\.4\.{_LINEAR}": r"linear2.\1",
    rf"left\.6\.{_NORM}": r"norm2.norm.\1",
    rf"right\.0\.{_LINEAR}": r"shortcut.\1",
}
_NEIGHBOURS = {
    rf"conv\.0\.{_LINEAR}": r"edges.\1",
    rf"conv\.1\.{_NORM}": r"edges_norm.\1",
    rf"conv\.3\.{_LINEAR}": r"groups.\1",
    rf"conv\.4\.{_NORM}": r"groups_norm.\1",
}
_FILTER = {
    rf"conv1\.1\.{_NORM}": r"norm1.norm.\1",
    rf"conv1\.3\.{_LINEAR}": r"linear1.\1",
    rf"conv2\.0\.{_NORM}": r"cluster_norm.\1",
    rf"conv2\.2\.{_LINEAR}": r"cluster_linear.\1",
    rf"conv3\.2\.{_NORM}": r"norm2.norm.\1",
    rf"conv3\.4\.{_LINEAR}": r"linear2.\1",
}
_SPACES = {1: "spatial", 2: "feature", 3: "graph"}
_ATTENTION = {"attq": "query", "attk": "key", "attv": "value", "conv": "output"}


def _rules() -> list[tuple[re.Pattern[str], str]]:
    """Patterns of the authors' keys within a pruning module, with what replaces them in ours."""
    rules: dict[str, str] = {}

    def add(theirs: str, ours: str, inside: Mapping[str, str]) -> None:
        rules.update({theirs + pattern: ours + replacement for pattern, replacement in inside.items()})

    leaf = {_LINEAR: r"\1"}
    add(r"conv\.", "stem.", _LINEAR_NORM_RELU)
    add(r"gs\.conv\.", "consensus.transform.", _LINEAR_NORM_RELU)
    add(r"embed_1\.0\.", "embed_consensus.", _RESIDUAL)
    add(r"embed_2\.", "../embed_kept.", _RESIDUAL)
    add(r"linear_0\.", "weigh0.", leaf)
    add(r"linear_1\.", "weigh1.", leaf)
    add(r"linear_2\.", "../head.", leaf)
    for block in range(3):
        add(rf"embed_00\.{block}\.", f"embed.{block}.", _RESIDUAL)
    for i in (1, 2):
        target = f"round{i}."
        add(rf"mlp{i}\.", f"{target}preliminary.", leaf)
        add(rf"gcn{i}\.conv\.", f"{target}graph.transform.", _LINEAR_NORM_RELU)
        for block in range(3):
            add(rf"embed_0{i}\.{block}\.", f"{target}fuse.{block}.", _RESIDUAL)
        for number, space in _SPACES.items():
            add(rf"sce{str(number) * i}\.", f"{target}embed_{space}.", _NEIGHBOURS)
            rules[rf"cci{str(number) * i}\.gamma"] = f"{target}cross_{space}.gamma"
            for theirs, ours in _ATTENTION.items():
                add(rf"cci{str(number) * i}\.{theirs}\.", f"{target}cross_{space}.{ours}.", _LINEAR_NORM_RELU)
        for theirs, ours in (("down", "pool"), ("up", "unpool")):
            rules[rf"{theirs}{i}\.conv\.1\.{_NORM}"] = rf"{target}order_aware.{ours}_norm.norm.\1"
            rules[rf"{theirs}{i}\.conv\.3\.{_LINEAR}"] = rf"{target}order_aware.{ours}.\1"
        for number in range(2):
            add(rf"l{i}\.{number}\.", f"{target}order_aware.filters.{number}.", _FILTER)
    return [(re.compile(pattern), replacement) for pattern, replacement in rules.items()]


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of the published NCMNet from the authors' (``state_dict`` of ``model_best.pth``).

    A ``module.`` prefix is taken off, and the shortcuts that the authors' residual blocks own but never use are left
    out. Anything unknown, missing or of another shape raises ``CheckpointError``.
    """
    with torch.device("meta"):
        expected = NCMNet().state_dict()
    unused = {re.sub(r"linear1\.", "shortcut.", key) for key in expected if ".linear1." in f".{key}"} - expected.keys()
    rules = _rules()
    converted: dict[str, Tensor] = {}
    unknown = []
    for key, value in state.items():
        name = _our_name(key.removeprefix("module."), rules)
        if name in expected:
            converted[name] = _our_layout(key, name, value, expected[name].shape)
        elif name not in unused:
            unknown.append(key)
    missing = sorted(expected.keys() - converted.keys())
    if unknown or missing:
        raise CheckpointError(
            f"this is not the state dict of the published NCMNet: {len(unknown)} unknown keys {unknown[:3]}, "
            f"{len(missing)} missing (in our names) {missing[:3]}"
        )
    return converted


def _our_name(key: str, rules: list[tuple[re.Pattern[str], str]]) -> str | None:
    module, _, rest = key.partition(".")
    if module not in _MODULES:
        return None
    for pattern, replacement in rules:
        if match := pattern.fullmatch(rest):
            name = match.expand(replacement)
            if name.startswith("../"):  # the head, which the authors keep in the second module
                return name.removeprefix("../") if module == "ds_1" else None
            return f"{_MODULES[module]}.{name}"
    return None


def _our_layout(key: str, name: str, value: Tensor, shape: torch.Size) -> Tensor:
    """1x1 convolutions become linear layers; convolutions over neighbours lose the dimension of height one."""
    joins_groups = name.endswith(".groups.weight")  # a convolution as wide as the row of groups it runs over
    theirs: tuple[int, ...] = tuple(shape)
    if joins_groups:
        theirs = (shape[0], shape[0], 1, shape[1] // shape[0])
    elif len(shape) == 3:
        theirs = (shape[0], shape[1], 1, shape[2])
    elif len(shape) == 2:
        theirs = (*shape, 1, 1)
    if tuple(value.shape) != theirs:
        raise CheckpointError(f"{key} must have shape {theirs}, got {tuple(value.shape)}: not the published NCMNet")
    return value.permute(0, 3, 1, 2).flatten(1) if joins_groups else value.reshape(shape)

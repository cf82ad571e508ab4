"""The recipes by name."""

from __future__ import annotations

from importlib import import_module

from ros_matching.errors import TrainingError
from ros_matching.training.recipe import Recipe

# Module and class, imported when asked for.
_RECIPES = {
    "posfeat_lite_description": ("posfeat_description", "LiteDescription"),
    "posfeat_lite_views": ("posfeat_description", "LiteViews"),
    "posfeat_lite_detection": ("posfeat_detection", "LiteDetection"),
    "posfeat_lite_distilled": ("posfeat_distilled", "LiteDistilled"),
    "posfeat_description": ("posfeat_description", "FullDescription"),
    "posfeat_views": ("posfeat_description", "FullViews"),
    "posfeat_detection": ("posfeat_detection", "FullDetection"),
    "cnn_geometric_lite": ("cnn_geometric", "CNNGeometricLiteRecipe"),
    "pbs_mvsnet": ("pbs_mvsnet", "PBSMVSNetRecipe"),
    "pbs_mvsnet_lite": ("pbs_mvsnet", "PBSMVSNetLiteRecipe"),
    "ncnet_lite": ("ncnet", "LiteConsensus"),
    "ncmnet_lite": ("ncmnet", "LitePruning"),
    "ncmnet": ("ncmnet", "FullPruning"),
}


def recipe_names() -> list[str]:
    """What can be trained."""
    return list(_RECIPES)


def recipe_class(name: str) -> type[Recipe]:
    """The recipe of that name, or ``TrainingError`` with the names there are."""
    if name not in _RECIPES:
        raise TrainingError(f"there is no recipe {name!r}; there are: {', '.join(_RECIPES)}")
    module, attribute = _RECIPES[name]
    return getattr(import_module(f"ros_matching.training.{module}"), attribute)

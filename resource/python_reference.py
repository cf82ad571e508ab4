"""The reference of the Python API as Markdown, made of the docstrings of public classes and functions."""

from __future__ import annotations

import enum
import importlib
import inspect
import re

# Modules that users import, with the names that are for them; empty: those of __all__.
PUBLIC: dict[str, tuple[str, ...]] = {
    "ros_matching": (),
    "ros_matching.visual_odometry": ("VisualOdometry",),
    "ros_matching.odometry.result": ("TrackingResult", "TrackingStatus", "TrackingCounts"),
    "ros_matching.slam": ("Slam", "SlamResult", "SlamStatus"),
    "ros_matching.datatypes": (),
    "ros_matching.io": (),
    "ros_matching.io.calibration": ("Calibration", "read_calibration"),
    "ros_matching.io.trajectory": ("Trajectory", "read_trajectory", "write_tum", "write_kitti"),
    "ros_matching.io.point_clouds": ("read_cloud", "write_cloud"),
    "ros_matching.matching.pipeline": ("MatchingPipeline",),
    "ros_matching.matching.parts": (
        "FeatureExtractor",
        "FeatureMatcher",
        "ConsensusFilter",
        "MatchPruner",
        "MatchRefiner",
        "OverlapEstimator",
    ),
    "ros_matching.scale": (),
    "ros_matching.inertial.imu": ("Imu",),
    "ros_matching.mapping": (),
    "ros_matching.atlas.map_storage": ("save_map", "load_map"),
    "ros_matching.evaluation.trajectory.trajectory_errors": ("evaluate_trajectory", "TrajectoryReport"),
    "ros_matching.config": ("Config", "parameter", "fields_of"),
    "ros_matching.errors": (),
}


def reference() -> str:
    """Return the page. Raises ``ValueError`` for a public name that is missing or has no docstring."""
    parts = [
        "# Python API",
        "What is meant for users; other modules may change without notice. Shapes are in brackets, `a_from_b` takes "
        "coordinates of b into a, units are in the names.",
    ]
    for module_name in PUBLIC:
        module = importlib.import_module(module_name)
        parts += [f"## {module_name}", _first_lines(inspect.getdoc(module) or "")]
        for name in public_names(module_name):
            member = getattr(module, name, None)
            if member is None:
                raise ValueError(f"{module_name} has no {name}, which python_reference.PUBLIC lists")
            if inspect.isclass(member):
                parts.append(_class(name, member))
            elif callable(member):
                parts.append(f"### {name}\n\n{_code(name, member)}\n\n{_documented(module_name, name, member)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def public_names(module_name: str) -> list[str]:
    """Return the public names of a module: those listed, those of ``__all__``, or its classes."""
    module = importlib.import_module(module_name)
    names = PUBLIC[module_name] or getattr(module, "__all__", None)
    if names is None:
        names = [name for name, member in vars(module).items() if _is_own_class(member, module_name)]
    return list(names)


def _is_own_class(member: object, module_name: str) -> bool:
    return inspect.isclass(member) and member.__module__ == module_name and not member.__name__.startswith("_")


def _class(name: str, cls: type) -> str:
    parts = [f"### {name}"]
    if issubclass(cls, enum.Enum):
        members = ", ".join(f"`{member.name}`" for member in cls)
        return "\n\n".join([*parts, _documented(cls.__module__, name, cls), members])
    if not issubclass(cls, BaseException) and not getattr(cls, "_is_protocol", False):
        parts.append(_code(name, cls))
    parts.append(_documented(cls.__module__, name, cls))
    own_init = vars(cls).get("__init__")
    if own_init is not None and own_init.__doc__:
        parts.append(_markdown(inspect.getdoc(own_init)))
    methods = [_method(cls, method) for method in vars(cls) if not method.startswith("_")]
    return "\n\n".join([*parts, *filter(None, methods)])


def _method(cls: type, name: str) -> str:
    """Return a method or property as an item of a list; empty for fields and undocumented names."""
    member = inspect.getattr_static(cls, name)
    if isinstance(member, property) or type(member).__name__ == "cached_property":
        text = inspect.getdoc(member)
        return f"- **`{name}`**: {_in_item(text)}" if text else ""
    function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
    text = inspect.getdoc(function)
    if not inspect.isfunction(function) or not text:
        return ""
    return f"- **`{name}{_signature(function)}`**: {_in_item(text)}"


def _in_item(text: str) -> str:
    return _markdown(text).replace("\n", "\n  ")


def _code(name: str, member: object) -> str:
    return f"```python\n{name}{_signature(member)}\n```"


class _Source:
    """A text that a signature shows as it is, without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _signature(member: object) -> str:
    """Return the signature without ``self``, and with types as they are written in the code."""
    try:
        signature = inspect.signature(member)
    except (TypeError, ValueError):
        return ""
    own = [_shown(parameter) for name, parameter in signature.parameters.items() if name not in ("self", "cls")]
    result = signature.return_annotation
    if inspect.isclass(member) or result in (None, "None"):
        result = inspect.Signature.empty
    elif isinstance(result, str):
        result = _Source(result)
    return str(signature.replace(parameters=own, return_annotation=result))


def _shown(parameter: inspect.Parameter) -> inspect.Parameter:
    annotation, default = parameter.annotation, parameter.default
    if isinstance(annotation, str):
        annotation = _Source(annotation)
    if isinstance(default, enum.Enum):
        default = _Source(str(default))
    elif "factory" in repr(default):  # of a dataclass
        default = _Source("...")
    return parameter.replace(annotation=annotation, default=default)


def _documented(module_name: str, name: str, member: object) -> str:
    text = inspect.cleandoc(member.__doc__ or "")  # not that of a base class
    if not text:
        raise ValueError(f"{module_name}.{name} is public and has no docstring")
    return _markdown(text)


def _first_lines(text: str) -> str:
    return _markdown(text.split("\n\n")[0])


def _markdown(text: str) -> str:
    """Return a docstring as Markdown: code in single backquotes, arguments as a list, other characters as they are."""
    text = re.sub(r"^(Args|Raises|Returns):$", r"\1:\n", text, flags=re.MULTILINE)
    text = re.sub(r"^ {4}(\w+): ", r"- ``\1``: ", text, flags=re.MULTILINE)
    text = re.sub(r"^ {8}(?=\S)", "  ", text, flags=re.MULTILINE)
    parts = re.split(r"``(.+?)``", text, flags=re.DOTALL)
    plain = [re.sub(r"([*_<|\[\]])", r"\\\1", part) for part in parts[::2]]
    code = ["`" + part.replace("`", "'") + "`" for part in parts[1::2]]
    return "".join(piece for pair in zip(plain, [*code, ""], strict=True) for piece in pair)

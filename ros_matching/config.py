"""Configuration by frozen dataclasses whose fields carry their description and range.

Every default is defined once, in the dataclass next to the class that it configures. The command line and the ROS
parameters are derived from these fields (``fields_of``), so descriptions and ranges are always the same.

    @dataclass(frozen=True)
    class TrackingConfig(Config):
        min_inliers: int = parameter(20, "inliers below which tracking counts as lost", minimum=6, maximum=1000)
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from ros_matching.errors import ConfigError

_LOG = logging.getLogger(__name__)
_SCALARS = (bool, int, float, str)


def parameter(
    default: bool | int | float | str,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    former_name: str = "",
) -> Any:
    """Declare a configuration field: default, description, and valid values (bounds inclusive).

    ``former_name`` is an earlier name of the field, which is still accepted with a warning.
    """
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "former_name": former_name,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class ParameterInfo:
    """One scalar configuration field, as used by the command line and ROS."""

    name: str
    type: type
    default: bool | int | float | str
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...] | None
    former_name: str


@dataclass(frozen=True)
class Config:
    """Base of all configurations: checks every field's type and range on construction."""

    def __post_init__(self) -> None:
        for info in fields_of(type(self)):
            object.__setattr__(self, info.name, _checked(type(self).__name__, info, getattr(self, info.name)))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Any:
        """Build from a mapping of names to values; an unknown name raises ``ConfigError`` with the known ones."""
        known = [info.name for info in fields_of(cls)]
        values = dict(values)
        for info in fields_of(cls):
            if info.former_name in values:
                _LOG.warning("the setting %s is now called %s", info.former_name, info.name)
                values.setdefault(info.name, values.pop(info.former_name))
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"{cls.__name__} has no setting {', '.join(unknown)}; it has: {', '.join(known)}")
        return cls(**values)


def fields_of(config_class: type[Config]) -> list[ParameterInfo]:
    """The fields of a configuration class, in order of declaration."""
    hints = get_type_hints(config_class)
    infos = []
    for field in dataclasses.fields(config_class):
        hint = hints[field.name]
        if hint not in _SCALARS or not field.metadata:
            raise TypeError(
                f"{config_class.__name__}.{field.name}: declare it with parameter(...) as bool, int, float or str"
            )
        choices = field.metadata["choices"]
        infos.append(
            ParameterInfo(
                name=field.name,
                type=hint,
                default=field.default,
                description=field.metadata["description"],
                minimum=field.metadata["minimum"],
                maximum=field.metadata["maximum"],
                choices=None if choices is None else tuple(choices),
                former_name=field.metadata["former_name"],
            )
        )
    return infos


def check_frames(config: Config, *names: str, may_be_empty: Sequence[str] = ()) -> None:
    """Raise ``ConfigError`` unless these fields are names of frames as tf2 takes them."""
    for name in (*names, *may_be_empty):
        frame, field = getattr(config, name), f"{type(config).__name__}.{name}"
        if not frame and name not in may_be_empty:
            raise ConfigError(f"{field} must name a frame, got an empty text; leave it out to take the default")
        if frame.startswith("/") or frame.split() != [frame] * bool(frame):
            proper = frame.strip().lstrip("/") or "base_link"
            raise ConfigError(
                f"{field} must be a frame without a leading slash and without spaces, as tf2 requires, got {frame!r}; "
                f"write {proper}"
            )


def _checked(owner: str, info: ParameterInfo, value: Any) -> bool | int | float | str:
    """The value in its declared type, or ``ConfigError``. An int is taken where a float is wanted, nothing else."""
    if info.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not info.type:
        raise ConfigError(f"{owner}.{info.name} must be {info.type.__name__}, got {value!r} ({type(value).__name__})")
    if info.minimum is not None and not value >= info.minimum:
        raise ConfigError(f"{owner}.{info.name} must be at least {info.minimum}, got {value!r}")
    if info.maximum is not None and not value <= info.maximum:
        raise ConfigError(f"{owner}.{info.name} must be at most {info.maximum}, got {value!r}")
    if info.choices is not None and value not in info.choices:
        raise ConfigError(f"{owner}.{info.name} must be one of {', '.join(info.choices)}, got {value!r}")
    return value

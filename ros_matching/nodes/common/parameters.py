"""ROS parameters from configuration dataclasses: names, defaults, descriptions and ranges are defined there only."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterNotDeclaredException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from ros_matching.config import Config, ParameterInfo, fields_of
from ros_matching.errors import ConfigError, NodeError

ConfigType = TypeVar("ConfigType", bound=Config)

_QOS_PREFIX = "qos_overrides."
_LARGEST_INTEGER = 2**63 - 1


def declare_config(node: Node, config_class: type[Config], prefix: str = "") -> None:
    """Declare a parameter for every field, named ``prefix + field``, with its description and range.

    Raises ``NodeError`` when a value given at the start (YAML file, command line) has the wrong type or range.
    """
    for info in fields_of(config_class):
        name = prefix + info.name
        try:
            node.declare_parameter(name, info.default, descriptor_of(info))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            given = node._parameter_overrides[name].value
            example = (
                f"; write {float(given)!r} rather than {given}" if info.type is float and type(given) is int else ""
            )
            raise NodeError(
                f"parameter {name} must be {info.type.__name__}{_range_text(info)} ({info.description}), "
                f"got {given!r} ({type(given).__name__}){example}"
            ) from error
        if info.former_name:
            description = ParameterDescriptor(description=f"deprecated: use {name}", dynamic_typing=True)
            node.declare_parameter(prefix + info.former_name, "", description)


def read_config(
    node: Node, config_class: type[ConfigType], prefix: str = "", changes: Iterable[Parameter] = ()
) -> ConfigType:
    """Return the configuration that the parameters hold, with ``changes`` applied.

    Raises ``ConfigError`` for a value out of its range or choices.
    """
    changed = {parameter.name: parameter.value for parameter in changes}
    values = {}
    for info in fields_of(config_class):
        name = prefix + info.name
        try:
            values[info.name] = changed[name] if name in changed else node.get_parameter(name).value
            if info.former_name and values[info.name] == info.default:
                former = prefix + info.former_name
                given = changed[former] if former in changed else node.get_parameter(former).value
                values[info.name] = given or info.default
        except ParameterNotDeclaredException as error:
            raise ConfigError(f"parameter {name} was not declared; call declare_config first") from error
    return config_class.from_mapping(values)


def unknown_parameters(node: Node, with_quality_of_service: bool = False) -> list[str]:
    """Return a warning for each given parameter without effect, with the nearest known name.

    ``with_quality_of_service`` includes ``qos_overrides``, which are known once publishers and subscriptions exist.
    rclpy has no public access to parameters that were given and not declared.
    """
    known = list(node._parameters)
    warnings = []
    for name in node._parameter_overrides:
        if name in known or (name.startswith(_QOS_PREFIX) and not with_quality_of_service):
            continue
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "ros2 param list shows those that are known"
        warnings.append(f"there is no parameter {name}, so it has no effect; {hint}")
    return warnings


def deprecated_parameters(node: Node, configs: Iterable[tuple[str, type[Config]]]) -> list[str]:
    """Return a warning for each parameter that is set by its former name; ``configs`` are (prefix, class)."""
    return [
        f"the parameter {prefix}{info.former_name} is deprecated; use {prefix}{info.name}"
        for prefix, config_class in configs
        for info in fields_of(config_class)
        if info.former_name and node.get_parameter(prefix + info.former_name).value
    ]


def prefixed(config: ConfigType, *frames: str) -> ConfigType:
    """Return the configuration with its ``frame_prefix`` prepended to these frames; an empty name stays empty."""
    names = {frame: getattr(config, frame) for frame in frames}
    return replace(config, **{frame: config.frame_prefix + name for frame, name in names.items() if name})


def reason_to_refuse(
    node: Node,
    configs: Sequence[tuple[str, type[Config]]],
    changes: Sequence[Parameter],
    live: Collection[str] | None,
) -> str:
    """Return the reason why a change of parameters is invalid, or an empty text; ``configs`` are (prefix, class).

    ``live`` contains the settings that take effect at once; all others are fixed then. With ``None`` no setting is
    fixed.
    """
    try:
        for prefix, config_class in configs:
            read_config(node, config_class, prefix, changes)
    except ConfigError as error:
        return str(error)
    settings = {
        prefix + name
        for prefix, config_class in configs
        for info in fields_of(config_class)
        for name in (info.name, info.former_name)
        if name
    }
    fixed = [change.name for change in changes if live is not None and change.name in settings - set(live)]
    return f"{', '.join(fixed)} is read when the node is configured; clean up the node first" if fixed else ""


def descriptor_of(info: ParameterInfo) -> ParameterDescriptor:
    """Return the descriptor of a field, as ``ros2 param describe`` shows it."""
    descriptor = ParameterDescriptor(name=info.name, description=info.description)
    if info.choices is not None:
        descriptor.additional_constraints = "one of: " + ", ".join(info.choices)
    if info.minimum is None and info.maximum is None:
        return descriptor
    if info.type is int:
        low = -_LARGEST_INTEGER if info.minimum is None else int(info.minimum)
        high = _LARGEST_INTEGER if info.maximum is None else int(info.maximum)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif info.type is float:
        low = -sys.float_info.max if info.minimum is None else float(info.minimum)
        high = sys.float_info.max if info.maximum is None else float(info.maximum)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    return descriptor


def _range_text(info: ParameterInfo) -> str:
    if info.choices is not None:
        return f", one of {', '.join(info.choices)}"
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", info.minimum), ("at most", info.maximum))
        if bound is not None
    ]
    return f", {' and '.join(bounds)}" if bounds else ""

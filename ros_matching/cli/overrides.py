"""Settings given on the command line as ``--set section.key=value``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ros_matching.config import Config, ParameterInfo, fields_of
from ros_matching.errors import ConfigError

_BOOLS = {"true": True, "false": False}


def configs_from(overrides: Iterable[str], sections: Mapping[str, type[Config]]) -> dict[str, Any]:
    """Every section's configuration, with its defaults where the overrides ``section.key=value`` say nothing.

    Raises ``ConfigError`` for an override of another form, an unknown section or key, or a value that does not fit.
    """
    values: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for override in overrides:
        path, equals, text = override.partition("=")
        section, dot, key = path.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"a setting is given as section.key=value, got {override!r}")
        if section not in sections:
            raise ConfigError(f"there are no settings {section!r}; there are: {', '.join(sections)}")
        values[section][key] = _parsed(sections[section], key, text.strip())
    return {section: config.from_mapping(values[section]) for section, config in sections.items()}


def describe(sections: Mapping[str, type[Config]]) -> str:
    """All settings, one a line: name, default, range and what it does."""
    infos = [(f"{section}.{info.name}", info) for section, config in sections.items() for info in fields_of(config)]
    width = max(len(name) for name, _ in infos)
    return "\n".join(f"{name:<{width}}  {info.description} ({_limits(info)})" for name, info in infos)


def _parsed(config: type[Config], key: str, text: str) -> bool | int | float | str:
    """The text in the type of the setting; left as it is where ``Config`` has the better error for it."""
    kind = next((info.type for info in fields_of(config) if info.name == key), str)
    try:
        return _BOOLS.get(text.lower(), text) if kind is bool else kind(text)
    except ValueError:
        return text


def _limits(info: ParameterInfo) -> str:
    limits = [f"default {info.default}"]
    if info.choices is not None:
        limits.append(f"one of {', '.join(info.choices)}")
    if info.minimum is not None:
        limits.append(f"at least {info.minimum:g}")
    if info.maximum is not None:
        limits.append(f"at most {info.maximum:g}")
    return ", ".join(limits)

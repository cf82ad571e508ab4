"""Settings as options of a subcommand: ``--set section.key=value``, and ``--list-settings``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ros_matching.config import Config, ParameterInfo, fields_of
from ros_matching.errors import ConfigError

_BOOLS = {"true": True, "false": False}


def add_settings_options(
    parser: argparse.ArgumentParser, what: str, sections: Callable[[], Mapping[str, type[Config]]]
) -> None:
    """Add ``--set``, which changes a setting of ``what``, and ``--list-settings``; sections are imported only then."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help=f"change a setting of {what}; may be repeated. See --list-settings",
    )
    parser.add_argument("--list-settings", action=_ListSettings, sections=sections, help="show the settings and exit")


class _ListSettings(argparse.Action):
    """Like ``--version``: prints and exits before the positional arguments are required."""

    def __init__(
        self, option_strings: list[str], dest: str, help: str, sections: Callable[[], Mapping[str, type[Config]]]
    ) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)
        self._sections = sections

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(describe(self._sections()), flush=True)
        parser.exit()


def configs_from(overrides: Iterable[str], sections: Mapping[str, type[Config]]) -> dict[str, Any]:
    """Return the configuration of every section, with defaults for all settings without an override.

    Raises ``ConfigError`` for an invalid override ``section.key=value``, an unknown section or key, or an invalid
    value.
    """
    values: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for override in overrides:
        path, equals, text = override.partition("=")
        section, dot, key = path.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"a setting must be section.key=value, got {override!r}")
        if section not in sections:
            raise ConfigError(f"there are no settings {section!r}; there are: {', '.join(sections)}")
        values[section][key] = _parsed(sections[section], key, text.strip())
    return {section: config.from_mapping(values[section]) for section, config in sections.items()}


def describe(sections: Mapping[str, type[Config]]) -> str:
    """Return all settings, one per line: name, description, default and range."""
    infos = [(f"{section}.{info.name}", info) for section, config in sections.items() for info in fields_of(config)]
    width = max(len(name) for name, _ in infos)
    return "\n".join(f"{name:<{width}}  {info.description} ({_limits(info)})" for name, info in infos)


def _parsed(config: type[Config], key: str, text: str) -> bool | int | float | str:
    """Return the text in the type of the setting; unchanged if ``Config`` reports the better error."""
    kind = next((info.type for info in fields_of(config) if key in (info.name, info.former_name)), str)
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

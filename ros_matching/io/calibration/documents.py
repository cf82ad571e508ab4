"""YAML, JSON, XML and INI text as plain mappings, read under limits.

Scalars of YAML stay text: YAML 1.1 would read ``1e-3`` as text, ``010`` as 8 and ``no`` as a boolean. The numbers
are converted where they are used (``fields.numbers``).
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterable
from typing import Any

from ros_matching.errors import CalibrationError

MAX_BYTES = 16 << 20  # of a file
_MAX_YAML_CHARACTERS = 2 << 20
_MAX_NODES = 50_000  # of YAML, every use of an alias counted
_MAX_DEPTH = 40
_MAX_INI_LINE = 2000  # the time that Python's parser takes grows with the square of it
_NULL = ("", "~", "null", "Null", "NULL")
_OPENCV_KEY = re.compile(r"^([ ]*[A-Za-z_][\w.]*):(?=[^\s:])", re.MULTILINE)
_DOCUMENT_MARK = re.compile(r"^---[ \t]*$", re.MULTILINE)


def parse_yaml(origin: str, text: str) -> list[Any]:
    """The first two documents of YAML text.

    Of OpenCV, its header ``%YAML:1.0``, its tags and its ``key:value`` without a space are accepted.
    """
    text, is_opencv = re.subn(r"\A\s*%YAML[: ][^\n]*\n", "", text)
    text = re.sub(r"(?<=\S)\t[ \t]*", " ", text)  # legal, but not for PyYAML; tabs that indent stay an error
    if is_opencv:
        text = _OPENCV_KEY.sub(r"\1: ", text)
    documents = [part for part in _DOCUMENT_MARK.split(text) if part.strip()][:2]
    return [_yaml_document(origin, document) for document in documents]


def parse_json(origin: str, text: str) -> Any:
    """The value of JSON text; all its numbers are floats."""

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return _unique(origin, pairs)

    try:
        content = json.loads(text, parse_int=float, object_pairs_hook=mapping)
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"{origin} cannot be read as JSON ({_first_line(error)})") from error
    level, depth = [content], 0
    while level:
        _check_limits(origin, 0, depth)
        containers = [item for item in level if isinstance(item, (list, dict))]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
        depth += 1
    return content


def parse_xml(origin: str, text: str) -> dict[str, Any]:
    """The content of XML's root element as a mapping by tag; a repeated tag becomes a list."""
    from xml.etree import ElementTree

    if "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL):
        raise CalibrationError(f"{origin}: expected XML without <!DOCTYPE> or <!ENTITY>; remove it")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise CalibrationError(f"{origin} cannot be read as XML ({_first_line(error)})") from error
    content = _element(origin, root, 0)
    if not isinstance(content, dict):
        raise CalibrationError(f"{origin}: expected XML elements with the calibration, got text alone")
    return content


def parse_ini(origin: str, text: str) -> dict[str, dict[str, str]]:
    """The sections of INI text (the ``.conf`` of ZED cameras)."""
    if max(map(len, text.splitlines()), default=0) > _MAX_INI_LINE:
        raise CalibrationError(f"{origin} has lines of more than {_MAX_INI_LINE} characters, as no calibration has")
    parser = configparser.RawConfigParser(strict=True, default_section="", delimiters=("=", ":"))
    parser.optionxform = str
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise CalibrationError(f"{origin} cannot be read as sections of key=value ({_first_line(error)})") from error
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _yaml_document(origin: str, text: str) -> Any:
    import yaml

    if len(text) > _MAX_YAML_CHARACTERS:
        raise CalibrationError(
            f"{origin} holds {len(text)} characters of YAML, more than the {_MAX_YAML_CHARACTERS} of any calibration; "
            "give the calibration alone"
        )
    try:
        node = _bounded_loader(origin)(text).get_single_node()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CalibrationError(f"{origin} cannot be read as YAML ({_first_line(error)})") from error
    return None if node is None else _YamlValues(origin).of(node, 0)


def _bounded_loader(origin: str) -> type:
    import yaml

    class BoundedLoader(yaml.SafeLoader):
        """A YAML loader with limits of the number and depth of nodes."""

        count = depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.count += 1
            self.depth += 1
            _check_limits(origin, self.count, self.depth)
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    return BoundedLoader


class _YamlValues:
    """Plain values of composed nodes; a node that aliases repeat counts every time."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._count = 0

    def of(self, node: Any, depth: int) -> Any:
        self._count += 1
        _check_limits(self._origin, self._count, depth)
        if node.id == "sequence":
            return [self.of(item, depth + 1) for item in node.value]
        if node.id == "mapping":
            pairs = [(self._key(key), self.of(value, depth + 1)) for key, value in node.value]
            return _merged(_unique(self._origin, pairs))
        return None if node.style is None and node.value in _NULL else node.value

    def _key(self, node: Any) -> str:
        if node.id != "scalar":
            raise CalibrationError(f"{self._origin}: expected plain keys in the YAML, got a {node.id} as a key")
        return node.value


def _merged(mapping: dict[str, Any]) -> dict[str, Any]:
    """The mapping with the content of YAML's merge key ``<<``."""
    base = mapping.get("<<")
    if not isinstance(base, dict):
        return mapping
    return base | {key: value for key, value in mapping.items() if key != "<<"}


def _unique(origin: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping and mapping[key] != value:
            raise CalibrationError(f"{origin} has {key[:80]!r} twice, with different values; keep the right one")
        mapping[key] = value
    return mapping


def _element(origin: str, element: Any, depth: int) -> Any:
    _check_limits(origin, 0, depth)
    if not len(element):
        return (element.text or "").strip() or None
    content: dict[str, Any] = {}
    for child in element:
        value = _element(origin, child, depth + 1)
        if child.tag in content:
            present = content[child.tag]
            content[child.tag] = [*present, value] if isinstance(present, list) else [present, value]
        else:
            content[child.tag] = value
    return content


def _check_limits(origin: str, count: int, depth: int) -> None:
    if count > _MAX_NODES:
        raise CalibrationError(
            f"{origin} holds more than {_MAX_NODES} values (aliases counted), more than any calibration; "
            "give the calibration alone"
        )
    if depth > _MAX_DEPTH:
        raise CalibrationError(f"{origin} is nested deeper than {_MAX_DEPTH} levels; give the calibration alone")


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."

"""Published figures of other systems on standard benchmarks, with their sources (``published_figures.yaml``)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import yaml

from ros_matching.errors import EvaluationError

_FILE = "published_figures.yaml"
KINDS = ("odometry", "SLAM")


@dataclass(frozen=True)
class Source:
    """Where figures were read."""

    title: str
    url: str


@dataclass(frozen=True)
class PublishedFigures:
    """ATE of one system on the sequences of a suite, by name, in metres; a sequence without a figure is not there.

    ``kind`` is odometry or SLAM (with loop closing); ``frames`` the frames that the system was given, empty if the
    source does not state it; ``mean`` the mean over all sequences, ``None`` if some have no figure.
    """

    name: str
    kind: str
    frames: str
    source: Source
    ate: dict[str, float]
    mean: float | None


def published_figures(suite: str) -> list[PublishedFigures]:
    """Return the published figures for a suite, in the order of the file.

    Raises ``EvaluationError`` if the file does not fit: another number of values than sequences, or no such source.
    """
    content = yaml.safe_load((files(__package__) / _FILE).read_text(encoding="utf-8"))
    sources = {key: Source(**fields) for key, fields in content["sources"].items()}
    part = content["suites"].get(suite, {"sequences": [], "methods": []})
    figures = []
    for method in part["methods"]:
        values = method["values"]
        if len(values) != len(part["sequences"]) or method["source"] not in sources or method["kind"] not in KINDS:
            raise EvaluationError(
                f"{_FILE}: {method['name']} of {suite} needs {len(part['sequences'])} values, a kind of "
                f"{', '.join(KINDS)} and a source of {', '.join(sources)}; got {method}"
            )
        names = [str(name) for name in part["sequences"]]
        ate = {name: float(value) for name, value in zip(names, values, strict=True) if value is not None}
        mean = method.get("mean", sum(ate.values()) / len(names) if len(ate) == len(names) else None)
        source = sources[method["source"]]
        figures.append(PublishedFigures(method["name"], method["kind"], method.get("frames", ""), source, ate, mean))
    return figures

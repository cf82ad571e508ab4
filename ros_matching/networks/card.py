"""The provenance card that every weights file of ours carries in its header."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ros_matching import __version__
from ros_matching.errors import CheckpointError


@dataclass(frozen=True)
class WeightsCard:
    """Where a set of weights comes from. All is text but ``metrics``, which maps names to numbers.

    ``sha256`` is that of the tensors, not of the file (which holds the card); saving fills it in.
    """

    network: str  # its name in networks.registry
    description: str  # what these weights are good for
    trained_on: str  # the data
    command: str  # what made the file
    licence: str  # of the weights
    metrics: Mapping[str, float] = field(default_factory=dict)
    version: str = __version__  # of ros_matching, when the file was made
    sha256: str = ""

    def __post_init__(self) -> None:
        for info in dataclasses.fields(self):
            value = getattr(self, info.name)
            if info.name == "metrics":
                _check_metrics(value)
            elif not isinstance(value, str) or not (value.strip() or info.name == "sha256"):
                raise CheckpointError(f"the card of weights needs a text for {info.name!r}, got {value!r}")

    def to_json(self) -> str:
        """The card as one JSON object."""
        return json.dumps(dataclasses.asdict(self) | {"metrics": dict(self.metrics)})

    @classmethod
    def from_json(cls, text: str) -> WeightsCard:
        """Read a card; raises ``CheckpointError`` for anything that ``to_json`` would not have written."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise CheckpointError(f"the card of weights is not JSON ({error})") from error
        if not isinstance(values, dict):
            raise CheckpointError(f"the card of weights is not a JSON object but {text[:100]}")
        if wrong := values.keys() ^ {info.name for info in dataclasses.fields(cls)}:
            raise CheckpointError(
                f"the card of weights lacks these fields, or has them too much: {', '.join(sorted(wrong))}; "
                "it is damaged or of another version of ros_matching"
            )
        return cls(**values)


def _check_metrics(metrics: Any) -> None:
    if not isinstance(metrics, Mapping):
        raise CheckpointError(f"the metrics on a card of weights map names to numbers, got {metrics!r}")
    for name, value in metrics.items():
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
            raise CheckpointError(f"the metrics on a card of weights map names to numbers, got {name!r}: {value!r}")

"""The folder of a training run: settings, log, checkpoint, and the best weights so far."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ros_matching.atomic_file import atomic_path, write_atomic
from ros_matching.errors import TrainingError
from ros_matching.networks.checkpoint import WeightsCard, load_weights, save_weights
from ros_matching.training.recipe import Recipe

_LICENCE = "Apache-2.0; trained on images for research, see the data"


class RunFolder:
    """``folder`` of a run of ``recipe``. Only the process that ``writes`` changes it."""

    def __init__(self, folder: Path, recipe: Recipe, command: str, *, writes: bool = True) -> None:
        self.folder, self.recipe, self.command, self.writes = folder, recipe, command, writes
        self._trained_on = recipe.trained_on()
        self.best_metrics: dict[str, float] = {}

    @property
    def best(self) -> Path:
        """The weights that validated best."""
        return self.folder / "best.safetensors"

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def _asked(self) -> dict[str, Any]:
        return {"recipe": self.recipe.name, **asdict(self.recipe.config)}

    def begin(self) -> None:
        """Start a new run, if there is none yet."""
        if self._checkpoint.exists():
            raise TrainingError(
                f"{self.folder} already contains a run: continue it with --resume, or give another --out"
            )
        if self.writes:
            write_atomic(self.folder / "config.json", json.dumps(self._asked, indent=2) + "\n")

    def load_initial(self, path: Path, network: nn.Module) -> None:
        """Start from weights of the same network; their provenance becomes part of that of the result."""
        card = load_weights(path, network, self.recipe.network_name)
        self.command = f"{card.command}; then {self.command}"
        if self._trained_on not in card.trained_on:
            self._trained_on = f"{card.trained_on}; {self._trained_on}"
        else:
            self._trained_on = card.trained_on

    def read_checkpoint(self, device: torch.device) -> dict[str, Any]:
        """Read the checkpoint, if the recipe and its settings are unchanged."""
        if not self._checkpoint.exists():
            raise TrainingError(f"there is no run in {self.folder} to resume; leave --resume out to begin one")
        checkpoint = torch.load(self._checkpoint, map_location=device, weights_only=True)
        asked = checkpoint.pop("asked")
        if asked != self._asked:
            now = self._asked
            changed = sorted(key for key in asked.keys() | now.keys() if asked.get(key) != now.get(key))
            raise TrainingError(
                f"the run in {self.folder} was made with other settings "
                f"({', '.join(f'{key}={asked.get(key)}' for key in changed)}); give the same, or another --out"
            )
        self.best_metrics = checkpoint.pop("best_metrics")
        return checkpoint

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write where to resume, whole or not at all."""
        if self.writes:
            with atomic_path(self._checkpoint) as unfinished:
                torch.save({**state, "asked": self._asked, "best_metrics": self.best_metrics}, unfinished)

    def log(self, name: str, row: Mapping[str, float]) -> None:
        """Add a row to ``training.csv`` or ``validation.csv``."""
        if not self.writes:
            return
        path = self.folder / f"{name}.csv"
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if is_new:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" for key, value in row.items()})

    def keep_if_best(self, network: nn.Module, metrics: Mapping[str, float], step: int, seconds: float) -> None:
        """Keep the network's weights with their card, unless better ones are kept already."""
        selection = self.recipe.selection
        if not metrics[selection] > self.best_metrics.get(selection, float("-inf")):
            return
        self.best_metrics = dict(metrics)
        card = WeightsCard(
            network=self.recipe.network_name,
            description=self.recipe.description,
            trained_on=self._trained_on,
            command=f"{self.command} ({step} steps in {seconds / 60:.0f} minutes, {time.strftime('%Y-%m-%d')})",
            licence=_LICENCE,
            metrics=metrics,
        )
        save_weights(self.best, network.state_dict(), card)

"""The loop on a recipe small enough to know the answer: a straight line."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ros_matching.config import parameter
from ros_matching.errors import TrainingError
from ros_matching.networks import registry
from ros_matching.networks.checkpoint import load_network, read_card
from ros_matching.training import loop
from ros_matching.training.loop import TrainingOptions, train
from ros_matching.training.recipe import DataFolder, Recipe, RecipeConfig

SLOPE, OFFSET = 2.0, -1.0


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.norm = nn.BatchNorm1d(1, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        self.norm(x)
        return self.layer(x)


@dataclass(frozen=True)
class LineConfig(RecipeConfig):
    steps: int = parameter(300, "steps", minimum=1)
    learning_rate: float = parameter(0.05, "rate", minimum=0)
    weight_decay: float = parameter(0.0, "decay", minimum=0)
    ema_decay: float = parameter(0.9, "decay", minimum=0, maximum=1)
    bad_every: int = parameter(0, "one sample in so many is not a number", minimum=0)


class LineRecipe(Recipe):
    name = "line"
    network_name = "line"
    description = "a straight line"
    config_class = LineConfig
    selection = "accuracy"

    def make_network(self) -> nn.Module:
        return Line()

    def sample(self, index: int) -> dict[str, Tensor]:
        x = float(self.generator(index).uniform(-1, 1))
        bad = self.config.bad_every and index % self.config.bad_every == 0
        return {"x": torch.tensor([x]), "y": torch.tensor([float("nan") if bad else SLOPE * x + OFFSET])}

    def loss(self, network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        jitter = 0.01 * torch.randn_like(batch["y"])  # random numbers of a loss must be the same after a resume
        error = network(batch["x"]) - batch["y"] - jitter
        return error.square().mean(), {"error": error.detach().abs().mean()}

    def validate(self, network: nn.Module) -> dict[str, float]:
        x = torch.linspace(-1, 1, 11)[:, None]
        return {"accuracy": -float((network(x) - SLOPE * x - OFFSET).abs().mean())}

    def trained_on(self) -> str:
        return "numbers"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (*registry._ENTRIES, registry.NetworkEntry("line", "ncnet", lambda _: Line()))
    monkeypatch.setattr(registry, "_ENTRIES", entries)


def recipe(folder: Path, **settings: object) -> LineRecipe:
    return LineRecipe(LineConfig.from_mapping(settings), DataFolder(folder))


def options(out: Path, **settings: object) -> TrainingOptions:
    defaults = {"workers": 0, "device": "cpu", "hide_progress": True, "validate_minutes": 1e9}
    return TrainingOptions(out=out, **{**defaults, **settings})


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_it_learns_and_keeps_the_averaged_weights_with_their_card(tmp_path: Path) -> None:
    metrics = train(recipe(tmp_path), options(tmp_path / "run"), "ros-matching train line")
    assert metrics["accuracy"] > -0.02
    network = load_network(tmp_path / "run" / "best.safetensors")
    assert network.layer.weight.item() == pytest.approx(SLOPE, abs=0.05)
    assert network.layer.bias.item() == pytest.approx(OFFSET, abs=0.05)
    card = read_card(tmp_path / "run" / "best.safetensors")
    assert card.command.startswith("ros-matching train line (300 steps")
    assert card.metrics == pytest.approx(metrics)


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe(tmp_path, steps=60), options(tmp_path / "whole"), "x")
    stopped = recipe(tmp_path, steps=60)
    stop_after(stopped, 31, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, options(tmp_path / "resumed", checkpoint_minutes=0.0), "x")
    train(recipe(tmp_path, steps=60), options(tmp_path / "resumed", resume=True), "x")
    whole, resumed = (torch.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "resumed"))
    assert whole["step"] == resumed["step"] == 60
    for part in ("network", "average"):
        for key, value in whole[part].items():
            assert torch.equal(value, resumed[part][key]), (part, key)


def stop_after(recipe: LineRecipe, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = recipe.loss, []

    def loss(*args: object) -> tuple[Tensor, dict[str, Tensor]]:
        calls.append(1)
        if len(calls) > steps:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(recipe, "loss", loss)


def test_samples_made_by_workers_are_the_same(tmp_path: Path) -> None:
    indices = {}
    for workers in (0, 2):
        train(recipe(tmp_path, steps=5), options(tmp_path / str(workers), workers=workers), "x")
        indices[workers] = torch.load(tmp_path / str(workers) / "checkpoint.pt")["network"]
    assert all(torch.equal(indices[0][key], indices[2][key]) for key in indices[0])


class Clock:
    """The clock of the loop, which advances by a millisecond at each reading."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        self.now_s += 1e-3
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


def test_a_time_budget_ends_the_run_and_its_schedule(tmp_path: Path, clock: Clock) -> None:
    train(recipe(tmp_path), options(tmp_path / "run", minutes=0.01, log_steps=1), "x")
    log = rows(tmp_path / "run" / "training.csv")
    assert float(log[-1]["minutes"]) == pytest.approx(0.01, rel=0.01)
    assert float(log[-1]["rate"]) < 0.05 * max(float(row["rate"]) for row in log)


def test_the_first_sample_is_not_counted_to_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    slow = recipe(tmp_path)
    draw = slow.sample

    def sample(index: int) -> dict[str, Tensor]:
        clock.now_s += 1e3 if index == 0 else 0.0
        return draw(index)

    monkeypatch.setattr(slow, "sample", sample)
    train(slow, options(tmp_path / "run", minutes=0.01, log_steps=1), "x")
    assert len(rows(tmp_path / "run" / "training.csv")) > 5


def test_steps_without_a_finite_gradient_are_left_out(tmp_path: Path) -> None:
    metrics = train(recipe(tmp_path, bad_every=50), options(tmp_path / "run"), "x")
    assert metrics["accuracy"] > -0.05


def test_a_diverged_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="smaller learning rate"):
        train(recipe(tmp_path, bad_every=1), options(tmp_path / "run"), "x")


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(tmp_path: Path) -> None:
    train(recipe(tmp_path, steps=3), options(tmp_path / "run"), "x")
    with pytest.raises(TrainingError, match="--resume"):
        train(recipe(tmp_path, steps=3), options(tmp_path / "run"), "x")
    with pytest.raises(TrainingError, match="steps=3"):
        train(recipe(tmp_path, steps=4), options(tmp_path / "run", resume=True), "x")
    with pytest.raises(TrainingError, match="no run"):
        train(recipe(tmp_path), options(tmp_path / "other", resume=True), "x")


def test_weights_to_begin_from_name_their_command(tmp_path: Path) -> None:
    train(recipe(tmp_path), options(tmp_path / "first"), "first")
    best = tmp_path / "first" / "best.safetensors"
    metrics = train(recipe(tmp_path, steps=1), options(tmp_path / "second", initial_weights=best), "second")
    assert metrics["accuracy"] > -0.05
    command = read_card(tmp_path / "second" / "best.safetensors").command
    assert command.startswith("first (300 steps")
    assert "; then second (1 steps" in command


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--data"):
        DataFolder.found(None, {})
    with pytest.raises(TrainingError, match="nowhere"):
        DataFolder(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="photos"):
        _ = DataFolder(tmp_path).photos


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path) -> None:
    """The gradients of two processes are averaged: the same steps as of one process with both their samples."""
    for attempt in range(2):  # another process may take the port on which the two meet
        two = tmp_path / f"two{attempt}"
        script = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        script += [str(Path(__file__).parent / "line_process.py"), str(tmp_path), str(two)]
        run = subprocess.run(script, check=False, capture_output=True, text=True, timeout=200)
        if run.returncode == 0:
            break
    assert run.returncode == 0, run.stderr[-3000:]
    train(recipe(tmp_path, steps=20, batch_size=4, ema_decay=0.0), options(tmp_path / "one"), "x")
    weights = [torch.load(folder / "checkpoint.pt")["network"] for folder in (two, tmp_path / "one")]
    for key in ("layer.weight", "layer.bias"):
        # The processes draw their own jitter, of 0.01.
        torch.testing.assert_close(weights[0][key], weights[1][key], atol=0.02, rtol=0)

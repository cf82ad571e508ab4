"""The training loop of all recipes: schedule, mixed precision, moving average, checkpoints, validation, processes.

    train(recipe, TrainingOptions(out=Path("run"), minutes=60), command="...")

A run folder holds ``checkpoint.pt``, from which a run that was stopped resumes bit for bit, ``training.csv`` and
``validation.csv``, and ``best.safetensors``: the averaged weights that validated best, with their card. Started by
``torchrun``, every process trains on samples of its own and gradients are averaged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ros_matching.errors import TrainingError
from ros_matching.networks.engines import autocast
from ros_matching.training.processes import Processes
from ros_matching.training.recipe import Batch, Recipe
from ros_matching.training.run_folder import RunFolder
from ros_matching.training.schedule import MovingAverage, Schedule

_MAX_BAD_STEPS = 20
_FINAL_RATE = 0.01


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a run, independent of the recipe.

    ``minutes`` of training, without validation, in place of the recipe's ``steps``; ``validate_minutes`` between
    validations (there is one at the end); ``workers`` processes prepare samples, 0: the loop itself does;
    ``precision`` of the convolutions is ``float32`` or ``bfloat16``.
    """

    out: Path
    minutes: float | None = None
    device: str = "auto"
    workers: int = 1
    precision: str = "float32"
    resume: bool = False
    validate_minutes: float = 10.0
    checkpoint_minutes: float = 3.0
    log_steps: int = 20
    initial_weights: Path | None = None
    hide_progress: bool | None = None


def train(recipe: Recipe, options: TrainingOptions, command: str) -> dict[str, float]:
    """Train until the schedule's end and return the best validation; ``command`` goes onto the card.

    Raises ``TrainingError`` if the run folder has another run, or when the loss stays infinite.
    """
    with Processes.joined(options.device) as processes:
        run = _Run(recipe, options, command, processes)
        run.go()
        return run.folder.best_metrics


class _Objective(nn.Module):
    """The recipe's loss as the forward pass of a module, which is where DistributedDataParallel hooks in."""

    def __init__(self, recipe: Recipe, network: nn.Module) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = network

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.recipe.loss(self.network, batch)


class _Run:
    """One run, from its first or its last kept step to the end of its schedule."""

    def __init__(self, recipe: Recipe, options: TrainingOptions, command: str, processes: Processes) -> None:
        self.recipe, self.options, self.processes = recipe, options, processes
        self.folder = RunFolder(options.out, recipe, command, writes=processes.is_first)
        torch.manual_seed(recipe.config.seed)
        self.network = recipe.make_network()
        if options.initial_weights is not None:
            self.folder.load_initial(options.initial_weights, self.network)
        self.network.to(processes.device)
        self.average = MovingAverage(self.network, recipe.config.ema_decay)
        self.optimizer = _optimizer(recipe, self.network)
        self.schedule = Schedule(recipe.config.steps, options.minutes, recipe.config.warmup, _FINAL_RATE)
        self.step, self.seconds, self.bad_steps = 0, 0.0, 0
        self.sums: dict[str, Tensor] = {}
        if options.resume:
            self._restore(self.folder.read_checkpoint(processes.device))
        else:
            self.folder.begin()
        self.objective = processes.distributed(_Objective(recipe, self.network))

    def go(self) -> None:
        """Train, validate now and then and at the end, keep the best."""
        last_validation = last_checkpoint = self.seconds
        batches = iter(self._loader())
        first = next(batches)  # before the clock starts: cached data of a recipe is created now
        batches = chain([first], batches)
        with tqdm(total=self.schedule.total, disable=self.options.hide_progress, unit=self.schedule.unit) as bar:
            while not self.processes.agree(self.schedule.progress(self.step, self.seconds) >= 1):
                start = time.perf_counter()
                loss, numbers = self._train_step(next(batches))
                self.seconds += time.perf_counter() - start
                bar.n = self.schedule.done(self.step, self.seconds)
                self._log(bar, loss, numbers)
                if self.processes.agree(self.seconds - last_validation > 60 * self.options.validate_minutes):
                    last_validation = self.seconds
                    self._validate()
                if self.processes.agree(self.seconds - last_checkpoint > 60 * self.options.checkpoint_minutes):
                    last_checkpoint = self.seconds
                    self._keep()
        self._validate()
        self._keep()

    def _train_step(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        config, device = self.recipe.config, self.processes.device
        # All that the loss draws depends on the step alone, so that a resumed run draws the same.
        torch.manual_seed(hash((config.seed, self.step, self.processes.rank)) % 2**63)
        rate = config.learning_rate * self.schedule.rate(self.step, self.seconds)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        self.recipe.set_mode(self.network)
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        with autocast(device, self.options.precision):
            loss, numbers = self.objective(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = config.clip_norm or math.inf
        norm = nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], limit)
        if self._is_finite(norm):
            self.optimizer.step()
            self.average.update(self.network)
        self.step += 1
        return loss.detach(), {**numbers, "gradient": norm.detach()}

    def _is_finite(self, norm: Tensor) -> bool:
        """Return True to take this step; a batch without a usable gradient is skipped, many in a row are an error."""
        if bool(torch.isfinite(norm)):
            self.bad_steps = 0
            return True
        self.bad_steps += 1
        if self.bad_steps >= _MAX_BAD_STEPS:
            raise TrainingError(
                f"{self.recipe.name} diverged: no finite gradient in {_MAX_BAD_STEPS} steps up to step {self.step}; "
                "resume with a smaller learning rate"
            )
        return False

    def _loader(self) -> DataLoader:
        workers = self.options.workers
        return DataLoader(
            _Samples(self.recipe),
            batch_sampler=_Indices(self.step, self.recipe.config.batch_size, self.processes),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            persistent_workers=False,
            pin_memory=self.processes.device.type == "cuda",
            multiprocessing_context="spawn" if workers else None,
        )

    def _log(self, bar: tqdm, loss: Tensor, numbers: dict[str, Tensor]) -> None:
        """Log the means since the last time; adding up on the device does not wait for it."""
        for name, value in {"loss": loss, **numbers}.items():
            self.sums[name] = self.sums.get(name, 0) + value
        if self.step % self.options.log_steps:
            return
        row = {name: float(value) / self.options.log_steps for name, value in self.sums.items()}
        self.sums.clear()
        bar.set_postfix({name: f"{value:.4g}" for name, value in row.items()}, refresh=False)
        bar.refresh()
        rate = self.optimizer.param_groups[0]["lr"]
        self.folder.log("training", {"step": self.step, "minutes": self.seconds / 60, "rate": rate, **row})

    @torch.no_grad()
    def _validate(self) -> None:
        if self.processes.is_first:
            with self.average.swapped_into(self.network):
                self.network.eval()
                metrics = self.recipe.validate(self.network)
                self.folder.log("validation", {"step": self.step, "minutes": self.seconds / 60, **metrics})
                self.folder.keep_if_best(self.network, metrics, self.step, self.seconds)
        self.processes.wait()

    def _keep(self) -> None:
        self.folder.write_checkpoint(
            {
                "step": self.step,
                "seconds": self.seconds,
                "network": self.network.state_dict(),
                "average": self.average.state,
                "optimizer": self.optimizer.state_dict(),
            }
        )
        self.processes.wait()

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        self.step, self.seconds = checkpoint["step"], checkpoint["seconds"]
        self.network.load_state_dict(checkpoint["network"])
        self.average.state = checkpoint["average"]
        self.optimizer.load_state_dict(checkpoint["optimizer"])


class _Samples(Dataset):
    """The recipe's samples, by number."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        torch.set_num_threads(1)
        return self.recipe.sample(index)


class _Indices:
    """The numbers of the samples of each batch, without end, from that of ``step`` on."""

    def __init__(self, step: int, batch_size: int, processes: Processes) -> None:
        self.step, self.batch_size, self.processes = step, batch_size, processes

    def __iter__(self) -> Iterator[list[int]]:
        for step in count(self.step):
            first = (step * self.processes.count + self.processes.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))


def _optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer; parameters in none of its groups are frozen."""
    config = recipe.config
    groups = []
    network.requires_grad_(False)
    for group in recipe.parameter_groups(network):
        trained = [p.requires_grad_() for p in group["params"]]
        kernels, rest = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
        groups.append({**group, "params": kernels, "weight_decay": config.weight_decay})
        groups.append({**group, "params": rest, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99))

"""One or several processes that train together, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn

from ros_matching.errors import TrainingError


@dataclass(frozen=True)
class Processes:
    """One process of ``count``: its ``rank``, and the device it trains on."""

    rank: int
    count: int
    device: torch.device

    @classmethod
    @contextmanager
    def joined(cls, device: str) -> Iterator[Processes]:
        """Join the other processes, if ``torchrun`` has started any; leave them at the end.

        ``device`` is ``auto``, ``cpu`` or ``cuda``; each process of a machine takes a GPU of its own.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise TrainingError(f"a device is auto, cpu or cuda, got {device!r}")
        if device == "cuda" and not torch.cuda.is_available():
            raise TrainingError("there is no CUDA device; train with --device cpu")
        on_gpu = device != "cpu" and torch.cuda.is_available()
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu else torch.device("cpu")
        if "WORLD_SIZE" not in os.environ:
            yield cls(0, 1, own)
            return
        distributed.init_process_group("nccl" if on_gpu else "gloo")
        try:
            yield cls(distributed.get_rank(), distributed.get_world_size(), own)
        finally:
            distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """True in the process that validates and writes."""
        return self.rank == 0

    def distributed(self, objective: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes."""
        if self.count == 1:
            return objective
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(objective, device_ids=ids)

    def agree(self, decision: bool) -> bool:
        """Return the decision of the first process, because clocks differ and all processes must agree."""
        if self.count == 1:
            return decision
        flag = torch.tensor([int(decision)], device=self.device)
        distributed.broadcast(flag, src=0)
        return bool(flag.item())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()

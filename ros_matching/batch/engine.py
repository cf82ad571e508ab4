"""Jobs on Dask: workers on this machine, or those of a scheduler that runs already.

A job whose worker is killed runs on another worker. A job that fails is tried again, and none stops the others.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ros_matching.batch.job_process import JobLimits, run_job
from ros_matching.batch.job_store import FAILURE, Job, JobOutcome, new_outcome
from ros_matching.errors import ConfigError, MissingDependencyError, SourceError

if TYPE_CHECKING:
    from distributed import Client, Future

_THREADS, _MEMORY = "THREADS", "MEMORY"  # resources that a worker may declare
_WAIT_FOR_WORKERS_S = 30.0
_DEATHS = 20  # of workers under one job, until it counts as failed


@dataclass(frozen=True)
class ClusterOptions:
    """Where jobs run: the address of a ``scheduler``, or ``workers`` of this machine (0: as many jobs as fit it)."""

    scheduler: str = ""
    workers: int = 0


def local_workers(limits: JobLimits) -> int:
    """Return the number of jobs that fit this machine at once; raises ``ConfigError`` if not one does."""
    _require_distributed()
    from dask.system import CPU_COUNT  # as the cgroup limits it
    from distributed.system import MEMORY_LIMIT

    memory_mb = MEMORY_LIMIT / 1e6
    if limits.memory_mb > memory_mb:
        raise ConfigError(f"--memory {limits.memory_mb / 1e3:g} exceeds this machine's {memory_mb / 1e3:.1f} GB")
    by_memory = int(memory_mb // limits.memory_mb) if limits.memory_mb else CPU_COUNT
    return max(1, min(CPU_COUNT // max(limits.threads, 1), by_memory))


class Engine:
    """A connection to Dask's workers; a context manager."""

    def __init__(self, options: ClusterOptions, limits: JobLimits) -> None:
        """Start local workers or connect. Raises ``SourceError`` if a scheduler is not reached or has no workers."""
        _require_distributed()
        self._limits = limits
        self._stack = contextlib.ExitStack()
        try:
            self.client = self._remote(options.scheduler) if options.scheduler else self._local(options.workers)
        except BaseException:
            self._stack.close()
            raise
        self.workers = self._slots()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, jobs: Sequence[Job], retries: int = 0) -> Iterator[JobOutcome]:
        """Run all jobs and yield the outcome of each once, as they end; failed ones are tried again first."""
        from distributed import as_completed

        attempts = {job.name: 0 for job in jobs}
        waiting: dict[str, Job] = {}

        def submit(job: Job) -> Future:
            attempts[job.name] += 1
            key = f"{job.name}-{job.token}-{attempts[job.name]}"
            waiting[key] = job
            return self.client.submit(
                run_job, job, self._limits, attempts[job.name], key=key, pure=False, resources=self._resources()
            )

        ended = as_completed([submit(job) for job in jobs])
        for future in ended:
            job = waiting.pop(future.key)
            outcome = _outcome_of(future, job, attempts[job.name])
            if outcome.status == FAILURE and attempts[job.name] <= retries:
                ended.add(submit(job))
            else:
                yield outcome

    def _local(self, workers: int) -> Client:
        import dask
        from distributed import Client, LocalCluster

        self._stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": _DEATHS}))
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a killed worker is reported by its job
        cluster = self._stack.enter_context(
            LocalCluster(
                n_workers=workers or local_workers(self._limits),
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # a job is a process of its own, with a limit of its own
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
                host="127.0.0.1",
            )
        )
        return self._stack.enter_context(Client(cluster))

    def _remote(self, address: str) -> Client:
        from distributed import Client

        try:
            client = self._stack.enter_context(Client(address, timeout=_WAIT_FOR_WORKERS_S))
        except (OSError, ValueError) as error:
            raise SourceError(
                f"no Dask scheduler answers at {address}: {error}; start one (dask scheduler), or check the address"
            ) from error
        try:
            client.wait_for_workers(1, timeout=_WAIT_FOR_WORKERS_S)
        except TimeoutError as error:
            raise SourceError(
                f"the scheduler at {address} has no workers; start some (dask worker {address} --nthreads 1)"
            ) from error
        return client

    def _info(self) -> list[dict[str, Any]]:
        return list(self.client.scheduler_info(n_workers=-1)["workers"].values())

    def _resources(self) -> dict[str, float] | None:
        """Return the demand of a job, if workers declare their size (``dask worker --resources``)."""
        workers = self._info() if not hasattr(self, "_declared") else []
        if workers:
            self._declared = set.intersection(*(set(worker["resources"]) for worker in workers))
        demand = {_THREADS: float(self._limits.threads), _MEMORY: self._limits.memory_mb * 1e6}
        return {name: demand[name] for name in demand if name in self._declared} or None

    def _slots(self) -> int:
        """Return the number of jobs that run at once."""
        demand = self._resources() or {}
        slots = 0
        for worker in self._info():
            fits = [worker["resources"][name] // amount for name, amount in demand.items() if amount]
            slots += int(min([worker["nthreads"], *fits]))
        if not slots:
            raise SourceError(
                f"no worker has the declared {' and '.join(demand)} for a job; lower --threads and --memory"
            )
        return slots


def _outcome_of(future: Future, job: Job, attempt: int) -> JobOutcome:
    """Return what a job returned, or a failure if its workers died or Dask gave up."""
    error = future.exception()
    if error is None:
        return future.result()
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return new_outcome(job, FAILURE, "the workers that ran it were killed each time", attempt=attempt)
    return new_outcome(job, FAILURE, f"{type(error).__name__}: {error}", attempt=attempt)


def _require_distributed() -> None:
    os.environ.setdefault("DASK_DISTRIBUTED__VERSION_CHECK", "0")
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "a batch needs Dask: pip install distributed (extra batch of ros_matching)"
        ) from error

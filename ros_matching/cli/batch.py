"""``ros-matching batch``: a command on many recordings, each in a process of its own, on one machine or many."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.options import hides_progress
from ros_matching.errors import ConfigError

if TYPE_CHECKING:
    from ros_matching.batch.engine import Engine
    from ros_matching.batch.job_store import Job, JobStore

_SHOWN = 10  # names in a message
_COMMANDS = ("track", "slam", "map", "mesh")
_DESCRIPTION = """\
Run a command on many recordings, and write into DIR:
  batch.md, batch.json, batch.png   summary: status, figures, time, memory
  results/NAME/                     files of the command, its log.txt and job.json
  failed/NAME/                      the same of a recording that failed, with the reason

  ros-matching batch 'bags/*.mcap' --command track --out DIR
  ros-matching batch list.txt --command map --out DIR -- --scale depth --export nerfstudio={out}/model

What follows `--` are options of the command; {out} is the folder of a recording's results, {name} its name. The same
batch again continues where it was stopped. A recording that fails is tried again and never stops the others.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "batch",
        help="process many recordings, on one machine or a cluster",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs",
        metavar="LIST|GLOB|SOURCE",
        nargs="+",
        help="text file with a source per line, quoted glob pattern, or source",
    )
    parser.add_argument("--command", dest="job_command", choices=_COMMANDS, default="track", help="(default: track)")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the batch")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="jobs at once (default: by threads and memory)"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of a job (default: 1)")
    parser.add_argument(
        "--memory", type=float, default=3.0, metavar="GB", help="largest memory of a job, 0: no limit (default: 3)"
    )
    parser.add_argument(
        "--retries", type=int, default=1, metavar="N", help="more attempts of a failed job (default: 1)"
    )
    parser.add_argument("--timeout", type=float, default=0.0, metavar="MIN", help="longest time of a job in minutes")
    parser.add_argument(
        "--scheduler", default="", metavar="ADDRESS", help="Dask scheduler, tcp://host:8786 (default: local processes)"
    )
    parser.add_argument("--restart", action="store_true", help="remove the results in DIR and begin again")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(options=[])
    return parser


def run(args: argparse.Namespace) -> int:
    """Run all jobs and summarise. Returns 1 if a recording failed, 130 when stopped by Ctrl-C."""
    from ros_matching.batch.engine import ClusterOptions, Engine
    from ros_matching.batch.job_process import JobLimits
    from ros_matching.batch.job_store import JobStore
    from ros_matching.batch.recordings import find_recordings

    _check(args)
    store, limits = JobStore(args.out), JobLimits(args.threads, 1e3 * args.memory, 60 * args.timeout)
    recordings = find_recordings(args.inputs)
    with store.opened() as token:
        if args.restart:
            store.clear()
        jobs = [_job(args, recording.name, recording.source, store, token) for recording in recordings]
        pending = store.pending(jobs)
        if not pending:
            return _conclude(args, store, jobs, [], 0.0, 0)
        started_s = time.monotonic()
        with Engine(ClusterOptions(args.scheduler, args.workers), limits) as engine:
            try:
                _run_all(engine, store, jobs, pending, args)
            finally:
                code = _conclude(args, store, jobs, pending, time.monotonic() - started_s, engine.workers)
    return code


def _check(args: argparse.Namespace) -> None:
    """Raise ``ConfigError`` for an impossible limit; exit with the message of the command for its wrong options."""
    from ros_matching.cli.main import make_parser

    for name, least in (("workers", 0), ("threads", 1), ("memory", 0), ("retries", 0), ("timeout", 0)):
        if not getattr(args, name) >= least:
            raise ConfigError(f"--{name} must be at least {least}, got {getattr(args, name)}")
    if any(option.partition("=")[0] == "--out" for option in args.options):
        raise ConfigError("every recording has its own folder in the --out of the batch; leave --out out after --")
    make_parser().parse_args([args.job_command, "SOURCE", *args.options])


def _job(args: argparse.Namespace, name: str, source: str, store: JobStore, token: str) -> Job:
    from ros_matching.batch.job_store import Job

    arguments = (args.job_command, source, *args.options, "--quiet", "--out", "{out}")
    return Job(name, source, arguments, str(store.folder), token, str(Path.cwd()))


def _run_all(
    engine: Engine, store: JobStore, jobs: Sequence[Job], pending: Sequence[Job], args: argparse.Namespace
) -> None:
    from tqdm import tqdm

    from ros_matching.batch.summary import outcome_text

    if not args.quiet:
        known = f", {len(jobs) - len(pending)} done before" if len(pending) < len(jobs) else ""
        print(f"{len(pending)} recordings, {engine.workers} at once{known}", flush=True)
    bar = tqdm(
        total=len(jobs),
        initial=len(jobs) - len(pending),
        unit="recording",
        disable=hides_progress(args.quiet),
        dynamic_ncols=True,
    )
    with bar:
        for outcome in engine.run(pending, args.retries):
            bar.update()
            if not args.quiet:
                bar.write(outcome_text(store, outcome))


def _conclude(
    args: argparse.Namespace,
    store: JobStore,
    jobs: Sequence[Job],
    pending: Sequence[Job],
    elapsed_s: float,
    workers: int,
) -> int:
    """Write and print the summary of all jobs; return the exit code."""
    from ros_matching.batch.job_store import DONE
    from ros_matching.batch.summary import BatchRun, batch_measurement, write_summary

    run = BatchRun(elapsed_s, workers, frozenset(job.name for job in pending))
    kept = ("inputs", "job_command", "options", "workers", "threads", "memory", "retries", "timeout", "scheduler")
    measurement = batch_measurement(store, jobs, run, {name: getattr(args, name) for name in kept})
    written = write_summary(measurement, store.folder)
    if not args.quiet:
        print(measurement.markdown())
        print(f"\nwritten to {store.folder}: {', '.join(path.name for path in written)}")
    failed = [job.name for job in jobs if store.outcome(job.name) is None and store.failure(job.name) is not None]
    left = [job.name for job in jobs if store.outcome(job.name) is None and job.name not in failed]
    for names, what in ((failed, "failed"), (left, "were not run")):
        if names:
            shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
            print(f"ros-matching batch: {len(names)} of {len(jobs)} recordings {what}: {shown}", file=sys.stderr)
    return 1 if failed or left or not any(store.outcome(job.name).status == DONE for job in jobs) else 0

"""``ros-matching speed``: run time of the networks on this machine."""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatch
from multiprocessing import get_context
from typing import TYPE_CHECKING

from ros_matching.errors import ConfigError

if TYPE_CHECKING:
    from ros_matching.networks.timing import Speed

_DESCRIPTION = """\
Time the networks on this machine, with random weights and random input, and show the milliseconds of a run (best and
median) and the peak memory: of the process on a CPU, of the tensors on a GPU.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("speed", help="time the networks on this machine", description=_DESCRIPTION)
    parser.add_argument("patterns", metavar="NAME", nargs="*", help="which ones; * and ? match (default: all)")
    parser.add_argument("--list", action="store_true", help="show the names and exit")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="number format of the convolutions (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: one for each core)")
    parser.add_argument("--repeats", type=int, default=8, metavar="N", help="timed runs (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object for each network")
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure, and print each result."""
    from ros_matching.networks.timing import workloads

    names = [name for name in workloads() if not args.patterns or any(fnmatch(name, p) for p in args.patterns)]
    if not names:
        raise ConfigError(f"no network matches {', '.join(args.patterns)}; --list shows their names")
    if args.list:
        print("\n".join(names))
        return 0
    if not args.json:
        print(f"| on {args.device}, {args.precision} | best ms | median ms | MB |\n|---|---|---|---|")
    for name in names:
        # One process each: on a CPU the peak memory is that of the process.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            speed = pool.submit(_measure, name, args.device, args.precision, args.threads, args.repeats).result()
        if args.json:
            print(json.dumps({"name": name, **vars(speed)}), flush=True)
        else:
            print(f"| {name} | {speed.best_ms:.1f} | {speed.median_ms:.1f} | {speed.memory_mb:.0f} |", flush=True)
    return 0


def _measure(name: str, device: str, precision: str, threads: int, repeats: int) -> Speed:
    import torch

    from ros_matching.networks.timing import measure

    if threads:
        torch.set_num_threads(threads)
    return measure(name, device, precision, repeats)

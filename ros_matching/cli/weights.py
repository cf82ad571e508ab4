"""``ros-matching weights``: list, verify and import network weights."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import ros_matching
from ros_matching.errors import CheckpointError
from ros_matching.networks.registry import entry, networks

_IMPORT = """\
Convert weights published by a network's authors into ours. Every key and every shape is checked, and the hashes if you
give them; no code in a file is run. Give the file or, where there are several, all of them or their folder.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("weights", help="list, verify and import network weights")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, what in (("list", "show where weights come from"), ("verify", "check that weights are intact and fit")):
        actions.add_parser(action, help=what).add_argument(
            "paths", metavar="PATH", nargs="*", type=Path, help="weights files, or folders of them (default: installed)"
        )
    published = [name for name, network in networks().items() if network.is_published]
    importing = actions.add_parser("import", help="convert the authors' published files", description=_IMPORT)
    importing.add_argument("network", metavar="NETWORK", help=", ".join(published))
    importing.add_argument("files", metavar="FILE", nargs="+", type=Path, help="as published: *.pth, *.pth.tar")
    importing.add_argument("--out", metavar="FILE", type=Path, help="file to write (default: NETWORK.safetensors)")
    importing.add_argument("--force", action="store_true", help="overwrite that file")
    importing.add_argument(
        "--sha256", metavar="HEX", action="append", default=[], help="hash a FILE must have; once for each FILE"
    )
    importing.add_argument("--half", action="store_true", help="store float16: half the size, four decimal digits")
    return parser


def run(args: argparse.Namespace) -> int:
    """Carry out the action."""
    return {"list": _list, "verify": _verify, "import": _import}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from ros_matching.networks.checkpoint import read_card

    files = _weights_files(args.paths)
    for file in files:
        card = read_card(file)
        print(f"{file.name}  {card.network}  {file.stat().st_size / 1e6:.1f} MB  {card.licence}")
        print(f"  {card.description}")
        print(f"  trained on: {card.trained_on}")
        print(f"  made by: {card.command} (ros_matching {card.version})")
        for name, value in card.metrics.items():
            print(f"  {name}: {value:g}")
    return _result(files)


def _verify(args: argparse.Namespace) -> int:
    files = _weights_files(args.paths)
    intact = [_is_intact(file) for file in files]
    return _result(files) if all(intact) else 2


def _is_intact(file: Path) -> bool:
    from ros_matching.networks.checkpoint import load_network

    try:
        network = load_network(file)
    except CheckpointError as error:
        print(f"ros-matching weights: {error}", file=sys.stderr)
        return False
    print(f"{file}: intact, {sum(parameter.numel() for parameter in network.parameters()):,} parameters")
    return True


def _import(args: argparse.Namespace) -> int:
    from ros_matching.networks.checkpoint import WeightsCard, load_official, save_weights
    from ros_matching.networks.published import sha256_of

    out = args.out or Path(f"{args.network}.safetensors")
    if out.exists() and not args.force:
        raise CheckpointError(f"{out} is there already; choose another --out, or --force to overwrite it")
    state = load_official(args.files, args.network, args.sha256)
    files = entry(args.network).official_files(args.files)
    names = [file.name for file in args.files]
    hashes = ", ".join(f"{file.name} (SHA-256 {sha256_of(file)})" for file in files)
    card = WeightsCard(
        network=args.network,
        description=f"the authors' weights, from {hashes}",
        trained_on="see the authors' publication",
        command=shlex.join(["ros-matching", "weights", "import", args.network, *names, *(["--half"] * args.half)]),
        licence=entry(args.network).licence,
    )
    card = save_weights(out, state, card, half=args.half)
    print(f"written to {out}: {len(state)} tensors, SHA-256 {card.sha256}")
    return 0


def _weights_files(paths: Sequence[Path]) -> list[Path]:
    """Return the named files, and those in the named folders; by default those of the package."""
    installed = Path(ros_matching.__file__).parent / "weights"
    files: list[Path] = []
    for path in paths or [installed]:
        files += sorted(path.glob("*.safetensors")) if path.is_dir() or path == installed else [path]
    return files


def _result(files: Sequence[Path]) -> int:
    if not files:
        print("ros-matching weights: no weights there; 'ros-matching weights import' makes some", file=sys.stderr)
    return 0 if files else 1

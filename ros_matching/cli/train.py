"""``ros-matching train``: train a network by its recipe."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ros_matching.cli.options import hides_progress

_DESCRIPTION = """\
Train a network and write into DIR:
  best.safetensors  the weights that validated best, with their card
  checkpoint.pt     state for --resume
  training.csv      loss and other numbers
  validation.csv    validations
Ctrl-C stops; --resume continues from the last checkpoint. For several GPUs or machines:
  torchrun --standalone --nproc-per-node N -m ros_matching.cli.main train RECIPE ...
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "train",
        help="train a network",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="which one; --list shows them", nargs="?")
    parser.add_argument("--list", action="store_true", help="show the recipes and exit")
    parser.add_argument("--list-settings", action="store_true", help="show the settings of the recipe and exit")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, metavar="M", help="time to train (default: the steps of the recipe)")
    length.add_argument("--steps", type=int, metavar="N", help="steps to train")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="images to train on (default: $ROS_MATCHING_DATA)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: training/RECIPE)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights to begin from")
    parser.add_argument("--resume", action="store_true", help="continue the run in DIR")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="train.KEY=VALUE")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that prepare samples")
    parser.add_argument("--validate-minutes", type=float, default=10.0, metavar="M", help="time between validations")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, and print the best validation."""
    from ros_matching.training.recipe import recipe_class, recipe_names

    if args.list or args.recipe is None:
        print("\n".join(recipe_names()), file=sys.stdout if args.list else sys.stderr)
        return 0 if args.list else 2
    from ros_matching.cli.settings_options import configs_from, describe

    recipe_type = recipe_class(args.recipe)
    if args.list_settings:
        print(describe({"train": recipe_type.config_class}))
        return 0
    from ros_matching.training.loop import TrainingOptions, train
    from ros_matching.training.recipe import DataFolder

    steps = [] if args.steps is None else [f"train.steps={args.steps}"]
    config = configs_from([*args.overrides, *steps], {"train": recipe_type.config_class})["train"]
    options = TrainingOptions(
        out=args.out or Path("training") / args.recipe,
        minutes=args.minutes,
        device=args.device,
        workers=args.workers,
        precision=args.precision,
        resume=args.resume,
        validate_minutes=args.validate_minutes,
        initial_weights=args.weights,
        hide_progress=hides_progress(args.quiet),
    )
    metrics = train(recipe_type(config, DataFolder.found(args.data)), options, _command(args))
    if not args.quiet:
        print(", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
        print(f"written to {options.out}: best.safetensors")
    return 0


def _command(args: argparse.Namespace) -> str:
    """Return the command for the same weights, without paths and devices of this machine."""
    words = ["ros-matching", "train", args.recipe]
    if args.minutes is not None:
        words += ["--minutes", f"{args.minutes:g}"]
    if args.steps is not None:
        words += ["--steps", str(args.steps)]
    if args.weights is not None:
        words += ["--weights", args.weights.name]
    if args.precision != "float32":
        words += ["--precision", args.precision]
    for override in args.overrides:
        words += ["--set", override]
    return shlex.join(words)

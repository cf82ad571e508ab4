"""Options that the measures of ``ros-matching evaluate`` share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.cli.options import SOURCE_KINDS
from ros_matching.errors import EvaluationError

if TYPE_CHECKING:
    from ros_matching.evaluation.data_split import PairSet
    from ros_matching.io import FrameSource
    from ros_matching.matching.pipeline import MatchingPipeline

_MATCHERS = ("default", "sift", "orb")
_SOURCE_GAPS = (1, 5, 10)
DEPTH_SEQUENCE = "hololens_000"
"""The sequence of the data folder that has depth."""
_NO_SETTINGS = {"command", "debug", "measure", "out", "quiet", "run"}


def add_measure(
    measures: argparse._SubParsersAction, name: str, help: str, description: str
) -> argparse.ArgumentParser:
    """Add the parser of a measure; its description keeps its lines."""
    formatter = argparse.RawDescriptionHelpFormatter
    return measures.add_parser(name, help=help, description=description, formatter_class=formatter)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for data and results."""
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="images with ground truth (default: $ROS_MATCHING_DATA)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the results there: Markdown, JSON and PNG")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_matcher_options(parser: argparse.ArgumentParser, default: Sequence[str] = _MATCHERS) -> None:
    """Add the options for the matchers to evaluate."""
    parser.add_argument(
        "--matcher",
        dest="matchers",
        action="append",
        default=[],
        metavar="NAME[=WEIGHTS]",
        help="matcher to evaluate, a learned one optionally with a weights file or folder; may be repeated (default: "
        f"{', '.join(default)})",
    )
    add_common_matcher_options(parser)


def add_common_matcher_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that apply to all matchers."""
    parser.add_argument(
        "--weights",
        action="append",
        type=Path,
        default=[],
        metavar="PATH",
        help="weights file, or folder of them, for all learned matchers; may be repeated",
    )
    parser.add_argument(
        "--size", type=int, default=640, metavar="PX", help="longest side; larger images are reduced (default: 640)"
    )
    parser.add_argument(
        "--keypoints", type=int, default=2048, metavar="N", help="most keypoints per image (default: %(default)s)"
    )


def add_pair_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the pairs of frames."""
    parser.add_argument(
        "--sequence",
        dest="sequences",
        action="append",
        default=[],
        metavar="NAME",
        help="only validation pairs of this sequence; may be repeated",
    )
    parser.add_argument("--source", metavar="SOURCE", help=f"pairs of all frames of a {SOURCE_KINDS} with true poses")
    parser.add_argument(
        "--gaps",
        type=int,
        nargs="+",
        metavar="N",
        help="frames from one image of a pair to the other (default: those of each sequence; of a --source, 1 5 10)",
    )
    parser.add_argument(
        "--part",
        choices=("held-out", "training"),
        default="held-out",
        help="frames of the data folder that are not used for training, for reported figures, or the others, for the "
        "choice of settings (default: %(default)s)",
    )
    parser.add_argument(
        "--step", type=int, metavar="N", help="frames from one pair to the next (default: that of each sequence)"
    )


def pair_sets(args: argparse.Namespace) -> list[tuple[FrameSource, PairSet]]:
    """Return the requested pairs with their source: those of ``--source``, or of sequences in the data folder."""
    from ros_matching.evaluation.data_split import VALIDATION_PAIRS, PairSet
    from ros_matching.io import open_source

    changes = {"gaps": None if args.gaps is None else tuple(args.gaps), "step": args.step}
    changes = {key: value for key, value in changes.items() if value is not None}
    if args.source is not None:
        source = open_source(args.source)
        return [(source, PairSet(source.name, **({"gaps": _SOURCE_GAPS} | changes), part="all"))]
    known = [pair_set.sequence for pair_set in VALIDATION_PAIRS if args.part == "held-out" or pair_set.is_trained_on]
    unknown = sorted(set(args.sequences) - set(known))
    if unknown:
        raise EvaluationError(
            f"there are no {args.part} pairs of {', '.join(unknown)}; there are of {', '.join(known)}"
        )
    root = data_folder(args)
    wanted = [pair_set for pair_set in VALIDATION_PAIRS if pair_set.sequence in (args.sequences or known)]
    return [
        (open_source(str(root / pair_set.sequence)), replace(pair_set, part=args.part, **changes))
        for pair_set in wanted
        if pair_set.sequence in known
    ]


def depth_source(args: argparse.Namespace) -> tuple[FrameSource, int]:
    """Return ``--source`` or ``DEPTH_SEQUENCE``, and the first frame that is not used for training."""
    from ros_matching.evaluation.data_split import validation_frames
    from ros_matching.io import open_source

    if args.source is not None:
        return open_source(args.source), 0
    source = open_source(str(data_folder(args) / DEPTH_SEQUENCE))
    return source, validation_frames(DEPTH_SEQUENCE, len(source)).start


def load_matchers(args: argparse.Namespace, default: Sequence[str] = _MATCHERS) -> dict[str, MatchingPipeline]:
    """Return the requested matchers by name."""
    return {name: load_matcher(name, args) for name in dict.fromkeys(args.matchers or default)}


def data_folder(args: argparse.Namespace) -> Path:
    """Return the data folder of the arguments or of the environment."""
    from ros_matching.training.recipe import DataFolder

    return DataFolder.found(args.data).root


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the conditions of a measurement for its report: parsed arguments and number of threads."""
    import torch

    arguments = {key: value for key, value in vars(args).items() if key not in _NO_SETTINGS}
    return arguments | {"threads": torch.get_num_threads()}


def load_matcher(name: str, args: argparse.Namespace) -> MatchingPipeline:
    """Return the matcher ``NAME`` or ``NAME=WEIGHTS``."""
    from ros_matching import matching

    matcher, _, weights = name.partition("=")
    learned = matcher in matching.LEARNED
    if weights and not learned:
        raise EvaluationError(f"the matcher {matcher!r} takes no weights, got {name!r}; give them with a learned one")
    given = ([Path(weights)] if weights else []) + [path for path in args.weights if _is_part(path, matcher)]
    return matching.load_matcher(
        matcher,
        device="cpu" if matcher in matching.CLASSICAL else args.device,
        weights=given if learned and given else None,
        max_keypoints=args.keypoints,
    )


def _is_part(weights: Path, matcher: str) -> bool:
    """Return True for a folder, or a file with weights of one of the networks of a matcher."""
    from ros_matching.matching.learned import has_stage_of
    from ros_matching.networks.checkpoint import read_card

    return weights.is_dir() or has_stage_of(matcher, read_card(weights).network)

"""``ros-matching evaluate``: how good front ends and networks are, on data that no training has touched."""

from __future__ import annotations

import argparse

from ros_matching.cli import (
    evaluate_alignment,
    evaluate_cloud,
    evaluate_depth,
    evaluate_features,
    evaluate_hard,
    evaluate_overlap,
    evaluate_pairs,
    evaluate_pruning,
)

_MEASURES = {
    "features": evaluate_features,
    "pairs": evaluate_pairs,
    "hard": evaluate_hard,
    "pruning": evaluate_pruning,
    "depth": evaluate_depth,
    "cloud": evaluate_cloud,
    "alignment": evaluate_alignment,
    "overlap": evaluate_overlap,
}


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser("evaluate", help="measure front ends and networks on data held out of training")
    measures = parser.add_subparsers(dest="measure", metavar="MEASURE", required=True)
    for name, measure in _MEASURES.items():
        measure.add_parser(measures, name)
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables and, where asked, write them."""
    measurement = _MEASURES[args.measure].measure(args)
    if not args.quiet:
        print(measurement.markdown())
    if args.out is not None:
        from ros_matching.evaluation.tables import write_measurement

        written = write_measurement(measurement, args.out)
        if not args.quiet:
            print(f"\nwritten to {args.out}: {', '.join(path.name for path in written)}")
    return 0

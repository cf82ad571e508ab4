"""``ros-matching evaluate``: measurements of matchers and networks on data that is not used for training."""

from __future__ import annotations

import argparse

from ros_matching.cli import evaluate_depth, evaluate_images, evaluate_pairs

_MEASURES = {
    "features": (evaluate_images.add_features_parser, evaluate_images.measure_features),
    "pairs": (evaluate_pairs.add_pairs_parser, evaluate_pairs.measure_pairs),
    "hard": (evaluate_pairs.add_hard_parser, evaluate_pairs.measure_hard),
    "pruning": (evaluate_pairs.add_pruning_parser, evaluate_pairs.measure_pruning),
    "depth": (evaluate_depth.add_depth_parser, evaluate_depth.measure_depth),
    "cloud": (evaluate_depth.add_cloud_parser, evaluate_depth.measure_cloud),
    "alignment": (evaluate_images.add_alignment_parser, evaluate_images.measure_alignment),
    "overlap": (evaluate_images.add_overlap_parser, evaluate_images.measure_overlap),
}


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "evaluate", help="evaluate matchers and networks on data that is not used for training"
    )
    measures = parser.add_subparsers(dest="measure", metavar="MEASURE", required=True)
    for name, (add_measure_parser, _) in _MEASURES.items():
        add_measure_parser(measures, name)
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables and, where asked, write them."""
    _, measure = _MEASURES[args.measure]
    measurement = measure(args)
    if not args.quiet:
        print(measurement.markdown())
    if args.out is not None:
        from ros_matching.evaluation.measurement import write_measurement

        written = write_measurement(measurement, args.out)
        if not args.quiet:
            print(f"\nwritten to {args.out}: {', '.join(path.name for path in written)}")
    return 0

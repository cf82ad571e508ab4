"""Two-view matching: extract features, match them, estimate the relative pose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ros_matching.errors import MatchingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ros_matching.matching.pipeline import MatchingPipeline

DEFAULT = "posfeat+ncnet+ncmnet"  # the matcher "default"
CLASSICAL = ("sift", "orb")
LEARNED = (
    "posfeat",
    "posfeat+ncnet",
    "posfeat+ncmnet",
    "posfeat+ncnet+ncmnet",
    "posfeat+cnngeometric",
    "posfeat+ncnet+ncmnet+cnngeometric",
)
PEERS = ("xfeat", "aliked+lightglue", "disk+lightglue")  # of other authors, for comparison
VARIANTS = ("lite", "full")  # of the learned networks
MATCHERS = ("default", *CLASSICAL, *LEARNED, *PEERS)


def load_matcher(
    name: str = "default",
    device: str = "auto",
    weights: Path | str | Sequence[Path | str] | None = None,
    *,
    variant: str = "lite",
    max_keypoints: int | None = None,
    engine: str = "auto",
    precision: str = "auto",
) -> MatchingPipeline:
    """Load a matcher: ``default`` (PoSFeat, NCNet and NCMNet) or one of ``MATCHERS``.

    Args:
        name: the matcher; peers need the extra ``peers``.
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``; classical matchers run on the CPU only.
        weights: a folder with weights, or files that each replace those of their network; by default those of the
            package. Learned matchers only.
        variant: size of the learned networks, ``lite`` or ``full``.
        max_keypoints: limit per image; by default the matcher's own.
        engine: runs the learned networks: ``torch``, ``openvino`` (on a CPU, extra ``cpu``) or ``auto``.
        precision: ``auto``, ``float32``, ``float16`` or ``bfloat16``; see ``networks.engines``.

    Raises:
        MatchingError: no matcher has this name, or it does not take an argument.
        CheckpointError: weights are missing or damaged.
        ConfigError: the device or the engine is not available.

    """
    name = DEFAULT if name == "default" else name
    if name in LEARNED:
        from ros_matching.matching.learned import load_learned

        return load_learned(name, device, weights, variant, max_keypoints, engine, precision)
    if name in CLASSICAL or name in PEERS:
        _refuse_learned_options(name, weights, engine, precision)
    if name in PEERS:
        from ros_matching.matching.peers import load_peer

        return load_peer(name, device, max_keypoints)
    if name not in CLASSICAL:
        raise MatchingError(f"unknown matcher {name!r}; choose one of: {', '.join(MATCHERS)}")
    if device not in ("auto", "cpu"):
        raise MatchingError(f"matcher {name!r} runs on the CPU only, got device {device!r}; use 'auto' or 'cpu'")
    from ros_matching.matching.classical import load_classical

    return load_classical(name, max_keypoints)


def _refuse_learned_options(name: str, weights: object, engine: str, precision: str) -> None:
    if weights is not None:
        raise MatchingError(f"matcher {name!r} has no learned weights, got {weights}; leave them out")
    if (engine, precision) != ("auto", "auto"):
        raise MatchingError(
            f"engine and precision apply to learned matchers only, got {engine!r} and {precision!r} with {name!r}"
        )

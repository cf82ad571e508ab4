"""Two-view matching: extract, match, estimate the relative pose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ros_matching.errors import MatchingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ros_matching.matching.two_view import TwoViewMatcher

DEFAULT = "posfeat+ncnet+ncmnet"  # the front end that "default" stands for
CLASSICAL = ("sift", "orb")
LEARNED = (
    "posfeat",
    "posfeat+ncnet",
    "posfeat+ncmnet",
    "posfeat+ncnet+ncmnet",
    "posfeat+cnngeometric",
    "posfeat+ncnet+ncmnet+cnngeometric",
)
PEERS = ("xfeat", "aliked+lightglue", "disk+lightglue")  # other people's, to compare with
VARIANTS = ("lite", "full")  # of the learned networks
BACKENDS = ("default", *CLASSICAL, *LEARNED, *PEERS)


def load_matcher(
    name: str = "default",
    device: str = "auto",
    weights: Path | str | Sequence[Path | str] | None = None,
    *,
    variant: str = "lite",
    max_keypoints: int | None = None,
    engine: str = "auto",
    precision: str = "auto",
) -> TwoViewMatcher:
    """The front end of that name: ``default`` (PoSFeat, NCNet and NCMNet) or one of ``BACKENDS``.

    ``device`` is ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``; the classical front ends run on the CPU and
    refuse ``cuda``. ``max_keypoints`` is the most that is kept of an image, if not the front end's own default. Peers
    need the extra ``peers``.

    The learned front ends take the weights that come with the package. ``weights`` says otherwise: a folder of them, or
    single files, each of which replaces that of its network; files of other variants, too. ``variant`` is ``lite`` or
    ``full``. ``engine`` runs their networks: ``torch``, ``openvino`` (on a CPU, extra ``cpu``) or ``auto``, and
    ``precision`` is ``auto``, ``float32``, ``float16`` or ``bfloat16``; see ``networks.engines``. Raises
    ``CheckpointError`` where weights are missing or damaged, and ``ConfigError`` for an engine that cannot be had.
    """
    name = DEFAULT if name == "default" else name
    if name in LEARNED:
        from ros_matching.matching.learned_loading import load_learned

        return load_learned(name, device, weights, variant, max_keypoints, engine, precision)
    if name in CLASSICAL or name in PEERS:
        _refuse_learned_options(name, weights, engine, precision)
    if name in PEERS:
        from ros_matching.matching.peers import load_peer

        return load_peer(name, device, max_keypoints)
    if name not in CLASSICAL:
        raise MatchingError(f"no front end is called {name!r}; there are: {', '.join(BACKENDS)}")
    if device not in ("auto", "cpu"):
        raise MatchingError(f"front end {name!r} runs on the CPU only, got device {device!r}; use 'auto' or 'cpu'")
    from ros_matching.matching.classical import load_classical

    return load_classical(name, max_keypoints)


def _refuse_learned_options(name: str, weights: object, engine: str, precision: str) -> None:
    if weights is not None:
        raise MatchingError(f"front end {name!r} takes no weights of ours, got {weights}; give them to a learned one")
    if (engine, precision) != ("auto", "auto"):
        raise MatchingError(
            f"engine and precision are for the learned front ends, got {engine!r} and {precision!r} with {name!r}"
        )

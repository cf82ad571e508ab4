"""Benchmark runs: several matchers in the same tracker on the frames of one source.

Each matcher runs in a process of its own, so its memory is measured and its failure ends only its own run.
"""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ros_matching.cli.options import front_end_label
from ros_matching.cli.track import track_frame
from ros_matching.errors import RosMatchingError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from tqdm import tqdm

    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.datatypes import Frame
    from ros_matching.evaluation.benchmark.benchmark_runs import BackendRun, Contest
    from ros_matching.evaluation.trajectory.run_report import FrameRecord, RunRecorder
    from ros_matching.io.source import FrameSource
    from ros_matching.matching.pipeline import MatchingPipeline


_GRACE_S = 10.0


@dataclass(frozen=True)
class FrontEnd:
    """What is loaded: ``load_matcher``'s name, or name and weights as ``NAME=WEIGHTS``, its device and keypoints.

    ``networks`` are further arguments of ``load_matcher`` for the learned ones: variant, engine, precision.
    """

    spec: str
    device: str = "auto"
    keypoints: int | None = None
    networks: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> MatchingPipeline:
        """The matcher. Raises ``RosMatchingError`` where it cannot be had."""
        from ros_matching.matching import CLASSICAL, LEARNED, load_matcher

        name, _, weights = self.spec.partition("=")
        return load_matcher(
            name,
            device="cpu" if name in CLASSICAL else self.device,
            weights=Path(weights) if weights else None,
            max_keypoints=self.keypoints,
            **(self.networks if name == "default" or name in LEARNED else {}),
        )


@dataclass(frozen=True)
class _Failure:
    reason: str


class Contestant:
    """Starts loading when made; ``wait_until_ready`` before the first ``track``. One call at a time.

    ``label`` is for tables, ``name`` that of the matcher once it is loaded; ``failure`` is empty until the front end
    cannot be loaded or breaks off, and then says why.
    """

    def __init__(self, front_end: FrontEnd, config: TrackingConfig) -> None:
        self.label = front_end_label(front_end.spec)
        self.name = front_end.spec
        self.failure = ""
        context = get_context("spawn")  # a fork would bring this process's memory and threads along
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, front_end, config), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Block until the front end is loaded, or has failed to."""
        self.name = self._answer() or self.name

    def track(self, frame: Frame) -> FrameRecord | None:
        """The outcome of a frame, timed over there; ``None`` when the front end has failed."""
        return self._ask(replace(frame, true_world_from_camera=None))

    def finish(self) -> float:
        """End the process; the most memory that it took, in MB, NaN when unknown."""
        peak_mb = self._ask(None)
        return float("nan") if peak_mb is None else peak_mb

    def close(self) -> None:
        """End the process, whatever it does."""
        self._connection.close()  # which ends it once it is idle
        self._process.join(_GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, question: Frame | None) -> Any:
        if self.failure:
            return None
        with contextlib.suppress(BrokenPipeError):  # the answer will tell
            self._connection.send(question)
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(_GRACE_S)
            answer = _Failure(f"its process ended with exit code {self._process.exitcode}")
        if isinstance(answer, _Failure):
            self.failure = answer.reason
            return None
        return answer


def _serve(connection: Connection, front_end: FrontEnd, config: TrackingConfig) -> None:
    from ros_matching.evaluation.trajectory.run_report import peak_memory_mb
    from ros_matching.visual_odometry import VisualOdometry

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; who started this one ends it
    logging.basicConfig(level=logging.ERROR)  # losses and new maps are in the report
    try:
        matcher = front_end.load()
        odometry = VisualOdometry(matcher, config)
        connection.send(matcher.name)
        while (frame := connection.recv()) is not None:
            connection.send(track_frame(odometry, frame)[1])
        connection.send(peak_memory_mb())
    except (EOFError, BrokenPipeError):  # nobody asks any more
        return
    except RosMatchingError as error:
        connection.send(_Failure(str(error)))
    except Exception as error:  # other people's code may fail in any way; the others go on, and the table says why
        connection.send(_Failure(f"{type(error).__name__}: {error}"))


class Race:
    """Lets front ends take turns at every frame; a context, in which their processes live."""

    def __init__(
        self, name: str, front_ends: Sequence[FrontEnd], config: TrackingConfig, *, alignment: str = "sim3"
    ) -> None:
        """``name`` is that of the sequence; ``config`` of everyone's tracker; ``alignment`` as in ``RunRecorder``."""
        from ros_matching.evaluation.trajectory.run_report import RunRecorder

        self._name = name
        self._frames = 0
        self._is_over = False
        self._recorders = [RunRecorder(name, front_end.spec, alignment=alignment) for front_end in front_ends]
        self._contestants = [Contestant(front_end, config) for front_end in front_ends]

    def __enter__(self) -> Race:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for contestant in self._contestants:
            contestant.close()

    def run(self, source: FrameSource, bar: tqdm) -> None:
        """Race to the end of the source; ``bar`` moves with the frames."""
        for contestant, recorder in zip(self._contestants, self._recorders, strict=True):
            contestant.wait_until_ready()
            recorder.backend = contestant.name
            recorder.set_calibration(source.calibration)
        for frame in source:
            if all(contestant.failure for contestant in self._contestants):
                break
            self._track(frame)
            bar.update()
        for recorder in self._recorders:
            recorder.add_faults(source.faults)
        self._is_over = True

    def contest(self) -> Contest:
        """What came of it, as far as it was run."""
        from ros_matching.evaluation.benchmark.benchmark_runs import Contest

        return Contest(self._name, self._frames, tuple(map(self._run, self._contestants, self._recorders)))

    def _track(self, frame: Frame) -> None:
        """Everyone's turn at a frame, beginning with another one each time."""
        first = self._frames % len(self._contestants)
        self._frames += 1
        for place in [*range(first, len(self._contestants)), *range(first)]:
            recorder = self._recorders[place]
            record = self._contestants[place].track(frame)
            if record is not None:
                recorder.add(record)
            if frame.true_world_from_camera is not None:
                recorder.add_truth(frame.stamp_ns, frame.true_world_from_camera)

    def _run(self, contestant: Contestant, recorder: RunRecorder) -> BackendRun:
        from ros_matching.evaluation.benchmark.benchmark_runs import BackendRun

        peak_mb = contestant.finish() if self._is_over else float("nan")
        report = recorder.report(interrupted=not self._is_over)
        return BackendRun(contestant.label, report, contestant.failure, peak_mb)

"""Benchmark runs: several matchers in the same tracker on the frames of one source.

Each matcher runs in a process of its own, so its memory is measured and its failure ends only its own run.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ros_matching.cli.options import matcher_label
from ros_matching.cli.track import frame_record, track_frame
from ros_matching.errors import RosMatchingError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    import numpy as np
    from tqdm import tqdm

    from ros_matching.atlas.config import TrackingConfig
    from ros_matching.datatypes import Frame
    from ros_matching.evaluation.benchmark.benchmark_runs import BenchmarkRun, SequenceRuns
    from ros_matching.evaluation.trajectory.run_report import FrameRecord, RunRecorder
    from ros_matching.io.source import FrameSource
    from ros_matching.matching.pipeline import MatchingPipeline


_GRACE_S = 10.0


@dataclass(frozen=True)
class MatcherSpec:
    """Matcher to load: ``NAME`` or ``NAME=WEIGHTS``, device and number of keypoints.

    ``networks`` are further arguments of ``load_matcher`` for learned matchers: variant, engine, precision. With
    ``mapping_thread`` the tracker maps keyframes in a thread; with ``slam`` the run is SLAM, in a map with loops.
    """

    name: str
    device: str = "auto"
    keypoints: int | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    mapping_thread: bool = False
    slam: bool = False

    @property
    def label(self) -> str:
        """The name in tables."""
        return matcher_label(self.name) + (", SLAM" if self.slam else "")

    def load(self) -> MatchingPipeline:
        """Return the matcher. Raises ``RosMatchingError`` if it cannot be loaded."""
        from ros_matching.matching import CLASSICAL, LEARNED, load_matcher
        from ros_matching.threads import share_cores_with_mapping

        name, _, weights = self.name.partition("=")
        if self.mapping_thread and name not in CLASSICAL:
            share_cores_with_mapping()
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


@dataclass(frozen=True)
class _End:
    """Peak memory of a process, and the stamps and poses in the map if the run was SLAM."""

    peak_mb: float
    trajectory: list[tuple[int, np.ndarray]] | None


class MatcherProcess:
    """A tracker with one matcher in a process. It starts to load when created; one call at a time.

    ``label`` is for tables, ``name`` that of the loaded matcher; ``failure`` is the reason once the matcher has
    failed. Call ``wait_until_ready`` before the first ``track``.
    """

    def __init__(self, matcher_spec: MatcherSpec, config: TrackingConfig) -> None:
        self.label = matcher_spec.label
        self.name = matcher_spec.name
        self.failure = ""
        context = get_context("spawn")  # a fork would inherit memory and threads of this process
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, matcher_spec, config), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Block until the matcher is loaded or has failed."""
        self.name = self._answer() or self.name

    def track(self, frame: Frame) -> FrameRecord | None:
        """Return the record of a frame, timed in the process; ``None`` if the matcher has failed."""
        return self._ask(replace(frame, true_world_from_camera=None))

    def finish(self) -> _End:
        """End the run; return peak memory in MB, NaN if the matcher has failed, and the trajectory of a SLAM."""
        return self._ask(None) or _End(float("nan"), None)

    def close(self) -> None:
        """End the process immediately."""
        self._connection.close()  # ends the process once it is idle
        self._process.join(_GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, question: Frame | None) -> Any:
        if self.failure:
            return None
        with contextlib.suppress(BrokenPipeError):  # the answer contains the reason
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


class _OdometryRun:
    """Visual odometry with a matcher."""

    def __init__(self, matcher: MatchingPipeline, config: TrackingConfig, *, threaded: bool) -> None:
        from ros_matching.visual_odometry import VisualOdometry

        self._odometry = VisualOdometry(matcher, config, threaded=threaded)

    def track(self, frame: Frame) -> FrameRecord:
        """Return the record of a frame."""
        return track_frame(self._odometry, frame)[1]

    def trajectory(self) -> None:
        """Odometry does not correct its poses afterwards."""
        return


class _SlamRun:
    """SLAM with a matcher."""

    def __init__(self, matcher: MatchingPipeline, config: TrackingConfig, *, threaded: bool) -> None:
        from ros_matching.slam import Slam

        self._slam = Slam(matcher, config, threaded=threaded)

    def track(self, frame: Frame) -> FrameRecord:
        """Return the record of a frame, with the pose in the odometry."""
        start = time.perf_counter()
        result = self._slam.track(frame)
        return frame_record(result.tracking, 1e3 * (time.perf_counter() - start))

    def trajectory(self) -> list[tuple[int, np.ndarray]]:
        """Return stamps and poses (4, 4) in the map after its loops."""
        self._slam.finish()
        return self._slam.trajectory()


def _serve(connection: Connection, matcher_spec: MatcherSpec, config: TrackingConfig) -> None:
    from ros_matching.evaluation.trajectory.run_report import peak_memory_mb

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent ends this one
    logging.basicConfig(level=logging.ERROR)  # losses and new maps are in the report
    try:
        matcher = matcher_spec.load()
        run = (_SlamRun if matcher_spec.slam else _OdometryRun)(matcher, config, threaded=matcher_spec.mapping_thread)
        connection.send(matcher.name)
        while (frame := connection.recv()) is not None:
            connection.send(run.track(frame))
        trajectory = run.trajectory()
        connection.send(_End(peak_memory_mb(), trajectory))
    except (EOFError, BrokenPipeError):  # the parent has closed the connection
        return
    except RosMatchingError as error:
        connection.send(_Failure(str(error)))
    except Exception as error:  # third-party code may fail in any way; the other runs continue
        connection.send(_Failure(f"{type(error).__name__}: {error}"))


class BenchmarkRunner:
    """Runs several matchers on every frame in turn; a context manager for their processes."""

    def __init__(
        self, name: str, matchers: Sequence[MatcherSpec], config: TrackingConfig, *, alignment: str = "sim3"
    ) -> None:
        """``name`` is that of the sequence; every tracker uses ``config``; ``alignment`` as in ``RunRecorder``."""
        from ros_matching.evaluation.trajectory.run_report import RunRecorder

        self._name = name
        self._frames = 0
        self._is_over = False
        self._recorders = [RunRecorder(name, matcher_spec.name, alignment=alignment) for matcher_spec in matchers]
        self._processes = [MatcherProcess(matcher_spec, config) for matcher_spec in matchers]

    def __enter__(self) -> BenchmarkRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.close()

    def run(self, source: FrameSource, bar: tqdm) -> None:
        """Track the source to its end; ``bar`` advances with the frames."""
        for process, recorder in zip(self._processes, self._recorders, strict=True):
            process.wait_until_ready()
            recorder.matcher = process.name
            recorder.set_calibration(source.calibration)
        for frame in source:
            if all(process.failure for process in self._processes):
                break
            self._track(frame)
            bar.update()
        for recorder in self._recorders:
            recorder.add_faults(source.faults)
        self._is_over = True

    def result(self) -> SequenceRuns:
        """Return the runs so far."""
        from ros_matching.evaluation.benchmark.benchmark_runs import SequenceRuns

        return SequenceRuns(self._name, self._frames, tuple(map(self._run, self._processes, self._recorders)))

    def _track(self, frame: Frame) -> None:
        """Track a frame with all matchers, beginning with another one each time."""
        first = self._frames % len(self._processes)
        self._frames += 1
        for i in [*range(first, len(self._processes)), *range(first)]:
            recorder = self._recorders[i]
            record = self._processes[i].track(frame)
            if record is not None:
                recorder.add(record)
            if frame.true_world_from_camera is not None:
                recorder.add_ground_truth(frame.stamp_ns, frame.true_world_from_camera)

    def _run(self, process: MatcherProcess, recorder: RunRecorder) -> BenchmarkRun:
        from ros_matching.evaluation.benchmark.benchmark_runs import BenchmarkRun

        end = process.finish() if self._is_over else _End(float("nan"), None)
        if end.trajectory is not None:
            recorder.place_in_map(end.trajectory)
        report = recorder.report(interrupted=not self._is_over)
        return BenchmarkRun(process.label, report, process.failure, end.peak_mb)

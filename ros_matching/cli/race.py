"""A contest of front ends over the frames of one source."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from ros_matching.cli.contestant import Contestant, FrontEnd

if TYPE_CHECKING:
    from tqdm import tqdm

    from ros_matching.datatypes import Frame
    from ros_matching.evaluation.benchmark import BackendRun, Contest
    from ros_matching.evaluation.run import RunRecorder
    from ros_matching.io.source import FrameSource
    from ros_matching.tracking import TrackingConfig


class Race:
    """Lets front ends take turns at every frame; a context, in which their processes live."""

    def __init__(
        self, name: str, front_ends: Sequence[FrontEnd], config: TrackingConfig, *, alignment: str = "sim3"
    ) -> None:
        """``name`` is that of the sequence; ``config`` of everyone's tracker; ``alignment`` as in ``RunRecorder``."""
        from ros_matching.evaluation.run import RunRecorder

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
        from ros_matching.evaluation.benchmark import Contest

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
        from ros_matching.evaluation.benchmark import BackendRun

        peak_mb = contestant.finish() if self._is_over else float("nan")
        report = recorder.report(interrupted=not self._is_over)
        return BackendRun(contestant.label, report, contestant.failure, peak_mb)

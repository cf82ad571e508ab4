"""The tracker's side of the back end: keyframes go there, and its updates are applied to the maps between frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ros_matching.atlas.atlas import Atlas
from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.map_update import MapBackEnd, MapCorrection, MapUpdate, NewKeyframe
from ros_matching.datatypes import Keyframe
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.stages import StageTimer
from ros_matching.uncertainty.pose_uncertainty import PoseUncertainty


class MapExchange:
    """Submits keyframes of the active map, and applies what the back end made of them.

    ``correct`` moves what refers to poses in the map, by a correction; its second argument is True if the active map
    was merged into another, from which no motion to earlier poses is known. ``merge_reason`` describes the last
    merge until it is taken.
    """

    def __init__(
        self,
        atlas: Atlas,
        uncertainty: PoseUncertainty,
        scale: ScaleEstimator,
        back_end: MapBackEnd,
        stages: StageTimer,
        correct: Callable[[MapCorrection, bool], None],
    ) -> None:
        self._atlas = atlas
        self._uncertainty = uncertainty
        self._scale = scale
        self._back_end = back_end
        self._stages = stages
        self._correct = correct
        self.reset()

    def reset(self) -> None:
        """Discard what was submitted."""
        self._pending: list[NewKeyframe] = []
        self._is_adjusted = True  # the map with the newest submitted keyframe has been adjusted
        self._mapped: list[Keyframe] = []
        self.merge_reason = ""
        self._mapping_ms: dict[str, float] = {}  # by stage, of the last complete update
        self._back_end.cancel()

    @property
    def is_idle(self) -> bool:
        """True if the back end works on nothing."""
        return self._back_end.is_idle

    @property
    def awaits_adjustment(self) -> bool:
        """True while the newest keyframe, its landmarks, or their adjustment are on the way."""
        return not self.is_idle and (bool(self._pending) or not self._is_adjusted)

    def forget_pending(self) -> None:
        """Do not submit the keyframes that wait: another map became active."""
        self._pending.clear()

    def submit(self, new: NewKeyframe) -> None:
        """Submit a keyframe of the active map, now or when the back end is idle."""
        self._pending.append(new)
        self._submit_pending()

    def update(self, *, wait: bool = False) -> None:
        """Apply the updates since the last frame, and submit the keyframes that wait; ``wait`` for one update."""
        update = self._back_end.take(wait=wait)
        while update is not None:
            self._apply(update)
            update = self._back_end.take()
        self._submit_pending()

    def wait_for_adjustment(self) -> None:
        """Wait until the newest keyframe has its landmarks and is adjusted; its covariance may come later."""
        while self.awaits_adjustment:
            self.update(wait=True)

    def finish(self) -> None:
        """Wait until all keyframes are mapped."""
        while not self._back_end.is_idle or self._pending:
            self.update(wait=True)

    def newly_mapped(self, id: int) -> MapKeyframe | None:
        """Return the newest keyframe, with its id, if it has its landmarks and is adjusted."""
        return None if self.awaits_adjustment else self._atlas.active.keyframe(id)

    def add_mapped(self, *keyframes: MapKeyframe) -> None:
        """Add keyframes that were mapped without the back end."""
        self._mapped += self.exported(*keyframes)

    def take_mapped(self) -> tuple[Keyframe, ...]:
        """Return the keyframes that were mapped since the last call."""
        taken, self._mapped = tuple(self._mapped), []
        return taken

    def take_merge_reason(self) -> str:
        """Return what was merged since the last call; empty if nothing was."""
        taken, self.merge_reason = self.merge_reason, ""
        return taken

    def take_mapping_ms(self) -> dict[str, float]:
        """Return the times of the last complete update since the last call."""
        taken, self._mapping_ms = self._mapping_ms, {}
        return taken

    def exported(self, *keyframes: MapKeyframe | None) -> tuple[Keyframe, ...]:
        """Return keyframes of the active map for others to use; those that are ``None`` are left out."""
        state, atlas = self._scale.report.state, self._atlas
        return tuple(atlas.active.exported(k, state, atlas.number) for k in keyframes if k is not None)

    def _submit_pending(self) -> None:
        if not self._pending or not self._back_end.is_idle:
            return
        active = self._atlas.active
        new = tuple(new for new in self._pending if active.keyframe(new.id) is not None)
        self._pending.clear()
        if not new:
            return
        self._is_adjusted = False
        self._back_end.submit(self._atlas.number, active.snapshot(), new, self._atlas.next_inactive())
        if self._back_end.runs_in_frame:
            self._apply(self._back_end.take())

    def _apply(self, update: MapUpdate | None) -> None:
        """Replace the active map by its update; covariances, scale and the last pose follow."""
        if update is None:
            return
        self._is_adjusted = update.is_adjusted
        if self._back_end.runs_in_frame:
            self._stages.add(update.stage_ms)
        elif update.is_last:
            self._mapping_ms = update.stage_ms
        number = self._atlas.number
        correction = self._atlas.apply(update)
        if correction is None:
            return
        active, merged = self._atlas.active, update.merged
        self._uncertainty.follow(active)
        if merged is not None:
            self._uncertainty.resume_map(active, active.keyframe(update.place.id), merged.drift)
            self._scale.resume(merged.scale_variance)
            self.merge_reason = f"merged map {number} into map {merged.number}: the map was moved and scaled"
        if update.adjusted is not None:
            covariance = update.adjusted.covariance
            if correction.since_snapshot != 1.0:
                covariance = covariance.rescaled(correction.since_snapshot)
            self._uncertainty.update(active, replace(update.adjusted, covariance=covariance))
        self._correct(correction, merged is not None)
        self._mapped += self.exported(*(active.keyframe(id) for id in update.keyframe_ids))

"""Random and mutated messages for the nodes, run by ``test_message_fuzz`` in a process with limited memory."""

from __future__ import annotations

import gc
import itertools
import os
import resource
import sys
import traceback
from typing import Any

import numpy as np
import rclpy
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from limited import huge_png
from mapping_peer import KnownMapper, keyframe_message
from random_messages import (
    camera_infos,
    compressed_images,
    depth_images,
    images,
    keyframe_paths,
    keyframes,
    static_transforms,
    wheel_odometries,
)
from rclpy.context import Context
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from vo_peer import CAMERA_FRAME, RELATIVE_COVARIANCE, frame_messages, noise_image, stamp_ns

from ros_matching import load_matcher
from ros_matching.datatypes import Camera, DistortionModel, Frame
from ros_matching.nodes.common.conversions import (
    camera_to_msg,
    header_to_msg,
    image_to_compressed_msg,
)
from ros_matching.nodes.common.problems import Problem
from ros_matching.nodes.common.spinning import isolate
from ros_matching.nodes.mapping.mapping_node import MappingNode
from ros_matching.nodes.mapping.pipeline import ReceivedKeyframe
from ros_matching.nodes.vo.pipeline import ReceivedImage
from ros_matching.nodes.vo.vo_node import VoNode
from ros_matching.odometry.input_checks import InputChecks
from ros_matching.odometry.result import TrackingResult, TrackingStatus
from ros_matching.visual_odometry import VisualOdometry

STATE: dict[str, Any] = {}
NUMBERS = itertools.count()
FAILED = ("please report", "failed (", "Traceback")


class CheckingTracker:
    """A tracker that keeps nothing, and insists on what the real one relies on."""

    def __init__(self, matcher: Any, config: Any, scale: Any) -> None:
        self.resets, self.tracked = 0, 0
        self._continuity = InputChecks()

    def reset(self) -> None:
        self.resets += 1
        self._continuity.reset()

    def close(self) -> None:
        pass

    def finish(self) -> tuple:
        return ()

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        return {}

    def track(self, frame: Frame) -> TrackingResult:
        self._continuity.require(frame)
        self.tracked += 1
        return TrackingResult(
            frame.index,
            frame.stamp_ns,
            TrackingStatus.TRACKING,
            "",
            world_from_camera=np.eye(4),
            covariance=RELATIVE_COVARIANCE,
            map_id=1,
        )


class CountingOdometry(VisualOdometry):
    """The real tracker, which counts its resets after the first."""

    resets = -1

    def reset(self) -> None:
        super().reset()
        self.resets += 1


def address_space_mib() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def problems_of(node: Any) -> list[str]:
    return list(node._problems.present().values())


def report(name: str, msg: Any) -> None:
    """End the process with the exception and the message that caused it."""
    text, why = repr(msg), traceback.format_exc()
    print(f"{name}: {text[:1500]} ... {text[-500:]}\n{why[-3000:]}", file=sys.stderr, flush=True)
    os._exit(1)


def fuzz(name: str, feed: Any, resets: Any, problems: Any, examples: int) -> None:
    """Run ``feed(draw)``, which takes one odd message and good ones, many times."""
    state = {"resets": resets(), "memory": 0.0, "examples": 0}

    # Nodes have a past, so a failure cannot be made smaller by running it again.
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data: Any) -> None:
        feed(data.draw)
        try:
            present = problems()
            assert not any(word in text for text in present for word in FAILED), present
            assert all(len(text) < 3000 for text in present)
            assert resets() == state["resets"], f"{resets()} resets after one odd message"
        except AssertionError:
            report(name, STATE["last"])
        state["examples"] += 1
        if state["examples"] == examples // 2:
            gc.collect()
            state["memory"] = address_space_mib()

    run()
    gc.collect()
    grown = address_space_mib() - state["memory"]
    assert grown < 50, f"{name}: {grown:.0f} MiB grown in {examples // 2} examples"
    print(f"{name}: {state['examples']} examples, {grown:.0f} MiB grown")


def offer(take: Any, msg: Any) -> None:
    """Hand an odd message to the node."""
    STATE["last"] = msg
    try:
        take(msg)
    except Exception:
        report("an exception", msg)


def start(make: Any, **parameters: Any) -> Any:
    isolate()
    context = Context()
    rclpy.init(context=context)
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = make(context=context, parameter_overrides=overrides)
    assert node.bring_up()
    return node


def fuzz_vo(scale_source: str, matcher: str, transport: str, limit: Any, examples: int) -> None:
    real = matcher != "known"
    node = start(
        lambda **options: VoNode(
            load=lambda name, device: load_matcher("sift"),
            make_tracker=CountingOdometry if real else CheckingTracker,
            **options,
        ),
        **{"scale.source": scale_source, "transport": transport, "camera_info_wait_s": 0.0, "scale_wait_s": 0.0},
    )
    pipeline, scale = node._pipeline, node._scale_input
    clock = {"s": 1000.0}

    def take_image(msg: Any) -> None:
        clock["s"] += 0.033
        node._statistics.count_stamp(0)
        pipeline.process(ReceivedImage(msg, clock["s"]))

    def take_good(number: int, with_info: bool = True) -> None:
        msg, info = frame_messages(number)
        if with_info:
            node._on_camera_info(info)
        take_image(image_to_compressed_msg(noise_image(number), msg.header) if transport == "compressed" else msg)

    kinds = {
        "image": (compressed_images if transport == "compressed" else images, take_image),
        "camera_info": (camera_infos, node._on_camera_info),
        "tf": (static_transforms, node_transforms(node)),
    }
    if scale_source == "depth":
        kinds["depth"] = (depth_images, scale._on_image)
    elif scale_source == "stereo":
        kinds["right"] = (compressed_images if transport == "compressed" else images, scale._on_image)
        kinds["right_info"] = (camera_infos, scale._on_right_info)
    elif scale_source == "wheel":
        kinds["wheel"] = (wheel_odometries, scale._on_wheel_odometry)

    def feed(draw: Any) -> None:
        make, take = kinds[draw(st.sampled_from(sorted(kinds)))]
        for _ in range(draw(st.integers(1, 2))):
            take_good(next(NUMBERS))
        offer(take, draw(make(next(NUMBERS))))
        take_good(next(NUMBERS), with_info=draw(st.booleans()))
        for _ in range(3):  # until an odd stamp that was just ahead has passed
            take_good(next(NUMBERS))
        node._statistics.take_window()  # as the diagnostics do every second

    take_good(next(NUMBERS))
    limit(1024)
    fuzz(
        f"vo_node {scale_source} {matcher}",
        feed,
        lambda: pipeline._parts.tracker.resets,
        lambda: problems_of(node),
        examples,
    )
    statistics = node._statistics
    print(statistics.refusals, "tracked", statistics.tracked, "lost", statistics.lost)
    # All good images are tracked, but those that an odd one may delay: of another calibration, or just ahead in time.
    assert real or statistics.tracked > 4 * examples, statistics.tracked
    assert sum(statistics.refusals.values()) > 0.03 * examples, statistics.refusals
    sys.stdout.flush()
    os._exit(0)


def node_transforms(node: Any) -> Any:
    from ros_matching.nodes.vo.extrinsics_input import ExtrinsicsInput

    return next(
        subscription_owner
        for subscription_owner in gc.get_objects()
        if isinstance(subscription_owner, ExtrinsicsInput) and subscription_owner._node is node
    )._on_transforms


def fuzz_mapping(limit: Any, examples: int) -> None:
    node = start(lambda **options: MappingNode(load=ForgetfulMapper, **options))
    pipeline, mapper = node._pipeline, node._pipeline._parts.mapper

    def take(msg: Any) -> None:
        pipeline.process(ReceivedKeyframe(msg, 0.0))

    def feed(draw: Any) -> None:
        for _ in range(2):
            take(keyframe_message(next(NUMBERS)))
        if draw(st.booleans()):
            offer(take, draw(keyframes(next(NUMBERS))))
        else:
            offer(node._on_corrections, draw(keyframe_paths(next(NUMBERS))))
        for _ in range(3):
            take(keyframe_message(next(NUMBERS)))
        node._statistics.take_window()

    limit(1024)
    fuzz("mapping_node", feed, lambda: mapper.clears, lambda: problems_of(node), examples)
    os._exit(0)


def huge(limit: Any) -> None:
    """Small messages that claim to be huge, to all inputs of both nodes, in memory that is no larger than they."""
    header = header_to_msg(stamp_ns(0), CAMERA_FRAME)
    png = CompressedImage(header=header, format="png", data=huge_png(32_000))
    large = camera_to_msg(
        Camera(12_000, 12_000, 9000.0, 9000.0, 6000.0, 6000.0, DistortionModel.PLUMB_BOB, (0.1,) * 4), header
    )
    claim = Image(header=header, width=12_000, height=12_000, step=36_000, encoding="rgb8", data=bytes(1000))
    vo = start(
        lambda **options: VoNode(
            load=lambda name, device: load_matcher("sift"), make_tracker=CheckingTracker, **options
        ),
        **{"scale.source": "stereo", "camera_info_wait_s": 0.0, "scale_wait_s": 0.0},
    )
    mapping = start(lambda **options: MappingNode(load=ForgetfulMapper, **options))
    msg, info = frame_messages(0)
    process = lambda image, number: vo._pipeline.process(ReceivedImage(image, number * 0.033))  # noqa: E731
    limit(200)
    vo._on_camera_info(large)
    process(msg, 0)
    assert any("12000x12000" in text for text in problems_of(vo)), problems_of(vo)
    vo._on_camera_info(info)
    for number, odd in enumerate((png, claim), start=1):
        odd.header = header_to_msg(stamp_ns(2 * number), CAMERA_FRAME)
        process(odd, 2 * number)
        assert any("32000" in text or "1024000000" in text or "12000x12000" in text for text in problems_of(vo))
        vo._scale_input._on_right_info(large)
        odd.header = header_to_msg(stamp_ns(2 * number + 1), CAMERA_FRAME)
        vo._scale_input._on_image(odd)
        process(frame_messages(2 * number + 1)[0], 2 * number + 1)
        assert Problem.SCALE in vo._problems.present()
    keyframe = keyframe_message(0)
    keyframe.image = claim
    mapping._pipeline.process(ReceivedKeyframe(keyframe, 0.0))
    keyframe.camera_info = large
    mapping._pipeline.process(ReceivedKeyframe(keyframe, 0.0))
    assert mapping._statistics.refused == 2
    assert vo._pipeline._parts.tracker.tracked == 2
    print("bounded")
    sys.stdout.flush()
    os._exit(0)


class ForgetfulMapper(KnownMapper):
    """Keeps the newest keyframes only."""

    def add(self, keyframe: Any) -> Any:
        for kept in (self.keyframes, self.poses):
            while len(kept) > 5:
                del kept[next(iter(kept))]
        self.seen.clear()
        return super().add(keyframe)

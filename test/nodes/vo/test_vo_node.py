"""The life of vo_node: transitions, services, parameters, failures."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_peer import wait_until
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool
from vo_peer import CAMERA_FRAME, RELATIVE, KnownMatcher, KnownTracker, VoPeer, frame_messages, stamp_ns

from ros_matching.errors import ConfigError, MatchingError, NodeError
from ros_matching.io import open_source
from ros_matching.io.trajectory import read_kitti, read_tum
from ros_matching.msg import VoStatus
from ros_matching.networks.checkpoint import WEIGHTS_FOLDER
from ros_matching.nodes.common.conversions import camera_to_msg, header_to_msg, image_to_msg
from ros_matching.nodes.common.spinning import spinning
from ros_matching.nodes.vo.vo_node import VoNode

pytestmark = pytest.mark.ros

SUCCESS = TransitionCallbackReturn.SUCCESS


def test_a_tracker_that_fails_is_reset_and_told(start_vo):
    _, tracker, peer = start_vo()
    peer.send_frame(0)
    tracker.error = ZeroDivisionError("what now")
    assert "ZeroDivisionError: what now" in peer.send_frame(1).reason
    assert peer.diagnosis("what now").level == DiagnosticStatus.ERROR
    assert tracker.resets == 1
    tracker.error = None
    assert peer.send_frame(2).state == VoStatus.INITIALIZING
    assert peer.send_frame(3).state == VoStatus.TRACKING
    peer.diagnosis("tracking")


def test_the_services(start_vo, tmp_path):
    node, tracker, peer = start_vo()
    assert "no image has been tracked" in _save(node, peer, tmp_path / "early.tum").message
    for number in range(4):
        peer.send_frame(number)
    answer = _save(node, peer, tmp_path / "new" / "trajectory.tum")
    assert answer.success
    assert str(tmp_path / "new" / "trajectory.tum") in answer.message
    saved = read_tum(tmp_path / "new" / "trajectory.tum")
    assert saved.stamps_ns.tolist() == [stamp_ns(number) for number in (1, 2, 3)]
    np.testing.assert_allclose(saved.world_from_camera[2], RELATIVE @ RELATIVE @ RELATIVE, atol=1e-6)
    assert _save(node, peer, tmp_path / "t.kitti", "kitti").success
    assert len(read_kitti(tmp_path / "t.kitti")) == 3

    assert peer.call("pause", SetBool.Request(data=True)).success
    assert "paused" in peer.send_frame(4).reason
    assert len(tracker.frames) == 4
    assert peer.call("pause", SetBool.Request(data=False)).success
    assert peer.send_frame(5).state == VoStatus.TRACKING

    assert peer.call("reset").success
    assert peer.send_frame(6).state == VoStatus.INITIALIZING
    assert tracker.resets == 1
    assert "no image has been tracked" in _save(node, peer, tmp_path / "late.tum").message


def test_the_life_of_the_node(start_vo):
    node, tracker, peer = start_vo()
    peer.send_frame(0)
    assert node._matcher.matched == 1  # the warm-up
    refused = node.set_parameters([Parameter("tracking.min_inliers", value=30)])[0]
    assert not refused.successful
    assert "clean up" in refused.reason
    assert not node.set_parameters([Parameter("trajectory_format", value="paper")])[0].successful

    assert node.trigger_deactivate() == SUCCESS
    assert "inactive" in peer.diagnosis("inactive").message
    peer.images.publish(frame_messages(1)[0])
    assert node.trigger_activate() == SUCCESS
    peer.settle()
    assert peer.send_frame(2).state == VoStatus.TRACKING
    assert [frame.stamp_ns for frame in tracker.frames] == [stamp_ns(0), stamp_ns(2)]

    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    answer = peer.call("reset")
    assert not answer.success
    assert "unconfigured" in answer.message
    assert node.set_parameters([Parameter("tracking.min_inliers", value=30)])[0].successful
    assert node.trigger_configure() == SUCCESS
    assert node._pipeline._parts.tracker.config.min_inliers == 30


def test_a_transition_that_cannot_be_is_refused_and_survived(start_vo):
    _, _, peer = start_vo()
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert not peer.call("change_state", request).success
    assert peer.send_frame(0).state == VoStatus.INITIALIZING


def test_the_log_of_the_library_goes_to_ros(start_vo, capfd):
    start_vo(settle=False)
    logging.getLogger("ros_matching.odometry.some_part").warning("the scale is a guess")
    wait_until(lambda: "[WARN]" in (text := capfd.readouterr().err) and "the scale is a guess" in text)


def test_a_matcher_that_does_not_load_is_reported(context, capfd):
    def load(name, device):
        raise MatchingError(f"there is no matcher {name!r}")

    node = VoNode(load=load, context=context, parameter_overrides=[Parameter("matcher", value="magic")])
    assert not node.bring_up()
    assert node.state == "unconfigured"
    node.destroy_node()
    assert "magic" in capfd.readouterr().err


def test_a_transition_that_fails_leaves_nothing_behind(context, capfd):
    class ColdMatcher(KnownMatcher):
        def match_images(self, rgb0, rgb1):
            raise RuntimeError("too cold")

    node = VoNode(load=lambda name, device: ColdMatcher(), make_tracker=KnownTracker, context=context)
    before = {publisher.topic_name for publisher in node.publishers}
    assert not node.bring_up()
    assert "too cold" in capfd.readouterr().err
    assert node.state == "unconfigured"
    assert {publisher.topic_name for publisher in node.publishers} == before
    assert not any(subscription.topic_name in ("/image", "/tf_static") for subscription in node.subscriptions)
    node.destroy_node()


@pytest.mark.parametrize(
    ("name", "value", "error"), [("transport", "pigeon", ConfigError), ("path_length", 0, NodeError)]
)
def test_a_wrong_parameter_keeps_the_node_from_starting(context, name, value, error):
    with pytest.raises(error, match=name):
        VoNode(context=context, parameter_overrides=[Parameter(name, value=value)])


BAD_FRAMES = [{"odom_frame": "/odom"}, {"base_frame": ""}, {"odom_frame": ""}, {"camera_frame": "/eye"}]
BAD_FRAMES += [{"base_frame": "base link"}, {"odom_frame": "base_link"}]


@pytest.mark.parametrize("frames", BAD_FRAMES, ids=str)
def test_frames_that_tf2_does_not_take_keep_the_node_from_starting(context, frames):
    with pytest.raises(ConfigError, match=r"|".join(frames)):
        VoNode(context=context, parameter_overrides=[Parameter(name, value=value) for name, value in frames.items()])


def test_former_names_of_parameters_still_work_with_a_warning(start_vo):
    node, _, peer = start_vo(backend="orb", camera_mount="identity", camera_extrinsics="tf")
    peer.send_frame(0)
    warning = peer.diagnosis("deprecated").message
    assert "use matcher" in warning
    assert "use camera_extrinsics" in warning
    assert (node._config.matcher, node._config.camera_extrinsics) == ("orb", "identity")


def test_misspelt_parameters_are_warned_of(start_vo, capfd):
    topics = "qos_overrides./imgae.subscription.reliability"
    _, _, peer = start_vo(**{"tracking.min_inlier": 30, topics: "reliable"})
    peer.send_frame(0)
    diagnosis = peer.diagnosis("tracking.min_inlier")
    assert "did you mean tracking.min_inliers?" in diagnosis.message
    assert topics in diagnosis.message
    assert "tracking.min_inlier," in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("/image.subscription.reliability", "relieble", "reliable, best_effort"),
        ("/image.subscription.history", "keep_some", "keep_last"),
        ("/image.subscription.depth", -3, "from 1 to"),
        ("/image.subscription.depth", "a", "from 1 to"),
        ("/image.subscription.reliability", 3, "reliable, best_effort"),
        ("/image.subscription.durabilty", "volatile", "durabilty"),
        ("/image.subscriber.depth", 3, "subscription"),
        ("image.subscription.depth", 3, "/full/topic"),
    ],
)
def test_an_override_of_the_quality_of_service_that_cannot_be_used_is_reported_at_the_start(
    context, name, value, words
):
    with pytest.raises(NodeError, match=words):
        VoNode(context=context, parameter_overrides=[Parameter(f"qos_overrides.{name}", value=value)])


def test_the_frames_have_the_prefix(start_vo):
    _, _, peer = start_vo(frame_prefix="robot1/")
    for number in range(2):
        peer.send_frame(number)
    odometry = peer.last("odom")
    assert (odometry.header.frame_id, odometry.child_frame_id) == ("robot1/odom", "robot1/base_link")
    assert peer.last("vo_status").header.frame_id == CAMERA_FRAME  # the driver's own name


def _save(node, peer, path, file_format="tum"):
    settings = [Parameter("trajectory_file", value=str(path)), Parameter("trajectory_format", value=file_format)]
    assert all(result.successful for result in node.set_parameters(settings))
    return peer.call("save_trajectory")


def test_a_robot_brings_its_own_weights(context, tmp_path):
    """The whole pipeline on copies of the weights, which vo_node gets by their path, on a rendered sequence."""
    for name in ("posfeat_lite", "ncnet_lite", "ncmnet_lite"):
        shutil.copy(WEIGHTS_FOLDER / f"{name}.safetensors", tmp_path)
    parameters = {
        "matcher": "posfeat+ncnet+ncmnet",
        "weights": f"{tmp_path}:{tmp_path / 'posfeat_lite.safetensors'}",
        "variant": "lite",
        "precision": "float32",
        "max_keypoints": 400,
        "camera_extrinsics": "identity",
    }
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node, peer = VoNode(context=context, parameter_overrides=overrides), VoPeer(context)
    assert node.bring_up()
    with spinning(SingleThreadedExecutor(context=context), node, peer):
        peer.settle()
        for frame in open_source("scene:room?seed=1&frames=12&fps=4&width=160&height=128"):
            header = header_to_msg(frame.stamp_ns, CAMERA_FRAME)
            status = peer.send(image_to_msg(frame.image, header), camera_to_msg(frame.camera, header))
    assert status.state == VoStatus.TRACKING
    assert 50 < status.keypoints <= 400


def test_weights_that_are_not_there_fail_the_configuration(context, tmp_path):
    overrides = [Parameter("weights", value=str(tmp_path)), Parameter("backend", value="posfeat")]
    node = VoNode(context=context, parameter_overrides=overrides)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    node.destroy_node()

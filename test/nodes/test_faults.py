"""A fault injected into each callback, service and transition of the nodes is reported, and the node lives on."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry, Path
from node_peer import wait_until
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool
from tf2_msgs.msg import TFMessage

from ros_matching.io.point_clouds import read_cloud

pytestmark = pytest.mark.ros

NODES = "ros_matching.nodes."
FAULTS = [RuntimeError("injected"), MemoryError("injected"), OSError(28, "injected")]


def inject(monkeypatch, target: str, fault: Exception) -> None:
    def fail(*args, **options):
        raise fault

    monkeypatch.setattr(NODES + target, fail)


def change(peer, transition: int):
    return peer.call("change_state", ChangeState.Request(transition=Transition(id=transition)))


VO_SERVICES = {
    "reset": ("vo.pipeline.VoPipeline.reset", None),
    "pause": ("vo.vo_node.VoServices._pause", SetBool.Request(data=True)),
    "save_trajectory": ("vo.trajectory_record.TrajectoryRecord.save", None),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_services_of_vo_node(start_vo, monkeypatch, fault):
    _, _, peer = start_vo()
    for service, (target, request) in VO_SERVICES.items():
        with monkeypatch.context() as patch:
            inject(patch, target, fault)
            answer = peer.call(service, request)
            assert not answer.success
            assert "injected" in answer.message
    peer.send_frame(0)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_services_of_mapping_node(start_mapping, monkeypatch, fault):
    _, _, peer = start_mapping()
    for service, target in {
        "save_cloud": "mapping.mapping_node.save_cloud",
        "save_map": "mapping.mapping_node.save_map",
        "clear": "mapping.pipeline.MappingPipeline.clear",
    }.items():
        with monkeypatch.context() as patch:
            inject(patch, target, fault)
            answer = peer.call(service)
            assert not answer.success
            assert "injected" in answer.message
    peer.send(0)
    peer.last("dense_cloud")


UP = [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE]
DOWN = [Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP]
VO_PARTS = [
    "vo.vo_node.VoOutputs",
    "vo.vo_node.VoPipeline",
    "vo.vo_node.warm_up",
    "vo.vo_node.ImageInput",
    "vo.vo_node.ScaleInput.subscribe",
    "common.worker.Worker.stop",
    "vo.image_input.ImageInput.destroy",
    "vo.outputs.VoOutputs.destroy",
    "vo.extrinsics_input.ExtrinsicsInput.destroy",
]
MAPPING_PARTS = [
    "mapping.mapping_node.MappingOutputs",
    "mapping.mapping_node.Worker",
    "mapping.mapping_node.load_map",
    "mapping.mapping_node.KeyframeInput",
    "mapping.keyframe_input.KeyframeInput.destroy",
    "mapping.pipeline.MappingPipeline.finish",
    "mapping.pipeline.MappingPipeline.publish_map",
    "common.worker.Worker.cancel",
    "common.worker.Worker.stop",
    "mapping.outputs.MappingOutputs.destroy",
]


def assert_survives_its_transitions(peer, node, monkeypatch, part: str) -> None:
    """Down and up with the fault, then without: nothing but an answer and a report."""
    with monkeypatch.context() as patch:
        inject(patch, part, RuntimeError("injected"))
        for transition in [*DOWN, *UP]:
            change(peer, transition)
        assert node.state in ("unconfigured", "inactive", "active")
    for transition in [*DOWN, *UP]:
        change(peer, transition)
    wait_until(lambda: node.state == "active")
    peer.settle()


@pytest.mark.parametrize("part", VO_PARTS)
def test_transitions_of_vo_node(start_vo, monkeypatch, capfd, part):
    node, _, peer = start_vo()
    assert_survives_its_transitions(peer, node, monkeypatch, part)
    assert "injected" in capfd.readouterr().err
    peer.send_frame(0)


@pytest.mark.parametrize("part", MAPPING_PARTS)
def test_transitions_of_mapping_node(start_mapping, monkeypatch, capfd, part):
    node, _, peer = start_mapping()
    assert_survives_its_transitions(peer, node, monkeypatch, part)
    assert "injected" in capfd.readouterr().err
    peer.send(0)
    peer.last("dense_cloud")


@pytest.mark.parametrize("part", ["common.worker.Worker.stop", "vo.outputs.VoOutputs.destroy"])
def test_a_shutdown_that_fails_shuts_down(start_vo, monkeypatch, part):
    node, _, peer = start_vo()
    inject(monkeypatch, part, RuntimeError("injected"))
    change(peer, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert node.state == "finalized"
    assert not peer.call("reset").success


def test_after_the_shutdown_no_diagnosis_advises_to_configure(start_vo):
    node, _, peer = start_vo()
    assert change(peer, Transition.TRANSITION_ACTIVE_SHUTDOWN).success
    peer.diagnosis("shut down")
    assert "start" in peer.call("reset").message
    assert node.state == "finalized"


VO_CALLBACKS = {
    "vo.calibration_input.CalibrationInput.update": (CameraInfo, "camera_info"),
    "common.worker.Worker.submit": (Image, "image"),
    "common.extrinsics.StaticTransforms.update": (TFMessage, "/tf_static"),
    "vo.scale_input.ScaleInput._on_wheel_odometry": (Odometry, "wheel_odom"),
}


@pytest.mark.parametrize("part", VO_CALLBACKS)
def test_callbacks_of_vo_node(start_vo, monkeypatch, part):
    message_type, topic = VO_CALLBACKS[part]
    inject(monkeypatch, part, RuntimeError("injected"))
    _, _, peer = start_vo(camera_extrinsics="tf", **{"scale.source": "wheel"})
    publisher = peer.static_transforms if topic == "/tf_static" else peer.create_publisher(message_type, topic, 10)
    wait_until(publisher.get_subscription_count)
    publisher.publish(message_type())
    assert "injected" in peer.diagnosis("please report this").message
    assert peer.call("reset").success


@pytest.mark.parametrize("part", ["mapping.pipeline.PoseCorrections.receive", "common.worker.Worker.submit"])
def test_callbacks_of_mapping_node(start_mapping, monkeypatch, part):
    _, _, peer = start_mapping()
    with monkeypatch.context() as patch:
        inject(patch, part, RuntimeError("injected"))
        peer.paths.publish(Path())
        peer.send(0)
        assert "injected" in peer.diagnosis("please report this").message
    peer.send(1)
    peer.last("dense_cloud")


@pytest.mark.parametrize("part", ["vo.vo_node.vo_report", "vo.image_input.ImageInput.watch"])
def test_failing_diagnostics_are_reported(start_vo, monkeypatch, part):
    _, _, peer = start_vo()
    with monkeypatch.context() as patch:
        inject(patch, part, RuntimeError("injected"))
        assert "injected" in peer.diagnosis("please report this").message
    peer.diagnosis("waiting for the first image")


BAD_FILES = ["~nosuchuser/map.ply", "{loop}/map.ply", "{folder}", "{file}/map.ply", "/proc/map.ply"]


@pytest.fixture
def bad_file(tmp_path, request):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder.ply").mkdir()
    (tmp_path / "file").touch()
    return request.param.format(loop=tmp_path / "loop", folder=tmp_path / "folder.ply", file=tmp_path / "file")


@pytest.mark.parametrize("bad_file", BAD_FILES, indirect=True)
def test_a_map_that_cannot_be_written_is_reported_in_the_service_and_at_the_end(start_mapping, bad_file, capfd):
    node, _, peer = start_mapping(save_at_end=True)
    peer.send(0)
    peer.last("dense_cloud")
    answer = peer.save(node, bad_file)
    assert not answer.success
    assert "cloud_file" in answer.message
    assert change(peer, Transition.TRANSITION_DEACTIVATE).success
    assert "not saved" in capfd.readouterr().err
    assert node.state == "inactive"


@pytest.mark.parametrize("bad_file", BAD_FILES, indirect=True)
def test_a_trajectory_that_cannot_be_written_is_reported(start_vo, bad_file):
    node, _, peer = start_vo()
    for number in range(2):
        peer.send_frame(number)
    assert node.set_parameters([Parameter("trajectory_file", value=bad_file)])[0].successful
    answer = peer.call("save_trajectory")
    assert not answer.success
    assert "trajectory_file" in answer.message
    peer.send_frame(2)


@pytest.mark.parametrize(
    "part",
    [
        "mapping.pipeline.MappingPipeline.finish",
        "mapping.pipeline.MappingPipeline.publish_map",
        "common.worker.Worker.cancel",
    ],
)
def test_a_fault_at_the_end_does_not_lose_the_map(start_mapping, monkeypatch, tmp_path, part):
    node, _, peer = start_mapping(save_at_end=True, cloud_file=str(tmp_path / "end.ply"))
    peer.send(0)
    peer.last("dense_cloud")
    inject(monkeypatch, part, RuntimeError("injected"))
    change(peer, Transition.TRANSITION_DEACTIVATE)
    assert len(read_cloud(tmp_path / "end.ply")) == 5
    assert node.state == "inactive"


def test_an_image_that_cannot_be_converted_has_a_status_with_the_reason(start_vo, monkeypatch):
    _, tracker, peer = start_vo()
    peer.send_frame(0)
    with monkeypatch.context() as patch:
        inject(patch, "vo.image_input.image_from_msg", MemoryError("injected"))
        assert "injected" in peer.send_frame(1).reason
    peer.send_frame(2)
    assert (len(tracker.frames), tracker.resets) == (2, 0)

"""Fixtures of the tests of nodes."""

from __future__ import annotations

import contextlib

import pytest


@pytest.fixture
def context():
    """A ROS context in a domain of its own."""
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    from ros_matching.nodes.common.spinning import isolate

    isolate()
    context = rclpy.context.Context()
    rclpy.init(context=context)
    yield context
    context.try_shutdown()


@pytest.fixture
def start_vo(context, monkeypatch):
    """Bring up vo_node with these parameters, and its peer, and give (node, tracker, peer)."""
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter
    from vo_peer import KnownMatcher, KnownTracker, VoPeer

    from ros_matching.nodes.common.spinning import spinning
    from ros_matching.nodes.vo.vo_node import VoNode

    monkeypatch.setattr("ros_matching.nodes.common.managed_node.DIAGNOSTICS_PERIOD_S", 0.1)
    with contextlib.ExitStack() as stack:

        def start(*, listen_to=None, latched_info=False, settle=True, **parameters):
            parameters = {"camera_extrinsics": "identity", **parameters}
            trackers = []

            def make_tracker(matcher, config, scale):
                trackers.append(KnownTracker(matcher, config, scale))
                return trackers[-1]

            node = VoNode(
                load=lambda name, device: KnownMatcher(),
                make_tracker=make_tracker,
                context=context,
                parameter_overrides=[Parameter(name, value=value) for name, value in parameters.items()],
            )
            options = {} if listen_to is None else {"listen_to": listen_to}
            compressed = parameters.get("transport") == "compressed"
            peer = VoPeer(context, latched_info=latched_info, compressed=compressed, **options)
            assert node.bring_up()
            stack.enter_context(spinning(SingleThreadedExecutor(context=context), node, peer))
            if settle:
                peer.settle()
            return node, trackers[0], peer

        yield start


@pytest.fixture
def start_mapping(context, monkeypatch):
    """Bring up mapping_node with these parameters, and its peer, and give (node, mapper, peer)."""
    from mapping_peer import KnownMapper, MappingPeer
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    from ros_matching.nodes.common.spinning import spinning
    from ros_matching.nodes.mapping.mapping_node import MappingNode

    monkeypatch.setattr("ros_matching.nodes.common.managed_node.DIAGNOSTICS_PERIOD_S", 0.1)
    with contextlib.ExitStack() as stack:

        def start(*, listen_to=None, **parameters):
            mappers = []

            def load(device, config, **options):
                mappers.append(KnownMapper(device, config, **options))
                return mappers[-1]

            overrides = [Parameter(name, value=value) for name, value in parameters.items()]
            node = MappingNode(load=load, context=context, parameter_overrides=overrides)
            peer = MappingPeer(context, **({} if listen_to is None else {"listen_to": listen_to}))
            assert node.bring_up()
            stack.enter_context(spinning(SingleThreadedExecutor(context=context), node, peer))
            peer.settle()
            return node, mappers[0], peer

        yield start

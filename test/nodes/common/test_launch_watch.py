"""When a launch ends, how, and why."""

from __future__ import annotations

from ros_matching.nodes.common.launch_watch import OPTIONAL, Decision, LaunchWatch, Role

REPLAY = Role(may_finish=True, ends_launch=True)
NOTHING = Decision()


class Launch:
    """A watch and its processes, by name."""

    def __init__(self, **roles: Role) -> None:
        self.watch = LaunchWatch()
        self.numbers = {name: self.watch.expect(name, role) for name, role in roles.items()}
        for number in self.numbers.values():
            self.watch.started(number)

    def ended(self, name: str, code: int = 0, *, is_shutdown: bool = False) -> Decision:
        return self.watch.ended(self.numbers[name], code, is_shutdown=is_shutdown)

    def wrote(self, name: str, text: str) -> None:
        self.watch.wrote(self.numbers[name], text)


def test_the_end_of_the_replay_ends_the_launch_and_all_is_well():
    launch = Launch(vo_node=Role(), replay_node=REPLAY)
    assert launch.ended("replay_node").shut_down == "the replay has ended"
    assert launch.ended("vo_node", is_shutdown=True) == NOTHING


def test_the_launch_ends_with_the_last_replay_of_all_robots():
    launch = Launch(a=Role(), replay_a=REPLAY, b=Role(), replay_b=REPLAY)
    assert launch.ended("replay_a") == NOTHING
    assert launch.ended("replay_b").shut_down


def test_with_a_viewer_the_replay_ends_alone_and_so_does_the_viewer():
    launch = Launch(vo_node=Role(), replay_node=Role(may_finish=True), rviz2=OPTIONAL)
    assert launch.ended("replay_node") == NOTHING
    assert launch.ended("rviz2", 1) == NOTHING


def test_a_node_that_fails_ends_the_launch_and_its_reason_comes_last():
    launch = Launch(vo_node=Role(), replay_node=REPLAY, rviz2=OPTIONAL)
    launch.wrote("vo_node", "[ERROR] cannot configure\nvo_node: cannot config")
    launch.wrote("vo_node", "ure: no weights\ntry this\n\n")
    reason = "vo_node ended with exit code 1: cannot configure: no weights\ntry this"
    assert launch.ended("vo_node", 1) == Decision(log=reason, shut_down=reason)
    assert launch.ended("replay_node", is_shutdown=True) == NOTHING
    assert launch.ended("rviz2", -2, is_shutdown=True) == Decision(fail=reason)


def test_a_node_that_is_killed_or_just_ends_has_failed():
    for code, words in ((-9, "killed by SIGKILL"), (0, "with exit code 0")):
        launch = Launch(vo_node=Role())
        assert words in launch.ended("vo_node", code).fail


def test_a_replay_that_fails_ends_the_launch_even_with_a_viewer():
    launch = Launch(vo_node=Role(), replay_node=Role(may_finish=True), rviz2=OPTIONAL)
    assert launch.ended("replay_node", 1).shut_down


def test_ctrl_c_is_no_failure_and_shuts_down_once():
    launch = Launch(vo_node=Role(), mapping_node=Role(), replay_node=REPLAY)
    assert launch.ended("replay_node", is_shutdown=True) == NOTHING
    assert launch.ended("mapping_node", -2, is_shutdown=True) == NOTHING
    assert launch.ended("vo_node", is_shutdown=True) == NOTHING


def test_a_map_that_is_not_saved_at_ctrl_c_is_a_failure():
    launch = Launch(vo_node=Role(), mapping_node=Role())
    launch.wrote("mapping_node", "mapping_node: the map was not saved\n")
    assert "was not saved" in launch.ended("mapping_node", 1, is_shutdown=True).log
    assert "was not saved" in launch.ended("vo_node", is_shutdown=True).fail


def test_a_node_that_has_to_be_killed_at_the_end_is_a_failure():
    assert "SIGKILL" in Launch(mapping_node=Role()).ended("mapping_node", -9, is_shutdown=True).fail


def test_two_failures_shut_down_once_and_the_first_is_the_reason():
    launch = Launch(vo_node=Role(), mapping_node=Role())
    assert launch.ended("mapping_node", -9).shut_down
    second = launch.ended("vo_node", -11)
    assert "mapping_node was killed by SIGKILL" in second.fail
    assert "SIGSEGV" in second.log
    assert not second.shut_down


def test_a_node_that_respawns_only_has_its_end_logged():
    launch = Launch(vo_node=Role(respawns=True), replay_node=REPLAY)
    for _ in range(3):
        decision = launch.ended("vo_node", -9)
        assert decision == Decision(log=decision.log)
        assert "started again" in decision.log
        launch.watch.started(launch.numbers["vo_node"])
    assert launch.ended("replay_node").shut_down
    assert launch.ended("vo_node", is_shutdown=True) == NOTHING


def test_a_node_that_is_not_required_only_has_its_failure_logged():
    launch = Launch(vo_node=Role(is_required=False), other=Role())
    decision = launch.ended("vo_node", 1)
    assert "exit code 1" in decision.log
    assert not decision.shut_down
    assert launch.ended("other", is_shutdown=True) == NOTHING

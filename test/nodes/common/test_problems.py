"""Problems are logged once and stay visible while they last."""

from __future__ import annotations

from ros_matching.nodes.common.problems import Problem, ProblemLog


def test_a_problem_is_logged_once_and_present_until_it_is_cleared():
    lines: list[str] = []
    problems = ProblemLog(lines.append, None)
    for _ in range(3):
        problems.report(Problem.IMAGE, "the image is upside down; turn the camera", "seen by all")
    assert lines == ["the image is upside down; turn the camera\nseen by all"]
    assert problems.present() == {Problem.IMAGE: "the image is upside down; turn the camera"}
    problems.clear(Problem.IMAGE, Problem.STAMP)
    assert problems.present() == {}
    problems.report(Problem.IMAGE, "the image is upside down; turn the camera")
    assert len(lines) == 1


def test_a_problem_that_does_not_prevent_poses_is_a_warning():
    errors: list[str] = []
    warnings: list[str] = []
    problems = ProblemLog(errors.append, warnings.append)
    problems.report(Problem.EXTRINSICS, "where is the camera?")
    problems.report(Problem.TRACKER, "it broke")
    assert (errors, warnings) == (["it broke"], ["where is the camera?"])


def test_a_new_text_replaces_the_old_and_a_new_run_logs_again():
    lines: list[str] = []
    problems = ProblemLog(lines.append, None)
    problems.report(Problem.STAMP, "late")
    problems.report(Problem.STAMP, "early")
    assert problems.present() == {Problem.STAMP: "early"}
    problems.clear_all()
    assert problems.present() == {}
    problems.report(Problem.STAMP, "early")
    assert lines == ["late", "early", "early"]


def test_other_numbers_in_a_text_are_no_news():
    lines: list[str] = []
    problems = ProblemLog(None, lines.append)
    for number in range(3):
        problems.report(Problem.KEYFRAME, f"keyframe {number} has {number / 7:.2f} of what it needs")
    assert lines == ["keyframe 0 has 0.00 of what it needs"]
    assert problems.present()[Problem.KEYFRAME] == "keyframe 2 has 0.29 of what it needs"

from __future__ import annotations

import pytest

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.data_split import (
    VALIDATION_PAIRS,
    PairSet,
    training_frames,
    training_photos,
    validation_frames,
    validation_photos,
)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 10, 273])
def test_every_frame_is_for_training_or_for_validation(count):
    training, validation = training_frames("office", count), validation_frames("office", count)
    assert [*training, *validation] == list(range(count))
    assert len(validation) == -(-count // 5)


def test_the_facade_is_never_trained_on():
    assert len(training_frames("lund_door", 12)) == 0
    assert validation_frames("lund_door", 12) == range(12)


def test_pairs_lie_wholly_in_the_held_out_part():
    pairs = PairSet("office", (1, 3)).pairs(25)
    assert pairs == [(1, 20, 21), (1, 21, 22), (1, 22, 23), (1, 23, 24), (3, 20, 23), (3, 21, 24)]
    assert PairSet("office", (1, 3), step=3).pairs(25) == [(1, 20, 21), (1, 23, 24), (3, 20, 23)]
    assert PairSet("office", (24,), part="all").pairs(25) == [(24, 0, 24)]
    assert PairSet("office", (19,), part="training").pairs(25) == [(19, 0, 19)]


def test_the_validation_pairs_are_as_many_as_the_held_out_frames_give():
    counts = {"hololens_000": 273, "fox": 50, "lund_door": 12, "redkitchen": 700}
    sizes = {pair_set.sequence: len(pair_set.pairs(counts[pair_set.sequence])) for pair_set in VALIDATION_PAIRS}
    assert sizes == {
        "hololens_000": 53 + 51 + 47,
        "fox": 9 + 8 + 7,
        "lund_door": 11 + 10 + 9,
        "redkitchen": 27 + 26 + 24,
    }


def test_every_tenth_photo_is_held_out_wherever_the_folder_lies(tmp_path):
    for root in ("a", "b/c"):
        for number in range(25):
            path = tmp_path / root / f"photos/{'xy'[number % 2]}/{number:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    folders = [tmp_path / root / "photos" for root in ("a", "b/c")]
    held_out = [[path.relative_to(folder) for path in validation_photos(folder)] for folder in folders]
    assert held_out[0] == held_out[1]
    assert [path.as_posix() for path in held_out[0]] == ["x/00.jpg", "x/20.jpg", "y/15.jpg"]
    assert [path.name for path in validation_photos(folders[0], 2)] == ["00.jpg", "20.jpg"]
    assert len(training_photos(folders[0])) == 22
    assert not set(training_photos(folders[0])) & set(validation_photos(folders[0]))


def test_wrong_input_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="no photos"):
        validation_photos(tmp_path)
    (tmp_path / "1.png").touch()
    with pytest.raises(EvaluationError, match="photos"):
        validation_photos(tmp_path, 2)
    with pytest.raises(EvaluationError, match="gaps of one frame"):
        PairSet("office", (0,))

"""`ros-matching doctor` reports missing parts with remedies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ros_matching.cli import doctor
from ros_matching.cli.doctor import OK, Finding
from ros_matching.cli.main import main
from ros_matching.networks import checkpoint
from ros_matching.networks.timing import TOLERANCE, compare


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the sequence that is tracked at the end."""
    monkeypatch.setattr(doctor, "_tracked", lambda *_, **__: Finding(OK, "tracked"))


def test_this_installation_is_complete_and_tracks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    report = capsys.readouterr().out
    assert "ok       torch" in report
    assert "ok       weights posfeat_lite" in report
    assert "30 frames tracked" in report
    assert "missing" not in report


@pytest.mark.usefixtures("untracked")
def test_a_package_that_is_not_there_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_NEEDED", (("no_such_module", "no-such-package"),))
    assert main(["doctor"]) == 1
    report = capsys.readouterr().out
    assert "missing  no_such_module is not installed\n         pip install no-such-package" in report
    assert "tracked" not in report


@pytest.mark.usefixtures("untracked")
def test_damaged_and_absent_weights_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(checkpoint, "WEIGHTS_FOLDER", tmp_path)
    assert main(["doctor"]) == 1
    assert "holds no weights" in capsys.readouterr().out
    (tmp_path / "posfeat_lite.safetensors").write_bytes(b"damaged")
    assert main(["doctor"]) == 1
    assert "missing  weights posfeat_lite" in capsys.readouterr().out


@pytest.mark.usefixtures("untracked")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_plan_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cuda"]) == 1
    report = capsys.readouterr().out
    assert "posfeat_lite 640x480" in report
    assert "there is no GPU to check" in report


@pytest.mark.parametrize("name", ["posfeat_lite 320x240", "ncmnet_lite 500 matches", "ncnet_lite sparse 640x480"])
def test_a_device_agrees_with_itself(name: str) -> None:
    assert compare(name, "cpu", "float32").difference == 0


def test_half_precision_differs_and_agrees() -> None:
    assert 0 < compare("posfeat_lite 320x240", "cpu", "bfloat16").difference < TOLERANCE["bfloat16"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", ["posfeat 640x480", "posfeat_lite 640x480", "ncmnet 1000 matches"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_gpu_agrees_with_the_cpu(name: str, precision: str) -> None:
    assert compare(name, "cuda", precision).difference <= TOLERANCE[precision]

"""What `ros-matching speed` measures."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from ros_matching.cli.main import main
from ros_matching.errors import ConfigError
from ros_matching.networks import timing


def test_every_workload_builds_and_runs_something() -> None:
    names = timing.workloads()
    for network in ("posfeat", "posfeat_lite", "ncnet_ivd", "ncmnet", "ncmnet_lite", "pbs_mvsnet", "cnn_geometric"):
        assert any(name.split()[0] == network for name in names), network


def test_the_shortest_run_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses_s = iter([7.0, 6.0, 0.05, 0.01, 0.03])  # two to warm up
    now_s = [0.0]

    def run() -> None:
        now_s[0] += next(pauses_s)

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))
    monkeypatch.setattr(timing, "workloads", lambda: {"pause": lambda device, precision: run})
    measured = timing.measure("pause", repeats=3)
    assert measured.best_ms == pytest.approx(10)
    assert measured.median_ms == pytest.approx(30)
    assert measured.memory_mb > 50


def test_an_unknown_workload_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="posfeat_lite 320x240"):
        timing.measure("nothing")


def test_the_command_measures_in_a_process_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", "ncmnet_lite 500*", "--threads", "1", "--repeats", "1", "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    row = json.loads(line)
    assert row["name"] == "ncmnet_lite 500 matches"
    assert row["best_ms"] > 1
    assert main(["speed", "nothing*"]) == 2


@pytest.mark.parametrize("name", ["posfeat_lite 320x240", "ncnet_lite sparse 640x480", "cnn_geometric_lite affine"])
def test_half_precision_runs(name: str) -> None:
    assert timing.measure(name, precision="bfloat16", repeats=1).best_ms > 0

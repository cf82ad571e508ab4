from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ros_matching.cli.main import main
from ros_matching.networks import registry
from ros_matching.networks.checkpoint import WeightsCard, load_weights, read_card, save_weights
from ros_matching.networks.published import sha256_of

CARD = WeightsCard(
    network="tiny",
    description="says hello",
    trained_on="greetings",
    command="ros-matching train tiny",
    licence="Apache-2.0",
    metrics={"AUC@5": 0.75},
)


def tiny(state: object = None) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


@pytest.fixture(autouse=True)
def tiny_is_a_network(monkeypatch):
    class Entry(registry.NetworkEntry):
        def from_official(self, state):
            return {key.removeprefix("net."): value for key, value in state.items()}

    entry = Entry("tiny", "tiny", tiny, licence="MIT")
    monkeypatch.setattr(registry, "networks", lambda: {"tiny": entry})


@pytest.fixture
def weights(tmp_path) -> Path:
    save_weights(tmp_path / "tiny.safetensors", tiny().state_dict(), CARD)
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def published(tmp_path) -> Path:
    state = {f"net.{key}": value for key, value in tiny().state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "tiny.pth.tar")
    return tmp_path / "tiny.pth.tar"


def test_list_reports_the_provenance(weights, capsys):
    assert main(["weights", "list", str(weights.parent)]) == 0
    text = capsys.readouterr().out
    for part in ("tiny.safetensors", "says hello", "greetings", "ros-matching train tiny", "Apache-2.0", "AUC@5: 0.75"):
        assert part in text


@pytest.mark.parametrize("action", ["list", "verify"])
def test_no_weights_is_no_result(tmp_path, capsys, action):
    assert main(["weights", action, str(tmp_path)]) == 1
    assert "no weights" in capsys.readouterr().err


def test_verify_names_every_file(weights, capsys):
    damaged = weights.with_name("damaged.safetensors")
    damaged.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert main(["weights", "verify", str(weights)]) == 0
    assert f"{weights}: intact, 8 parameters" in capsys.readouterr().out
    assert main(["weights", "verify", str(weights.parent)]) == 2
    output = capsys.readouterr()
    assert f"{weights}: intact" in output.out
    assert f"{damaged} is damaged" in output.err


def test_verify_notices_weights_that_do_not_fit_their_network(weights, capsys):
    save_weights(weights, nn.Linear(4, 2).state_dict(), CARD)
    assert main(["weights", "verify", str(weights)]) == 2
    assert "weight should be 2x3, is 2x4" in capsys.readouterr().err


def test_import_writes_weights_with_their_provenance(published, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    digest = sha256_of(published)
    assert main(["weights", "import", "tiny", str(published), "--sha256", digest]) == 0
    network = nn.Linear(3, 2)
    card = load_weights("tiny.safetensors", network, "tiny")
    torch.testing.assert_close(network.state_dict(), tiny().state_dict(), rtol=0, atol=0)
    assert card.licence == "MIT"
    assert digest in card.description
    assert card.sha256 in capsys.readouterr().out
    assert main(["weights", "verify", "."]) == 0


def test_import_does_not_overwrite_by_default(published, weights, capsys):
    arguments = ["weights", "import", "tiny", str(published), "--out", str(weights)]
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert read_card(weights).licence == "Apache-2.0"
    assert main([*arguments, "--force", "--half"]) == 0
    assert read_card(weights).licence == "MIT"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["huge", "tiny.pth.tar"], "huge"),
        (["tiny", "missing.pth"], "cannot read missing.pth"),
        (["tiny", "tiny.pth.tar", "--sha256", "12ab"], "expected 12ab, got"),
        (["tiny", "tiny.pth.tar", "tiny.pth.tar"], "published as one file, got 2"),
    ],
)
def test_import_of_what_is_not_right_writes_nothing(published, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(published.parent)
    assert main(["weights", "import", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(published.parent.iterdir()) == [published]


def test_an_action_is_needed(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["weights"])
    assert exit_info.value.code == 2
    assert "ACTION" in capsys.readouterr().err

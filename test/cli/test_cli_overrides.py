from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ros_matching.cli.settings_options import configs_from, describe
from ros_matching.config import Config, parameter
from ros_matching.errors import ConfigError


@dataclass(frozen=True)
class EngineConfig(Config):
    cylinders: int = parameter(4, "how many cylinders", minimum=1, maximum=16)
    stroke: float = parameter(8.5, "stroke in centimetres", minimum=1, former_name="lift")
    turbo: bool = parameter(False, "whether there is a turbocharger")
    fuel: str = parameter("petrol", "kind of fuel", choices=("petrol", "diesel"), former_name="energy")


@dataclass(frozen=True)
class WheelConfig(Config):
    radius: float = parameter(0.3, "radius in metres")


SECTIONS = {"engine": EngineConfig, "wheel": WheelConfig}


def test_a_number_by_its_former_name_is_parsed():
    assert configs_from(["engine.lift=9.5"], SECTIONS)["engine"].stroke == 9.5


def test_without_overrides_the_defaults_hold():
    assert configs_from([], SECTIONS) == {"engine": EngineConfig(), "wheel": WheelConfig()}


def test_a_former_name_still_works_with_a_warning(caplog):
    assert configs_from(["engine.energy=diesel"], SECTIONS)["engine"].fuel == "diesel"
    assert "fuel" in caplog.text


def test_values_take_the_type_of_their_setting():
    configs = configs_from(
        ["engine.cylinders=6", "engine.stroke=9", "engine.turbo=True", "engine.fuel=diesel", "wheel.radius=4e-1"],
        SECTIONS,
    )
    assert configs["engine"] == EngineConfig(cylinders=6, stroke=9.0, turbo=True, fuel="diesel")
    assert configs["wheel"] == WheelConfig(radius=0.4)


def test_the_last_of_two_wins():
    assert configs_from(["engine.cylinders=6", "engine.cylinders=8"], SECTIONS)["engine"].cylinders == 8


@settings(deadline=None, max_examples=50)
@given(cylinders=st.integers(1, 16), stroke=st.floats(1, 1e6), turbo=st.booleans())
def test_what_is_written_is_what_is_set(cylinders, stroke, turbo):
    config = configs_from(
        [f"engine.cylinders={cylinders}", f"engine.stroke={stroke!r}", f"engine.turbo={turbo}"], SECTIONS
    )["engine"]
    assert (config.cylinders, config.stroke, config.turbo) == (cylinders, stroke, turbo)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("engine.cylinders", r"section\.key=value, got 'engine.cylinders'"),
        ("cylinders=4", r"section\.key=value, got 'cylinders=4'"),
        ("motor.cylinders=4", "no settings 'motor'; there are: engine, wheel"),
        ("engine.pistons=4", "EngineConfig has no setting pistons; it has: cylinders, stroke, turbo, fuel"),
        ("engine.cylinders=four", "cylinders must be int, got 'four'"),
        ("engine.cylinders=4.5", "cylinders must be int, got '4.5'"),
        ("engine.cylinders=17", "cylinders must be at most 16, got 17"),
        ("engine.stroke=nan", "stroke must be at least 1, got nan"),
        ("engine.turbo=maybe", "turbo must be bool, got 'maybe'"),
        ("engine.fuel=hay", "fuel must be one of petrol, diesel, got 'hay'"),
        ("engine.fuel=", "fuel must be one of petrol, diesel, got ''"),
    ],
)
def test_a_bad_override_is_refused_with_what_was_expected(override, message):
    with pytest.raises(ConfigError, match=message):
        configs_from([override], SECTIONS)


def test_settings_are_described_with_their_limits():
    lines = describe(SECTIONS).splitlines()
    assert lines[0] == "engine.cylinders  how many cylinders (default 4, at least 1, at most 16)"
    assert lines[3] == "engine.fuel       kind of fuel (default petrol, one of petrol, diesel)"
    assert len(lines) == 5

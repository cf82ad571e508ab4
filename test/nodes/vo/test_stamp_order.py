"""Odd stamps among good ones, gaps, and time that stays back; images that are missing between those that came."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from ros_matching.nodes.vo.stamp_order import ArrivalMeter, StampOrder

PERIOD = 33_333_333
START = 1_700_000_000 * 10**9


def outcomes(order: StampOrder, stamps, seconds_per_image: float = 0.0) -> str:
    """One letter for each stamp: ``.`` taken, ``x`` refused, ``R`` time stays back."""
    checks = [order.check(stamp, row * seconds_per_image) for row, stamp in enumerate(stamps)]
    return "".join("x" if check.reason else "R" if check.back_s else "." for check in checks)


def video(*numbers: float) -> list[int]:
    return [START + round(number * PERIOD) for number in numbers]


@pytest.mark.parametrize("odd", [0, -1, -(10**18), 1, START + 10**12, START - 10**12, 2**62])
def test_an_odd_stamp_is_refused_alone(odd):
    assert outcomes(StampOrder(), [*video(0, 1, 2), odd, *video(4, 5)]) == "...x.."


def test_zero_stamps_are_no_time():
    assert outcomes(StampOrder(), [0, 0, 0, 0, *video(1, 2)]) == "xxxx.."


def test_images_wait_until_time_has_passed_a_stamp_that_is_a_bit_ahead():
    assert outcomes(StampOrder(), video(0, 1, 2, 20.5, *range(4, 23))) == "...." + "x" * 17 + ".."


def test_neighbors_that_are_swapped_and_stamps_that_repeat():
    assert outcomes(StampOrder(), video(0, 2, 1, 3, 3, 5, 4, 6)) == "..x.x.x."


@pytest.mark.parametrize("back", [10.0, 1e6, 300.0])
def test_time_that_stays_back_is_a_new_start(back):
    order = StampOrder()
    assert outcomes(order, video(1000, 1001, 1002)) == "..."
    assert outcomes(order, video(*(1002 - back + n for n in range(5)))) == "xxR.."


def test_a_gap_is_taken_when_it_lasts_or_took_as_long_to_arrive():
    assert outcomes(StampOrder(), video(0, 1, 2, 9000, 9001, 9002, 9003)) == "...xx.."
    assert outcomes(StampOrder(), [START, START + 100 * 10**9], seconds_per_image=99.0) == ".."
    assert outcomes(StampOrder(), [START, START + 100 * 10**9], seconds_per_image=9.0) == ".x"


def test_a_slow_camera_is_learned():
    assert outcomes(StampOrder(), [START + n * 5 * 10**9 for n in range(6)]) == ".x...."


def test_two_cameras_whose_clocks_differ_are_no_new_start():
    mixed = [stamp for n in range(50) for stamp in video(n, n - 1e6)]
    assert outcomes(StampOrder(), mixed) == ".x" * 50


def test_any_stamp_may_come_after_a_restart():
    order = StampOrder()
    outcomes(order, video(100, 101))
    order.restart()
    assert outcomes(order, video(1, 2)) == ".."


@pytest.mark.parametrize(("lost", "jitter"), [(0.0, 0.15), (0.1, 0.15), (0.5, 0.1), (0.1, 0.0), (0.75, 0.0)])
def test_missing_images_are_counted_by_the_gaps(lost, jitter):
    chance, meter, arrived = random.Random(3), ArrivalMeter(), []
    for number in range(600):
        if chance.random() >= lost:
            arrived.append(number)
            meter.add(START + round((number + chance.uniform(-jitter, jitter)) * PERIOD))
    missing = arrived[-1] - arrived[0] + 1 - len(arrived)
    assert meter.missing == pytest.approx(missing, abs=3 + 0.1 * missing)
    recently_missing, recent = meter.recent_loss
    assert recently_missing / recent == pytest.approx(lost, abs=0.15)


def test_few_images_suffice_to_see_that_most_are_missing():
    meter = ArrivalMeter()
    for stamp in video(0, 2, 3, 6, 10):
        meter.add(stamp)
    assert meter.missing == 6
    assert meter.recent_loss == (6, 10)


def test_nothing_is_missing_over_a_pause():
    meter = ArrivalMeter()
    for stamp in video(*range(20)):
        meter.add(stamp)
    meter.pause()
    for stamp in video(*range(100, 120)):
        meter.add(stamp)
    assert meter.missing == 0


def test_a_camera_without_a_period_misses_nothing():
    chance, meter, stamp = random.Random(5), ArrivalMeter(), START
    for _ in range(300):
        stamp += int(chance.expovariate(1 / PERIOD)) + 1
        meter.add(stamp)
    assert meter.recent_loss[0] == 0


def test_odd_stamps_and_pauses_are_no_missing_images():
    meter = ArrivalMeter()
    for stamp in [*video(*range(20)), 0, *video(*range(20, 40)), START + 10**15, *video(*range(5000, 5020))]:
        meter.add(stamp)
    assert meter.missing == 0

"""Where the seconds of a run go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from AHNetSegmentLib.engine.timings import Step, Timings, where_the_time_went


class Clock:
    """Stands still between the moments at which a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timings(clock: Clock) -> Timings:
    return Timings(clock)


def test_each_second_belongs_to_the_innermost_step(clock: Clock, timings: Timings) -> None:
    clock.now += 7  # nothing goes on
    with timings.during(Step.LABELS):
        clock.now += 1
        with timings.during(Step.NETWORK):
            clock.now += 2
            with timings.during(Step.RESAMPLING):
                clock.now += 4
            clock.now += 8
        clock.now += 16
    clock.now += 7
    assert timings.to_dict() == {"resampling": 4, "network": 10, "labels": 17, "total": 31}


def test_items_are_made_in_one_step_and_used_in_another(clock: Clock, timings: Timings) -> None:
    def items() -> Iterator[int]:
        for number in range(3):
            clock.now += 1
            yield number
        clock.now += 5

    with timings.during(Step.LABELS):
        for _ in timings.each(Step.NETWORK, items(), "view_1"):
            clock.now += 10
    assert timings.to_dict() == {"network": 8, "labels": 30, "network_view_1": 8, "total": 38}


def test_an_error_ends_its_step(clock: Clock, timings: Timings) -> None:
    with timings.during(Step.LABELS):
        with pytest.raises(ValueError, match="broken"):
            _break(clock, timings)
        clock.now += 2
    assert timings.to_dict() == {"network": 1, "labels": 2, "total": 3}


def _break(clock: Clock, timings: Timings) -> None:
    with timings.during(Step.NETWORK):
        clock.now += 1
        raise ValueError("broken")


def test_what_goes_on_counts_up_to_now(clock: Clock, timings: Timings) -> None:
    timings.switch(Step.VOXELS)
    clock.now += 1
    assert timings.to_dict()["moving_voxels"] == 1
    clock.now += 2
    assert timings.to_dict() == {"moving_voxels": 3, "total": 3}


def test_another_clock_s_seconds_leave_the_step_that_they_are_a_part_of(clock: Clock, timings: Timings) -> None:
    timings.switch(Step.WAITING)
    clock.now += 10
    timings.switch(Step.SCENE)
    clock.now += 1
    inside = {"waiting": 2.0, "network": 5.0, "network_view_1": 3.0, "network_view_2": 2.0, "total": 7.0, "other": 9.0}
    timings.split(Step.WAITING, inside)
    found = timings.to_dict()
    assert found == {
        "waiting": 5,
        "network": 5,
        "scene": 1,
        "network_view_1": 3,
        "network_view_2": 2,
        "total": 11,
    }


def test_the_longest_step_is_named_first_and_trifles_are_not_named() -> None:
    seconds = {
        "network": 4.06,
        "labels": 1.0,
        "moving_voxels": 2.0,
        "network_view_1": 4.0,
        "pieces": 0.01,
        "total": 7.1,
    }
    assert where_the_time_went(seconds) == "7.1 s: network 4.1 s, moving voxels 2.0 s, labels 1.0 s"
    assert where_the_time_went({"total": 0.01}) == "0.0 s"

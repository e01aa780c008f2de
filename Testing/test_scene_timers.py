"""Calls that are made later: once, in their turn, and forgotten then."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import driver

driver.require()

PRODUCT = Path(__file__).parents[1] / "AHNetSegment"


class Held:
    """What a callable holds."""

    def __init__(self) -> None:
        self.calls = 0

    def call(self) -> None:
        self.calls += 1


@pytest.fixture
def timers(slicer: Any, qt: Any, pump: Any) -> Callable[[], int]:
    """Counts the timers that have come since the test began; those that were told to go are gone."""

    def there() -> set[Any]:
        slicer.app.processEvents()
        return {timer for timer in slicer.app.moduleManager().children() if isinstance(timer, qt.QTimer)}

    pump(lambda: False, 0.05)
    before = there()
    return lambda: len(there() - before)


def test_a_call_is_made_once_and_neither_timer_nor_callable_stay(timers: Callable[[], int], pump: Any) -> None:
    from AHNetSegmentLib.scene.timers import later

    held = [Held()]
    gone = weakref.ref(held[0])
    later(0, held[0].call)
    assert held[0].calls == 0
    assert pump(lambda: held[0].calls == 1, 5)
    pump(lambda: False, 0.1)
    assert held[0].calls == 1
    assert timers() == 0
    held.clear()
    gc.collect()
    assert gone() is None


def test_a_timer_that_is_not_kept_calls_all_the_same(timers: Callable[[], int], pump: Any) -> None:
    from AHNetSegmentLib.scene.timers import later

    called: list[int] = []
    for number in range(20):
        later(number, lambda number=number: called.append(number))
        gc.collect()
    assert pump(lambda: len(called) == 20, 5)
    pump(lambda: False, 0.05)
    assert timers() == 0


def test_what_is_given_up_is_not_called(timers: Callable[[], int], pump: Any) -> None:
    from AHNetSegmentLib.scene.timers import give_up, later

    held = [Held()]
    gone = weakref.ref(held[0])
    give_up(later(10, held[0].call))
    pump(lambda: False, 0.1)
    assert held[0].calls == 0
    assert timers() == 0
    held.clear()
    gc.collect()
    assert gone() is None


def test_however_often_it_is_wanted_it_is_called_once(timers: Callable[[], int], pump: Any) -> None:
    from AHNetSegmentLib.scene.timers import Once

    held = Held()
    once = Once(held.call, 20)
    for _ in range(10):
        once.want()
    assert once.waits
    assert pump(lambda: held.calls > 0, 5)
    pump(lambda: False, 0.1)
    assert held.calls == 1
    assert not once.waits
    once.want()
    once.stop()
    once.stop()
    pump(lambda: False, 0.1)
    assert held.calls == 1
    assert timers() == 0


def test_while_it_is_wanted_again_and_again_it_waits(pump: Any) -> None:
    from AHNetSegmentLib.scene.timers import Once

    held = Held()
    once = Once(held.call, 400)
    for _ in range(10):
        once.want_when_quiet()
        pump(lambda: False, 0.05)
    assert held.calls == 0
    assert pump(lambda: held.calls == 1, 5)


def test_a_call_may_want_itself_again(pump: Any) -> None:
    from AHNetSegmentLib.scene.timers import Once

    calls: list[int] = []

    def call() -> None:
        calls.append(len(calls))
        if len(calls) < 3:
            once.want()

    once = Once(call)
    once.want()
    assert pump(lambda: len(calls) == 3, 5)
    assert not once.waits


def test_the_product_uses_no_other_timers() -> None:
    """Slicer's own ``singleShot`` keeps what it has called until Slicer ends."""
    found = [
        f"{path.name}:{number}"
        for path in sorted(PRODUCT.rglob("*.py"))
        if path.name != "timers.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"singleShot|QTimer", line)
    ]
    assert found == []


def test_signals_are_held_back_and_come_back_whatever_happens(qt: Any) -> None:
    from AHNetSegmentLib.scene.quiet import quiet

    told: list[str] = []
    edit, other = qt.QLineEdit(), qt.QLineEdit()
    for widget in (edit, other):
        widget.connect("textChanged(QString)", told.append)
    with quiet(edit, other, edit):
        edit.text = "a"
        with quiet(edit):
            edit.text = "b"
        edit.text = other.text = "c"
    assert told == []
    with pytest.raises(ValueError, match="no"), quiet(edit):
        raise ValueError("no")
    edit.text = "d"
    other.text = "e"
    assert told == ["d", "e"]
    edit.blockSignals(True)
    with quiet(edit):
        pass
    assert edit.signalsBlocked()

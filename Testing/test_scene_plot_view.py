"""What a person sees of the curves while they grow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import driver

driver.require()


@pytest.fixture
def curves(module: Any, scene: Any) -> Iterator[Any]:
    import qt

    from AHNetSegmentLib.scene.curves import Curves
    from scene_helpers import two_classes

    window = qt.QWidget()
    window.resize(400, 260)
    found = Curves(qt.QVBoxLayout(window))
    found.begin(two_classes())
    window.show()
    yield found
    found.close()
    window.close()


def draw(curves: Any) -> None:
    curves.show()
    curves.widget.grab()


def shown(curves: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ranges of the axes of x and y."""
    import vtk

    chart, ranges = curves.widget.plotView().chart(), ([0.0, 0.0], [0.0, 0.0])
    for number, found in zip((vtk.vtkAxis.BOTTOM, vtk.vtkAxis.LEFT), ranges, strict=True):
        chart.GetAxis(number).GetUnscaledRange(found)
    return tuple(ranges[0]), tuple(ranges[1])


def test_the_axes_follow_the_curves(curves: Any) -> None:
    for step in (1, 2):
        curves.add_loss(step, 1.0 / step)
    draw(curves)
    for step in range(3, 41):
        curves.add_loss(step, 1.0 / step)
        if step % 10 == 0:
            curves.add_dice(step, {"Anterior": 0.02 * step, "Posterior": 0.9})
    draw(curves)
    draw(curves)
    (first, last), (low, high) = shown(curves)
    assert first <= 1
    assert last >= 40
    assert low <= 1 / 40
    assert high >= 1


def test_fewer_than_two_numbers_are_no_line(curves: Any) -> None:
    """VTK reports an error whenever it paints a line of a table with no row or one."""
    curves.add_loss(1, 1.0)
    draw(curves)
    curves.add_loss(2, 0.5)
    draw(curves)
    curves.add_dice(2, {"Anterior": 0.5, "Posterior": None})
    draw(curves)
    curves.add_dice(4, {"Anterior": 0.6, "Posterior": None})
    draw(curves)

"""The curves of a training: numbers in tables, lines in Slicer's plot, nothing left behind."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

from scene_helpers import two_classes

pytest_plugins = ["host.fixtures"]

KINDS = ("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode", "vtkMRMLPlotViewNode")


@pytest.fixture
def curves(qt: Any, slicer: Any) -> Any:
    from AHNetSegmentLib.scene.curves import Curves

    frame = qt.QFrame()
    found = Curves(qt.QVBoxLayout(frame))
    found.begin(two_classes())
    yield found
    found.close()


def column(node: Any, name: str) -> list[float]:
    values = node.GetTable().GetColumnByName(name)
    return [values.GetValue(row) for row in range(values.GetNumberOfValues())]


def own_nodes(scene: Any) -> list[Any]:
    return [node for kind in KINDS for node in (scene.GetNthNodeByClass(n, kind)
            for n in range(scene.GetNumberOfNodesByClass(kind)))]  # fmt: skip


def fill(curves: Any) -> None:
    for step, loss in ((10, 1.5), (20, 0.9), (30, 0.7)):
        curves.add_loss(step, loss)
    curves.add_dice(20, {"Anterior": 0.25, "Posterior": None})
    curves.add_dice(30, {"Anterior": 0.75})
    curves.show()


def pixels(curves: Any, color: tuple[int, int, int]) -> int:
    """How many pixels of the plot have about this colour."""
    image = curves.widget.grab().toImage()
    near = 0
    for x in range(image.width()):
        for y in range(image.height()):
            found = image.pixelColor(x, y)
            near += max(abs(a - b) for a, b in zip((found.red(), found.green(), found.blue()), color, strict=True)) < 40
    return near


def test_the_tables_hold_the_numbers(curves: Any) -> None:
    fill(curves)
    loss, dice = curves.tables
    assert column(loss, "step") == [10, 20, 30]
    assert column(loss, "loss") == [1.5, 0.9, 0.7]
    assert column(dice, "step") == [20, 30]
    assert column(dice, "Dice Anterior") == [0.25, 0.75]
    assert all(map(math.isnan, column(dice, "Dice Posterior")))


def test_lines_are_drawn_in_the_colours_of_the_classes(curves: Any, slicer: Any) -> None:
    anterior, posterior = two_classes()
    fill(curves)
    curves.widget.resize(400, 260)
    assert pixels(curves, anterior.color) > 50
    chart = curves.widget.mrmlPlotViewNode().GetPlotChartNode()
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [line.GetName() for line in series] == ["loss", anterior.name, posterior.name]
    assert all(line.IsXColumnRequired() for line in series), "Slicer would draw them against row numbers"
    without_numbers = pixels(curves, posterior.color)
    curves.add_dice(40, {"Anterior": 0.8, "Posterior": 0.2})
    curves.add_dice(50, {"Anterior": 0.8, "Posterior": 0.9})
    curves.show()
    assert pixels(curves, posterior.color) > without_numbers + 50


def test_the_tables_are_filled_in_place_and_soon(curves: Any, pump: Any) -> None:
    fill(curves)
    before = curves.tables
    for step in range(40, 500):
        curves.add_loss(step, 0.5)
    assert len(column(before[0], "loss")) == 3
    assert pump(lambda: len(column(before[0], "loss")) == 463, 2)
    assert curves.tables[0] is before[0]
    assert column(before[0], "step")[-1] == 499


def test_new_numbers_have_the_chart_drawn_anew(curves: Any) -> None:
    fill(curves)
    chart = curves.widget.mrmlPlotViewNode().GetPlotChartNode()
    told: list[str] = []
    chart.AddObserver("ModifiedEvent", lambda _caller, event: told.append(event))
    curves.show()
    assert not told
    curves.add_loss(40, 0.6)
    curves.show()
    assert told


def test_its_nodes_are_in_no_list_and_in_no_saved_scene(curves: Any, scene: Any) -> None:
    fill(curves)
    found = own_nodes(scene)
    assert len(found) == 2 + 3 + 1 + 1
    assert all(node.GetHideFromEditors() and not node.GetSaveWithScene() for node in found)
    assert found[-1].GetParentLayoutNode() is not None, "Slicer's layout would show it"


def test_close_removes_every_node(curves: Any, scene: Any) -> None:
    before = scene.GetNumberOfNodes()
    fill(curves)
    assert scene.GetNumberOfNodes() > before
    curves.close()
    assert scene.GetNumberOfNodes() == before
    assert curves.widget.mrmlPlotViewNode() is None


def test_after_the_scene_was_closed_the_curves_are_whole_again(curves: Any, scene: Any) -> None:
    fill(curves)
    scene.Clear(False)
    curves.add_loss(40, 0.6)
    curves.show()
    assert column(curves.tables[0], "loss") == [1.5, 0.9, 0.7, 0.6]
    assert len(own_nodes(scene)) == 7


def test_another_training_begins_with_empty_curves(curves: Any, scene: Any) -> None:
    fill(curves)
    curves.begin(two_classes()[:1])
    assert curves.tables is None
    curves.add_loss(1, 2.0)
    curves.show()
    assert column(curves.tables[0], "loss") == [2.0]
    assert len(own_nodes(scene)) == 6


def test_a_class_may_be_called_like_a_column(slicer: Any, curves: Any) -> None:
    from dataclasses import replace

    curves.begin([replace(two_classes()[0], name="step"), replace(two_classes()[1], name="loss")])
    curves.add_dice(5, {"step": 0.5, "loss": 0.25})
    curves.show()
    assert column(curves.tables[1], "step") == [5]
    assert column(curves.tables[1], "Dice step") == [0.5]
    assert column(curves.tables[1], "Dice loss") == [0.25]


def test_a_line_of_the_type_line_ignores_x_in_the_host_too(slicer: Any, scene: Any) -> None:
    """What Slicer does: the host must not draw what Slicer would not."""
    import vtk

    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    for name, values in (("x", (0.0, 100.0, 1000.0)), ("y", (0.0, math.nan, 1.0))):
        numbers = vtk.vtkDoubleArray()
        numbers.SetName(name)
        for value in values:
            numbers.InsertNextValue(value)
        table.AddColumn(numbers)
    line = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
    line.SetAndObserveTableNodeID(table.GetID())
    line.SetXColumnName("x")
    line.SetYColumnName("y")
    from host.widgets.views import _points, _unbroken

    line.SetPlotType(line.PlotTypeLine)
    assert [x for x, _y in _points(line)] == [0, 1, 2]
    line.SetPlotType(line.PlotTypeScatter)
    assert [x for x, _y in _points(line)] == [0, 100, 1000]
    assert [len(piece) for piece in _unbroken(_points(line))] == [1, 1]

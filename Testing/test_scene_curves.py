"""The curves of a training: numbers in tables, lines in Slicer's plot, nothing left behind."""

from __future__ import annotations

import math
from typing import Any

import pytest

import driver

driver.require()

from scene_helpers import of_a_layout, two_classes

KINDS = ("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode", "vtkMRMLPlotViewNode")


@pytest.fixture
def curves(started: None) -> Any:
    import qt

    from AHNetSegmentLib.scene.curves import Curves

    frame = qt.QFrame()
    frame.resize(400, 260)
    frame.show()
    found = Curves(qt.QVBoxLayout(frame))
    found.begin(two_classes())
    yield found
    found.close()
    frame.close()
    frame.deleteLater()


def column(node: Any, name: str) -> list[float]:
    values = node.GetTable().GetColumnByName(name)
    return [values.GetValue(row) for row in range(values.GetNumberOfValues())]


def own_nodes(scene: Any) -> list[Any]:
    found = [scene.GetNthNodeByClass(n, kind) for kind in KINDS for n in range(scene.GetNumberOfNodesByClass(kind))]
    return [node for node in found if not of_a_layout(node)]


def fill(curves: Any) -> None:
    for step, loss in ((10, 1.5), (20, 0.9), (30, 0.7)):
        curves.add_loss(step, loss)
    curves.add_dice(20, {"Anterior": 0.25, "Posterior": None})
    curves.add_dice(30, {"Anterior": 0.75})
    curves.show()


def pixels(curves: Any, color: tuple[int, int, int]) -> int:
    """How many pixels of the plot have about this colour."""
    driver.pump(timeout_s=0.3)
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


def test_lines_are_drawn_in_the_colours_of_the_classes(curves: Any) -> None:
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


def errors_of_vtk(chart: Any) -> str:
    """What VTK reports when it paints the lines of a chart node, each as Slicer's plot paints it."""
    import vtk

    view = vtk.vtkContextView()
    view.GetRenderWindow().SetOffScreenRendering(1)
    drawn = vtk.vtkChartXY()
    view.GetScene().AddItem(drawn)
    for number in range(chart.GetNumberOfPlotSeriesNodes()):
        series = chart.GetNthPlotSeriesNode(number)
        plot = vtk.vtkPlotLine()
        plot.SetInputData(series.GetTableNode().GetTable(), series.GetXColumnName(), series.GetYColumnName())
        plot.SetMarkerStyle(series.GetMarkerStyle())
        drawn.AddPlot(plot)
    heard: list[str] = []
    before = vtk.vtkOutputWindow.GetInstance()
    window = vtk.vtkStringOutputWindow()
    window.AddObserver("ErrorEvent", lambda *_: heard.append("error"))
    vtk.vtkOutputWindow.SetInstance(window)
    try:
        view.GetRenderWindow().Render()
        return " ".join(heard)
    finally:
        vtk.vtkOutputWindow.SetInstance(before)


def drawn_lines(curves: Any) -> list[str]:
    chart = curves.widget.mrmlPlotViewNode().GetPlotChartNode()
    return [chart.GetNthPlotSeriesNode(n).GetName() for n in range(chart.GetNumberOfPlotSeriesNodes())]


def test_a_line_is_drawn_as_soon_as_it_has_two_points(curves: Any) -> None:
    chart = None
    for step, lines in ((10, []), (20, ["loss"]), (30, ["loss"])):
        curves.add_loss(step, 1.0 / step)
        curves.show()
        assert drawn_lines(curves) == lines
        chart = curves.widget.mrmlPlotViewNode().GetPlotChartNode()
        assert errors_of_vtk(chart) == ""
    for step, lines in ((20, ["loss"]), (30, ["loss", "Anterior", "Posterior"])):
        curves.add_dice(step, {"Anterior": 0.5})
        curves.show()
        assert drawn_lines(curves) == lines
        assert errors_of_vtk(chart) == ""


def test_vtk_reports_an_error_where_a_line_has_one_point(curves: Any, scene: Any) -> None:
    """Otherwise the test above could not fail."""
    curves.add_loss(10, 1.0)
    curves.show()
    chart = curves.widget.mrmlPlotViewNode().GetPlotChartNode()
    line = next(node for node in own_nodes(scene) if node.GetName() == "loss")
    chart.AddAndObservePlotSeriesNodeID(line.GetID())
    assert errors_of_vtk(chart) == "error"


def test_all_points_are_in_view_however_many_come(curves: Any) -> None:
    curves.add_loss(1, 0.5)
    curves.add_loss(2, 0.5)
    curves.show()
    curves.widget.resize(400, 260)
    pixels(curves, (0, 0, 0))
    for step in range(3, 41):
        curves.add_loss(step, 0.5 + 0.01 * step)
        curves.add_dice(step, {"Anterior": step / 50, "Posterior": 0.1})
        curves.show()
    image = curves.widget.grab().toImage()
    wanted = two_classes()[0].color

    def is_near(x: int, y: int) -> bool:
        found = image.pixelColor(x, y)
        return max(abs(a - b) for a, b in zip((found.red(), found.green(), found.blue()), wanted, strict=True)) < 40

    places = [x for x in range(image.width()) for y in range(image.height()) if is_near(x, y)]
    assert max(places) - min(places) > image.width() / 2, "the line goes over the whole plot"


def test_the_legend_stands_below_the_plot_and_hides_no_line(curves: Any) -> None:
    fill(curves)
    chart = curves.widget.mrmlPlotViewNode().GetPlotChartNode()
    assert not chart.GetLegendVisibility()
    legend = curves.widget.parentWidget().layout().itemAt(1).widget()
    for name, color in (
        ("loss", "#5a5a5a"),
        *((c.name, "#{:02x}{:02x}{:02x}".format(*c.color)) for c in two_classes()),
    ):
        assert f'{color}">■</span>&nbsp;{name}' in legend.text
    curves.close()
    assert legend.text == ""


@pytest.mark.parametrize("cases", [1, 2, 3])
def test_the_plot_of_an_evaluation_is_painted_without_errors(slicer: Any, qt: Any, cases: int) -> None:
    from AHNetSegmentLib.scene.plots import PanelPlot

    frame = qt.QFrame()
    plot = PanelPlot("AHNetSegmentTest")
    names = [f"case {number}" for number in range(cases)]
    plot.show(qt.QVBoxLayout(frame), names, [("Liver", (9, 99, 199), [0.5] * cases)])
    assert plot.chart.GetNumberOfPlotSeriesNodes() == 1
    assert errors_of_vtk(plot.chart) == ""
    assert plot.chart.GetXAxisRange() == (0.5, cases + 0.5)
    plot.close()


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


def test_a_class_may_be_called_like_a_column(curves: Any) -> None:
    from dataclasses import replace

    curves.begin([replace(two_classes()[0], name="step"), replace(two_classes()[1], name="loss")])
    curves.add_dice(5, {"step": 0.5, "loss": 0.25})
    curves.show()
    assert column(curves.tables[1], "step") == [5]
    assert column(curves.tables[1], "Dice step") == [0.5]
    assert column(curves.tables[1], "Dice loss") == [0.25]

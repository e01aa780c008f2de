"""A plot in the panel: drawn by VTK, from nodes of the scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host

pytest_plugins = ["host.fixtures"]


@pytest.fixture
def curve(slicer: Any) -> Any:
    """A plot view's node with a chart of one falling line."""
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Loss")
    slicer.util.updateTableFromArray(table, np.array([[1, 0.9], [2, 0.4], [3, 0.2]]), ["Epoch", "Loss"])
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "Loss")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("Epoch")
    series.SetYColumnName("Loss")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetColor(0.8, 0.1, 0.1)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Training")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle("Training")
    chart.SetXAxisTitle("Epoch")
    chart.SetYAxisTitle("Loss")
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode", "Training")
    view.SetPlotChartNodeID(chart.GetID())
    return view


def test_a_plot_draws_its_series_and_follows_the_table(slicer: Any, qt: Any, curve: Any, tmp_path: Path) -> None:
    widget = slicer.qMRMLPlotWidget()
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setMRMLPlotViewNode(curve)
    assert widget.mrmlPlotViewNode() is curve
    widget.resize(320, 200)
    pictures = []
    for value in (0.9, 0.05):
        series = curve.GetPlotChartNode().GetNthPlotSeriesNode(0)
        series.GetTableNode().SetCellText(0, 1, str(value))
        image = qt.QImage(str(host.grab(widget, tmp_path / f"{value}.png")))
        red = [
            (x, y)
            for x in range(image.width())
            for y in range(image.height())
            if qt.QColor(image.pixel(x, y)).red() > 150 > 90 > qt.QColor(image.pixel(x, y)).green()
        ]
        pictures.append(red)
    assert len(pictures[0]) > 100
    assert pictures[0] != pictures[1]
    widget.hide()

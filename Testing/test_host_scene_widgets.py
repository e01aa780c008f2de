"""Widgets of segmentations, tables, plots and markups follow their nodes."""

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
def segmentation(slicer: Any) -> Any:
    """Two segments with voxels."""
    from scene_helpers import two_labels, volume_node

    volume = volume_node(two_labels(), kind="vtkMRMLLabelMapVolumeNode", name="Labels")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Hippocampus")
    node.CreateDefaultDisplayNodes()
    logic = slicer.modules.segmentations.logic()
    assert logic.ImportLabelmapToSegmentationNode(volume, node)
    for index, name in enumerate(("Anterior", "Posterior")):
        node.GetSegmentation().GetNthSegment(index).SetName(name)
    return node


def test_the_3d_button_makes_shows_and_hides_surfaces(slicer: Any, segmentation: Any) -> None:
    button = slicer.qMRMLSegmentationShow3DButton()
    assert not button.enabled
    button.setSegmentationNode(segmentation)
    assert (button.enabled, button.checked) == (True, False)
    host.click(button)
    assert button.checked
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    segmentation.GetDisplayNode().SetVisibility3D(False)
    assert not button.checked
    button.locked = True
    assert not host.click(button)
    segmentation.GetSegmentation().RemoveAllSegments()
    button.locked = False
    assert not button.enabled
    button.setSegmentationNode(None)
    assert button.segmentationNode() is None


def test_the_segments_table_shows_and_changes_segments(slicer: Any, qt: Any, segmentation: Any) -> None:
    view = slicer.qMRMLSegmentsTableView()
    view.setSegmentationNode(segmentation)
    ids = list(segmentation.GetSegmentation().GetSegmentIDs())
    table = view.tableWidget()
    assert (view.segmentCount, view.displayedSegmentIDs()) == (2, ids)
    assert [table.item(row, 3).text() for row in range(2)] == ["Anterior", "Posterior"]
    table.item(1, 0).setCheckState(qt.Qt.Unchecked)
    assert not segmentation.GetDisplayNode().GetSegmentVisibility(ids[1])
    table.item(0, 3).setText("Head")
    assert segmentation.GetSegmentation().GetSegment(ids[0]).GetName() == "Head"
    heard: list[Any] = []
    view.selectionChanged.connect(lambda new, old: heard.append(view.selectedSegmentIDs()))
    view.setSelectedSegmentIDs([ids[1]])
    assert heard == [[ids[1]]]
    view.textFilter = "head"
    assert view.displayedSegmentIDs() == [ids[0]]
    view.textFilter = ""
    view.setHideSegments([ids[0]])
    assert (view.rowForSegmentID(ids[1]), view.segmentIDForRow(0)) == (0, ids[1])
    segmentation.GetSegmentation().RemoveSegment(ids[1])
    assert view.displayedSegmentIDs() == []


def test_a_segment_is_chosen(slicer: Any, segmentation: Any) -> None:
    selector = slicer.qMRMLSegmentSelectorWidget()
    heard: list[Any] = []
    selector.currentSegmentChanged.connect(heard.append)
    selector.setMRMLScene(slicer.mrmlScene)
    selector.setCurrentNode(segmentation)
    ids = selector.segmentIDs()
    assert (selector.currentNode(), selector.currentSegmentID()) == (segmentation, ids[0])
    selector.setCurrentSegmentID(ids[1])
    assert heard == ids
    assert selector.selectedSegmentIDs() == [ids[1]]
    selector.multiSelection = True
    selector.setSelectedSegmentIDs([*ids, "nobody"])
    assert selector.selectedSegmentIDs() == ids


def test_a_table_shows_its_node(slicer: Any, qt: Any) -> None:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Volumes")
    slicer.util.updateTableFromArray(node, np.array([[1.5, 2.0], [3.0, 4.0]]), ["Left", "Right"])
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(node)
    model = view.model()
    assert (model.rowCount(), model.columnCount()) == (2, 2)
    assert model.headerData(1, qt.Qt.Horizontal) == "Right"
    assert float(model.index(0, 0).data()) == 1.5
    node.SetCellText(0, 0, "7")
    assert float(model.index(0, 0).data()) == 7
    view.insertRow()
    assert model.rowCount() == 3


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


def test_a_box_can_be_placed_and_its_points_deleted(slicer: Any) -> None:
    for kind in ("vtkMRMLInteractionNode", "vtkMRMLSelectionNode"):
        node = slicer.mrmlScene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetSingletonTag("Singleton")
        slicer.mrmlScene.AddNode(node)
    box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    widget = slicer.qSlicerMarkupsPlaceWidget()
    assert not widget.enabled
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setCurrentNode(box)
    heard: list[bool] = []
    widget.activeMarkupsPlaceModeChanged.connect(heard.append)
    host.click(widget.placeButton())
    assert (widget.placeModeEnabled, widget.currentNodeActive, widget.currentMarkupsNode()) == (True, True, box)
    interaction = widget.interactionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert not widget.placeModeEnabled
    assert not widget.placeButton().checked
    box.AddControlPoint(1.0, 2.0, 3.0)
    host.click(widget.deleteButton())
    assert box.GetNumberOfControlPoints() == 0
    assert heard == [True]
    widget.setCurrentNode(None)
    assert not widget.enabled

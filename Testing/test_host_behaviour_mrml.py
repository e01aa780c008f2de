"""The widgets of MRML do what Slicer's sources say: signals of sets by a program, size hints, what a plot draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host

pytest_plugins = ["host.fixtures"]

LONG = "Thorax and abdomen, portal venous phase, reconstructed with an iterative kernel"
KIND = "vtkMRMLScalarVolumeNode"


@pytest.fixture
def make(slicer: Any) -> Callable[[], Any]:
    def selector() -> Any:
        found = slicer.qMRMLNodeComboBox()
        found.nodeTypes = [KIND]
        found.noneEnabled = True
        found.setMRMLScene(slicer.mrmlScene)
        return found

    return selector


@pytest.fixture
def add(slicer: Any) -> Callable[..., Any]:
    return lambda name="CT": slicer.mrmlScene.AddNewNodeByClass(KIND, name)


def test_a_node_that_a_program_chooses_is_announced_like_a_person_s_choice(make: Any, add: Any) -> None:
    selector, first, second = make(), add("CT"), add("MR")
    heard: list[Any] = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    selector.connect("currentNodeChanged(bool)", heard.append)
    selector.connect("currentNodeIDChanged(QString)", heard.append)
    for node in (first, first, second, None, None):
        selector.setCurrentNode(node)
    assert heard == [first, True, first.GetID(), second, True, second.GetID(), None, False, ""]


def test_a_node_of_another_kind_is_none(make: Any, add: Any, slicer: Any) -> None:
    selector, node = make(), add()
    selector.setCurrentNode(node)
    selector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode"))
    assert selector.currentNode() is None


def test_a_selector_that_has_nodes_with_long_names_at_first_is_wide(make: Any, add: Any, qt: Any) -> None:
    empty = make()
    narrow = empty.sizeHint.width()
    add(LONG)
    assert empty.sizeHint.width() == narrow
    full = make()
    policy = full.sizePolicy
    assert (policy.horizontalPolicy(), policy.verticalPolicy()) == (qt.QSizePolicy.Preferred, qt.QSizePolicy.Fixed)
    assert full.minimumSizeHint.width() > full.fontMetrics().boundingRect(LONG).width()


def test_a_scene_is_announced_when_it_is_another_one(slicer: Any) -> None:
    widget = slicer.qMRMLWidget()
    heard: list[Any] = []
    widget.connect("mrmlSceneChanged(vtkMRMLScene*)", heard.append)
    for scene in (slicer.mrmlScene, slicer.mrmlScene, None):
        widget.setMRMLScene(scene)
    assert heard == [slicer.mrmlScene, None]


@pytest.fixture
def segmentation(slicer: Any) -> Any:
    """Two segments with voxels."""
    from scene_helpers import two_labels, volume_node

    volume = volume_node(two_labels(), kind="vtkMRMLLabelMapVolumeNode", name="Labels")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Hippocampus")
    node.CreateDefaultDisplayNodes()
    assert slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(volume, node)
    return node


@pytest.mark.parametrize("by_a_program", [False, True])
def test_the_3d_button_makes_surfaces_and_removes_them(slicer: Any, segmentation: Any, by_a_program: bool) -> None:
    button = slicer.qMRMLSegmentationShow3DButton()
    assert not button.enabled
    button.setSegmentationNode(segmentation)
    assert (button.enabled, button.checked) == (True, False)
    for shown in (True, False):
        if by_a_program:
            button.checked = shown
        else:
            host.click(button)
        assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface") is shown
        assert button.checked is shown
        assert segmentation.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_the_3d_button_is_pressed_when_there_are_surfaces_shown_or_not(slicer: Any, segmentation: Any) -> None:
    button = slicer.qMRMLSegmentationShow3DButton()
    button.setSegmentationNode(segmentation)
    segmentation.CreateClosedSurfaceRepresentation()
    assert button.checked
    segmentation.GetDisplayNode().SetVisibility3D(False)
    assert button.checked
    button.locked = True
    assert not button.enabled
    button.locked = False
    segmentation.GetSegmentation().RemoveAllSegments()
    assert not button.enabled
    button.setSegmentationNode(None)
    assert button.segmentationNode() is None
    assert not button.enabled


class Plot:
    """A plot widget with a chart of lines over one table."""

    def __init__(self, slicer: Any, values: dict[str, tuple[float, ...]], kind: int | None = None) -> None:
        import vtk

        scene = slicer.mrmlScene
        self.table = scene.AddNewNodeByClass("vtkMRMLTableNode")
        for name in values:
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            self.table.AddColumn(column)
        self.add(values)
        self.chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
        for name in list(values)[1:]:
            line = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
            line.SetAndObserveTableNodeID(self.table.GetID())
            line.SetPlotType(line.PlotTypeScatter if kind is None else kind)
            line.SetXColumnName(next(iter(values)))
            line.SetYColumnName(name)
            self.chart.AddAndObservePlotSeriesNodeID(line.GetID())
        self.node = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
        self.node.SetPlotChartNodeID(self.chart.GetID())
        self.widget = slicer.qMRMLPlotWidget()
        self.widget.setMRMLScene(scene)
        self.widget.setMRMLPlotViewNode(self.node)
        self.widget.resize(320, 200)

    def add(self, values: dict[str, tuple[float, ...]]) -> None:
        """Appends to the columns."""
        for name, more in values.items():
            column = self.table.GetTable().GetColumnByName(name)
            for value in more:
                column.InsertNextValue(value)
            column.Modified()
        self.table.GetTable().Modified()

    def draw(self) -> None:
        self.widget.grab()

    def range(self) -> tuple[float, float]:
        """Of the axis of x."""
        import vtk

        found = [0.0, 0.0]
        self.widget.plotView().chart().GetAxis(vtk.vtkAxis.BOTTOM).GetUnscaledRange(found)
        return found[0], found[1]


def test_a_plot_keeps_the_axes_of_its_first_drawing_until_it_is_fitted(slicer: Any) -> None:
    plot = Plot(slicer, {"step": (1, 2), "loss": (1.0, 0.5)})
    plot.draw()
    assert plot.range() == (1, 2)
    plot.add({"step": (40,), "loss": (0.1,)})
    plot.draw()
    assert plot.range() == (1, 2)
    plot.widget.plotView().fitToContent()
    plot.draw()
    assert plot.range()[1] >= 40


def test_fitting_sets_a_fixed_axis_too_and_writes_the_ranges_into_the_chart(slicer: Any) -> None:
    plot = Plot(slicer, {"step": (1, 2), "loss": (1.0, 0.5)})
    plot.chart.SetXAxisRangeAuto(False)
    plot.chart.SetXAxisRange(0, 100)
    plot.draw()
    assert plot.range() == (0, 100)
    plot.widget.plotView().fitToContent()
    assert plot.range() == (1, 2)
    assert tuple(plot.chart.GetXAxisRange()) == (1, 2)


@pytest.mark.parametrize("values", [(), (1.0,)])
def test_a_line_of_fewer_than_two_rows_is_an_error_of_vtk_at_every_paint(
    slicer: Any, values: tuple[float, ...]
) -> None:
    plot = Plot(slicer, {"step": tuple(range(len(values))), "loss": values})
    with host.swallowed(host.VtkError) as found:
        plot.draw()
        plot.draw()
    assert len(found) >= 2
    assert "Attempted to paint a line with <2 points" in str(found[0])


def test_undefined_numbers_break_a_line_without_an_error(slicer: Any) -> None:
    plot = Plot(slicer, {"step": (1, 2, 3), "loss": (1.0, float("nan"), 0.5)})
    plot.draw()
    assert plot.range() == (1, 3)


def test_a_line_of_the_type_line_ignores_the_column_of_x(slicer: Any) -> None:
    kinds = slicer.vtkMRMLPlotSeriesNode
    for kind, last in ((kinds.PlotTypeLine, 2), (kinds.PlotTypeScatter, 1000)):
        plot = Plot(slicer, {"step": (0, 100, 1000), "loss": (1.0, 0.5, 0.2)}, kind)
        plot.draw()
        assert plot.range() == (0, last)


def test_a_plot_without_a_node_keeps_its_picture(slicer: Any) -> None:
    plot = Plot(slicer, {"step": (1, 2), "loss": (1.0, 0.5)})
    plot.draw()
    plot.widget.setMRMLPlotViewNode(None)
    assert plot.widget.mrmlPlotViewNode() is None
    assert plot.widget.plotView().chart().GetNumberOfPlots() == 1
    assert not plot.widget.plotView().sizeHint.isValid()

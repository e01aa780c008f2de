"""The curves of a training: its loss and the Dice of each class against steps, drawn by Slicer's own plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..engine.card import ClassCard

SHOW_MS = 200
"""What comes in within that time is drawn at once: a training that goes on tells all its past in one moment."""
LAYOUT = "AHNetSegmentTraining"
LOSS_COLOR = (0.35, 0.35, 0.35)
STEP = "step"
LOSS = "loss"


class Curves:
    """Two tables, a series for each line, a chart and a view of their own, in no list and in no saved scene.

    One table has the columns ``step`` and ``loss``, the other one ``step`` and ``Dice <class>`` for each class, NaN
    where it is undefined. They are two since a line is broken where a value is missing, and Dice is not known at every
    step.

    The nodes come with the first number and are made anew where the scene was closed in between.

    Args:
        plot_widget: a qMRMLPlotWidget.
    """

    def __init__(self, plot_widget: Any) -> None:
        self._widget = plot_widget
        self._classes: tuple[ClassCard, ...] = ()
        self._losses: list[tuple[float, ...]] = []
        self._dice: list[tuple[float, ...]] = []
        self._nodes: list[Any] = []
        self._tables: tuple[Any, Any] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(SHOW_MS)
        self._timer.connect("timeout()", self.show)

    @property
    def tables(self) -> tuple[Any, Any] | None:
        """The table nodes of the loss and of Dice; None while nothing is drawn."""
        return self._tables

    def begin(self, classes: Sequence[ClassCard]) -> None:
        """Forgets all numbers; those that come belong to a training with these classes."""
        self.close()
        self._classes = tuple(classes)
        self._losses, self._dice = [], []

    def add_loss(self, step: int, loss: float) -> None:
        """The loss after a step; it is drawn soon."""
        self._losses.append((float(step), float(loss)))
        self._show_soon()

    def add_dice(self, step: int, dice: Mapping[str, float | None]) -> None:
        """The Dice of each class, by its name, after a step; None or absent: undefined."""
        values = (dice.get(item.name) for item in self._classes)
        self._dice.append((float(step), *(math.nan if value is None else float(value) for value in values)))
        self._show_soon()

    def show(self) -> None:
        """Draws what has come, at once."""
        if slicer.mrmlScene is None or slicer.mrmlScene.IsClosing():
            return
        if not self._losses and not self._dice:
            return
        if self._tables is None or any(slicer.mrmlScene.GetNodeByID(node.GetID()) is not node for node in self._nodes):
            self.close()
            self._make_nodes()
        assert self._tables is not None
        for node, rows in zip(self._tables, (self._losses, self._dice), strict=True):
            _append(node, rows)

    def close(self) -> None:
        """Removes the nodes; the numbers are kept. Harmless when there are none."""
        self._timer.stop()
        nodes, self._nodes, self._tables = self._nodes, [], None
        if nodes:
            self._widget.setMRMLPlotViewNode(None)
        for node in reversed(nodes):
            if node.GetScene() is not None:
                node.GetScene().RemoveNode(node)

    def _show_soon(self) -> None:
        if not self._timer.active:
            self._timer.start()

    def _make_nodes(self) -> None:
        losses = self._add_table(_("Loss of the training"), (STEP, LOSS))
        dice = self._add_table(_("Dice of the validation"), (STEP, *map(_column, self._classes)))
        chart = self._add("vtkMRMLPlotChartNode", _("Training"))
        chart.SetTitleVisibility(False)
        chart.SetXAxisTitle(_("steps"))
        chart.SetYAxisTitle(_("loss, Dice"))
        for size in (chart.SetAxisTitleFontSize, chart.SetAxisLabelFontSize, chart.SetLegendFontSize):
            size(12)
        self._add_line(chart, losses, LOSS, _("loss"), LOSS_COLOR)
        for item in self._classes:
            color = tuple(value / 255 for value in item.color)
            self._add_line(chart, dice, _column(item), item.name, color, marked=True)
        self._show_chart(chart)
        self._tables = (losses, dice)

    def _add(self, kind: str, name: str) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(name)
        return self._add_node(node)

    def _add_node(self, node: Any) -> Any:
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        added = slicer.mrmlScene.AddNode(node)
        self._nodes.append(added)
        return added

    def _add_table(self, name: str, columns: Sequence[str]) -> Any:
        node = self._add("vtkMRMLTableNode", name)
        for column in columns:
            numbers = vtk.vtkDoubleArray()
            numbers.SetName(column)
            node.AddColumn(numbers)
        return node

    def _add_line(
        self, chart: Any, table: Any, column: str, name: str, color: tuple[float, ...], marked: bool = False
    ) -> None:
        line = self._add("vtkMRMLPlotSeriesNode", name)
        line.SetAndObserveTableNodeID(table.GetID())
        # Slicer's type Line ignores the column of x; Scatter with a line and without markers is what we want.
        line.SetPlotType(line.PlotTypeScatter)
        line.SetXColumnName(STEP)
        line.SetYColumnName(column)
        line.SetColor(*color)
        line.SetLineStyle(line.LineStyleSolid)
        line.SetMarkerStyle(line.MarkerStyleCircle if marked else line.MarkerStyleNone)
        chart.AddAndObservePlotSeriesNodeID(line.GetID())

    def _show_chart(self, chart: Any) -> None:
        """Puts the chart into a view that belongs to this panel: Slicer's layout leaves it alone."""
        owner = self._add("vtkMRMLScriptedModuleNode", LAYOUT)
        view = slicer.mrmlScene.CreateNodeByClass("vtkMRMLPlotViewNode")
        view.UnRegister(None)
        view.SetName(LAYOUT)
        view.SetLayoutName(LAYOUT)
        view.SetLayoutLabel("T")
        view.SetAndObserveParentLayoutNodeID(owner.GetID())
        view = self._add_node(view)
        view.SetPlotChartNodeID(chart.GetID())
        self._widget.setMRMLPlotViewNode(view)


def _column(item: ClassCard) -> str:
    return f"Dice {item.name}"


def _append(node: Any, rows: Sequence[tuple[float, ...]]) -> None:
    """Adds the rows to a table that it does not have yet."""
    table = node.GetTable()
    columns = [table.GetColumn(number) for number in range(table.GetNumberOfColumns())]
    new = rows[columns[0].GetNumberOfValues() :]
    if not new:
        return
    for number, column in enumerate(columns):
        for row in new:
            column.InsertNextValue(row[number])
        column.Modified()
    table.Modified()

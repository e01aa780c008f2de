"""The curves of a training: its loss and the Dice of each class against steps, drawn by Slicer's own plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..engine.card import ClassCard
from .plot_nodes import PlotNodes, number_column
from .timers import Once

SHOW_MS = 200
"""What comes in within that time is drawn at once: a training that goes on tells all its past in one moment."""
LAYOUT = "AHNetSegmentTraining"
LOSS_COLOR = (90, 90, 90)
STEP = "step"
LOSS = "loss"


class Curves:
    """Two tables, a series for each line, a chart and a view of their own, in no list and in no saved scene.

    One table has the columns ``step`` and ``loss``, the other one ``step`` and ``Dice <class>`` for each class, NaN
    where it is undefined. They are two since a line is broken where a value is missing, and Dice is not known at every
    step.

    The nodes come with the first number and are made anew where the scene was closed in between.

    Args:
        layout: gets the plot's widget with the first number.
    """

    def __init__(self, layout: Any) -> None:
        self._layout = layout
        self._classes: tuple[ClassCard, ...] = ()
        self._losses: list[tuple[float, ...]] = []
        self._dice: list[tuple[float, ...]] = []
        self._nodes = PlotNodes(LAYOUT)
        self._tables: tuple[Any, Any] | None = None
        self._show_soon = Once(self.show, SHOW_MS)

    @property
    def tables(self) -> tuple[Any, Any] | None:
        """The table nodes of the loss and of Dice; None while nothing is drawn."""
        return self._tables

    @property
    def widget(self) -> Any:
        """The qMRMLPlotWidget; None before the first number."""
        return self._nodes.widget

    def begin(self, classes: Sequence[ClassCard]) -> None:
        """Forgets all numbers; those that come belong to a training with these classes."""
        self.close()
        self._classes = tuple(classes)
        self._losses, self._dice = [], []

    def add_loss(self, step: int, loss: float) -> None:
        """The loss after a step; it is drawn soon."""
        self._losses.append((float(step), float(loss)))
        self._show_soon.want()

    def add_dice(self, step: int, dice: Mapping[str, float | None]) -> None:
        """The Dice of each class, by its name, after a step; None or absent: undefined."""
        values = (dice.get(item.name) for item in self._classes)
        self._dice.append((float(step), *(math.nan if value is None else float(value) for value in values)))
        self._show_soon.want()

    def show(self) -> None:
        """Draws what has come, at once."""
        if slicer.mrmlScene is None or slicer.mrmlScene.IsClosing():
            return
        if not self._losses and not self._dice:
            return
        if self._tables is None or not self._nodes.are_there:
            self.close()
            self._make_nodes()
        assert self._tables is not None
        for node, rows in zip(self._tables, (self._losses, self._dice), strict=True):
            _append(node, rows)
        self._nodes.draw_lines(fit=True)

    def close(self) -> None:
        """Removes the nodes; the numbers are kept. Harmless when there are none."""
        self._show_soon.stop()
        self._tables = None
        self._nodes.close()

    def _make_nodes(self) -> None:
        nodes = self._nodes
        losses = nodes.add_table(_("Loss of the training"), map(number_column, (STEP, LOSS)))
        dice = nodes.add_table(_("Dice of the validation"), map(number_column, (STEP, *map(_column, self._classes))))
        nodes.add_chart(_("Training"), _("steps"), _("loss, Dice"))
        nodes.add_line(_("loss"), losses, (STEP, LOSS), LOSS_COLOR, marked=False)
        for item in self._classes:
            nodes.add_line(item.name, dice, (STEP, _column(item)), item.color)
        nodes.show(self._layout)
        self._tables = (losses, dice)


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

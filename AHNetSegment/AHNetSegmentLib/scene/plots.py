"""Lines over a few places, each with a label: the plot of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .plot_nodes import FEWEST_ROWS, PlotNodes, number_column, text_column

LABEL, PLACE = "label", "place"


class PanelPlot:
    """A chart over one table, in a view of its own.

    Args:
        name: of the view, unique in Slicer.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes = PlotNodes(name)
        self.table: Any = None

    @property
    def chart(self) -> Any:
        """The chart node; None while nothing is drawn."""
        return self._nodes.chart

    def show(
        self, layout: Any, labels: Sequence[str], lines: Sequence[tuple[str, tuple[int, int, int], Sequence[float]]]
    ) -> None:
        """Draws lines over the places 1, 2 and so on.

        Args:
            layout: gets the plot's widget at the first call.
            labels: what is said of a place where the mouse points at it.
            lines: name, colour (RGB, 0 to 255) and values, one per place; NaN: none.
        """
        self.close()
        columns = [f"{number} {name}" for number, (name, _color, _values) in enumerate(lines)]
        # With places without a value, which are not drawn, a single point is a line that VTK takes.
        nothing = max(FEWEST_ROWS - len(labels), 0)
        self.table = self._nodes.add_table(
            self._name,
            [
                text_column(LABEL, [*labels, *[""] * nothing]),
                number_column(PLACE, range(1, len(labels) + nothing + 1)),
                *(
                    number_column(column, [*line[2], *[math.nan] * nothing])
                    for column, line in zip(columns, lines, strict=True)
                ),
            ],
        )
        chart = self._nodes.add_chart(self._name)
        chart.SetXAxisRangeAuto(False)
        chart.SetXAxisRange(0.5, len(labels) + 0.5)
        for column, (name, color, _values) in zip(columns, lines, strict=True):
            self._nodes.add_line(name, self.table, (PLACE, column), color).SetLabelColumnName(LABEL)
        self._nodes.show(layout)

    def close(self) -> None:
        """Removes the nodes. Harmless when there are none."""
        self.table = None
        self._nodes.close()

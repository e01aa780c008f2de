"""What an evaluation found: a table, a plot, a file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..engine.card import ClassCard
from ..engine.errors import AHNetSegmentError
from ..engine.files import write_text
from .plots import PanelPlot

PLOT = "AHNetSegmentEvaluation"
MEASURES = {
    "dice": (3, ""),
    "hausdorff95_mm": (1, ""),
    "volume_error_ml": (2, "+"),
    "volume_error_percent": (1, "+"),
}
"""The measures of a row, their decimals, and whether they always have a sign."""
UNDEFINED = "–"
INDENT = "   "
ICON_PX = 12
TOP = 1.05
"""Of the axis of Dice: what is at 1 is drawn whole."""


@dataclass(frozen=True)
class Evaluated:
    """The answer of the worker's task ``evaluate``.

    Attributes:
        evaluation: see :meth:`~AHNetSegmentLib.engine.evaluation.Evaluation.to_dict`.
        csv: one row per case and class, cases called ``case 1`` and so on.
        classes: of the model.
        case_names: what a person calls the cases.
    """

    evaluation: Mapping[str, Any]
    csv: str
    classes: tuple[ClassCard, ...]
    case_names: tuple[str, ...]

    def measured(self) -> list[Mapping[str, Any]]:
        """The summaries of the classes that some case labels."""
        labels = {
            item["label"]
            for case in self.evaluation["cases"]
            for item in case["classes"]
            if item["reference_ml"] is not None
        }
        return [item for item in self.evaluation["classes"] if item["label"] in labels]

    def rows(self) -> list[list[str]]:
        """Class, case and the measures: for each class a row of its means, then one for each case."""
        rows = []
        for summary in self.measured():
            means = [_text(summary[key]["mean"], *how) for key, how in MEASURES.items()]
            rows.append([summary["class"], _("Mean"), *means])
            for name, case in zip(self.case_names, self.evaluation["cases"], strict=True):
                item = _of_label(case, summary["label"])
                rows.append([summary["class"], name, *(_text(item[key], *how) for key, how in MEASURES.items())])
        return rows

    def named_csv(self) -> str:
        """The CSV text with the names of the cases."""
        names = {case["case"]: name for case, name in zip(self.evaluation["cases"], self.case_names, strict=True)}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([names.get(row[0], row[0]), *row[1:]] for row in csv.reader(io.StringIO(self.csv)) if row)
        return text.getvalue()


class EvaluationResults:
    """The table, the plot, and the buttons below them.

    Args:
        ui: the widgets of ``Resources/UI/Evaluate.ui`` by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.plot = PanelPlot(PLOT)
        self._shown: Evaluated | None = None
        ui.copyEvaluationButton.connect("clicked()", self.copy)
        ui.saveEvaluationButton.connect("clicked()", self.save)
        table = ui.evaluationTable
        # Short, so that the names of classes find room; the tool tips say more.
        header = [_("Class (mean), cases"), _("Dice"), _("HD95"), _("ΔV mL"), _("ΔV %")]
        table.setColumnCount(len(header))
        table.setHorizontalHeaderLabels(header)
        for column, tip in enumerate(_tips()):
            table.horizontalHeaderItem(column).setToolTip(tip)
            mode = qt.QHeaderView.ResizeToContents if column else qt.QHeaderView.Stretch
            table.horizontalHeader().setSectionResizeMode(column, mode)
        table.verticalHeader().hide()
        self._enable()

    def clear(self) -> None:
        """Forgets the last evaluation; its nodes leave the scene."""
        self._shown = None
        self.ui.evaluationTable.setRowCount(0)
        self.plot.close()
        self._enable()

    def show(self, found: Evaluated) -> None:
        """Shows an evaluation."""
        self._shown = found
        self._fill(found)
        self._enable()
        cases = found.evaluation["cases"]
        colors = {item.label: item.color for item in found.classes}
        lines = []
        for summary in found.measured():
            values = [_of_label(case, summary["label"])["dice"] for case in cases]
            numbers = [math.nan if value is None else float(value) for value in values]
            lines.append((summary["class"], colors[summary["label"]], numbers))
        self.plot.show(self.ui.evaluationPlot.layout(), found.case_names, lines)
        self.plot.chart.SetXAxisTitle(_("case, in the order of the table"))
        self.plot.chart.SetYAxisTitle(_("Dice"))
        self.plot.chart.SetYAxisRangeAuto(False)
        self.plot.chart.SetYAxisRange(0.0, TOP)

    def text(self) -> str:
        """The table with tabs."""
        rows = self._shown.rows() if self._shown is not None else []
        return "\n".join("\t".join(row) for row in [_header(), *rows])

    def copy(self) -> None:
        """Puts the table on the clipboard."""
        qt.QApplication.clipboard().setText(self.text())

    def save(self) -> None:
        """Asks for a file and writes one row per case and class."""
        if self._shown is None:
            return
        title, kinds = _("Save the evaluation"), _("Comma-separated values") + " (*.csv)"
        chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, "evaluation.csv", kinds)
        if not chosen:
            return
        path = Path(chosen)
        path = path if path.suffix else path.with_suffix(".csv")
        try:
            write_text(path, self._shown.named_csv())
        except AHNetSegmentError as error:
            slicer.util.errorDisplay(str(error))

    def _fill(self, found: Evaluated) -> None:
        """A row with the means of each class, in bold, and one for each of its cases below."""
        table, mean = self.ui.evaluationTable, _("Mean")
        colors = {item.name: item.color for item in found.classes}
        rows = found.rows()
        table.setRowCount(len(rows))
        for number, (name, case, *values) in enumerate(rows):
            is_mean = number == 0 or rows[number - 1][0] != name
            first = qt.QTableWidgetItem(name if is_mean else f"{INDENT}{case}")
            first.setToolTip(f"{name}: {mean}" if is_mean else f"{name}: {case}")
            if is_mean:
                picture = qt.QPixmap(ICON_PX, ICON_PX)
                picture.fill(qt.QColor(*colors[name]))
                first.setIcon(qt.QIcon(picture))
            cells = [first, *(qt.QTableWidgetItem(value) for value in values)]
            for column, cell in enumerate(cells):
                if column:
                    cell.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                font = cell.font()
                font.setBold(is_mean)
                cell.setFont(font)
                table.setItem(number, column, cell)

    def _enable(self) -> None:
        there = self._shown is not None
        for name in ("evaluationTable", "evaluationPlot", "copyEvaluationButton", "saveEvaluationButton"):
            getattr(self.ui, name).visible = there


def _header() -> list[str]:
    return [_("Class"), _("Case"), _("Dice"), _("HD95 (mm)"), _("Volume error (mL)"), _("Volume error (%)")]


def _tips() -> list[str]:
    return [
        _("The mean of each structure over the cases, and the volume of each case"),
        _("Overlap: 1 is perfect, 0 is none. It is undefined where neither has the structure."),
        _("95 % Hausdorff distance in mm: but for a twentieth, the surfaces are nowhere further apart."),
        _("Volume of the model's result minus that of the segmentation, in mL"),
        _("Volume error in percent of the segmentation's volume"),
    ]


def _of_label(case: Mapping[str, Any], label: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(item for item in case["classes"] if item["label"] == label)
    return found


def _text(value: float | None, decimals: int, sign: str) -> str:
    return UNDEFINED if value is None else f"{value:{sign}.{decimals}f}"

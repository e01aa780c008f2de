"""What a person sees of a training: curves, a slice of a validation case, and Dice before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from ..engine.card import ClassCard
from .cases import CaseRow
from .curves import Curves
from .sentences import Sentence
from .transforms import node_name

PREVIEW_HEIGHT = 300
NOTHING = "–"


class TrainView:
    """Curves, picture and table below the buttons; each is hidden while it has nothing to show.

    Args:
        ui: the widgets of ``Resources/UI/Train.ui`` by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.curves = Curves(ui.curvesPlot.layout())
        self._classes: tuple[ClassCard, ...] = ()
        self._picture: Any = None
        table = ui.trainedTable
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Structure"), _("Case"), _("Before"), _("After")])
        for column in (0, 1):
            table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.Stretch)
        for column in (2, 3):
            table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        table.verticalHeader().hide()
        ui.copyTrainedButton.connect("clicked()", self.copy)
        self._rows: list[tuple[str, str, str, str]] = []
        self._notes = Sentence(ui.trainedNotesLabel)
        self._hide()

    def begin(self, classes: Sequence[ClassCard]) -> None:
        """Forgets the last training; the one that begins has these classes."""
        self._classes = tuple(classes)
        self.curves.begin(classes)
        self._hide()

    def report(self, facts: Mapping[str, Any]) -> None:
        """Shows what the worker reports on its way."""
        if facts["kind"] == "loss":
            self.curves.add_loss(facts["step"], facts["loss"])
        elif facts["kind"] == "validation":
            self.curves.add_dice(facts["step"], facts["dice"])
            if facts.get("preview"):
                self._show_picture(str(facts["preview"]), int(facts["step"]))
        else:
            return
        self.ui.curvesPlot.visible = True

    def show_result(self, result: Mapping[str, Any], case_names: Mapping[str, str]) -> None:
        """Shows what has become better.

        Args:
            result: of the task ``finetune``.
            case_names: what a case of the job is called in the scene.
        """
        self.curves.show()
        self._rows = result_rows(result.get("before"), result.get("after"), case_names)
        colors = {item.name: item.color for item in self._classes}
        table = self.ui.trainedTable
        table.setRowCount(len(self._rows))
        for row, cells in enumerate(self._rows):
            for column, text in enumerate(cells):
                item = qt.QTableWidgetItem(text)
                if column >= 2:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                if column == 0 and cells[0] in colors:
                    picture = qt.QPixmap(12, 12)
                    picture.fill(qt.QColor(*colors[cells[0]]))
                    item.setIcon(qt.QIcon(picture))
                table.setItem(row, column, item)
        self.ui.trainedBox.visible = bool(self._rows)
        self._notes.say("\n".join(result.get("notes") or ()))

    def rows(self) -> str:
        """The table as text with tabs."""
        header = (_("Structure"), _("Case"), _("Before"), _("After"))
        return "\n".join("\t".join(cells) for cells in (header, *self._rows))

    def copy(self) -> None:
        """Puts the table on the clipboard."""
        qt.QApplication.clipboard().setText(self.rows())

    def _hide(self) -> None:
        self._rows = []
        self.ui.trainedTable.setRowCount(0)
        self.ui.previewLabel.clear()
        self._notes.say("")
        for name in ("curvesPlot", "previewLabel", "previewCaptionLabel", "trainedBox"):
            getattr(self.ui, name).visible = False

    def _show_picture(self, path: str, step: int) -> None:
        """The picture is held in memory: its file goes away with the job."""
        picture = qt.QPixmap(path)
        if picture.isNull():
            return
        width = max(int(self.ui.trainButton.width), 100)
        fitted = picture.scaled(width, PREVIEW_HEIGHT, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation)
        self.ui.previewLabel.setPixmap(fitted)
        self.ui.previewCaptionLabel.text = _(
            "A slice of a validation case after step {step}. Outlines: the result in the colour of each structure, the "
            "reference in white."
        ).format(step=step)
        self.ui.previewLabel.visible = True
        self.ui.previewCaptionLabel.visible = True


def case_names(rows: Sequence[CaseRow]) -> dict[str, str]:
    """What the cases of a job are called in the scene."""
    return {f"case {number}": node_name(row.volume_node, f"case {number}") for number, row in enumerate(rows, start=1)}


def result_rows(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, case_names: Mapping[str, str]
) -> list[tuple[str, str, str, str]]:
    """Structure, case, Dice before and Dice after: for each class its mean over all cases, then case by case.

    Args:
        before: an ``Evaluation.to_dict()`` with the base model; None: there is none.
        after: the same with the new model.
        case_names: what a case of the job is called in the scene; one that is missing keeps its name.
    """
    shown = after or before
    if not shown:
        return []
    rows = []
    for item in shown["classes"]:
        means = (_mean(evaluation, item["label"]) for evaluation in (before, after))
        rows.append((item["class"], _("all (mean)"), *map(_number, means)))
        for case in shown["cases"]:
            values = (_case_dice(evaluation, case["case"], item["label"]) for evaluation in (before, after))
            rows.append((item["class"], case_names.get(case["case"], case["case"]), *map(_number, values)))
    return [(structure, case, first, second) for structure, case, first, second in rows]


def _mean(evaluation: Mapping[str, Any] | None, label: int) -> float | None:
    classes = evaluation["classes"] if evaluation else ()
    return next((item["dice"]["mean"] for item in classes if item["label"] == label), None)


def _case_dice(evaluation: Mapping[str, Any] | None, case: str, label: int) -> float | None:
    cases = evaluation["cases"] if evaluation else ()
    classes = next((item["classes"] for item in cases if item["case"] == case), ())
    return next((item["dice"] for item in classes if item["label"] == label), None)


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"

"""The section Result: volumes, 3D, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..engine.errors import AHNetSegmentError
from ..engine.report_html import write_html
from .run import Finished

REPORT_FILE = "AHNetSegment-report.html"


class ResultSection:
    """What the last run found.

    Args:
        ui: the widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._shown: Finished | None = None
        ui.copyButton.connect("clicked()", self.copy)
        ui.reportButton.connect("clicked()", self.open_report)
        copy = qt.QShortcut(qt.QKeySequence("Ctrl+C"), ui.volumeTable)
        copy.setContext(qt.Qt.WidgetShortcut)
        copy.connect("activated()", self.copy_selected)
        table = ui.volumeTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Segment"), _("Volume (mL)")])
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.verticalHeader().hide()
        self._enable()

    def clear(self) -> None:
        """Forgets the last run."""
        self._shown = None
        self.ui.volumeTable.setRowCount(0)
        self.ui.show3DButton.setSegmentationNode(None)
        self._enable()

    def show(self, done: Finished) -> None:
        """Shows a run's volumes."""
        self._shown = done
        table = self.ui.volumeTable
        table.setRowCount(len(done.volumes))
        for row, volume in enumerate(done.volumes):
            picture = qt.QPixmap(12, 12)
            picture.fill(qt.QColor(*volume.color))
            name = qt.QTableWidgetItem(volume.name)
            name.setIcon(qt.QIcon(picture))
            number = qt.QTableWidgetItem(f"{volume.ml:.2f}")
            number.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            table.setItem(row, 0, name)
            table.setItem(row, 1, number)
        self.ui.show3DButton.setSegmentationNode(done.segmentation_node)
        self._enable()

    def _enable(self) -> None:
        nothing = _("There is no result yet.")
        for button, tip in (
            (self.ui.copyButton, _("Copies all rows, for a spreadsheet.")),
            (self.ui.reportButton, _("Opens a page with volumes, checks, model and settings in the browser.")),
            (self.ui.show3DButton, _("Shows the segments in the 3D view. Large segments take a few seconds.")),
        ):
            button.enabled = self._shown is not None
            button.toolTip = tip if self._shown is not None else nothing

    def rows(self, chosen: set[int] | None = None) -> str:
        """The table as text with tabs, all rows or the chosen ones."""
        volumes = self._shown.volumes if self._shown is not None else ()
        lines = [f"{_('Segment')}\t{_('Volume (mL)')}"]
        lines += [f"{v.name}\t{v.ml:.3f}" for row, v in enumerate(volumes) if chosen is None or row in chosen]
        return "\n".join(lines)

    def copy(self) -> None:
        """Puts all rows on the clipboard."""
        qt.QApplication.clipboard().setText(self.rows())

    def copy_selected(self) -> None:
        """Puts the selected rows on the clipboard."""
        table = self.ui.volumeTable
        chosen = {row for row in range(table.rowCount) if table.item(row, 0).isSelected()}
        qt.QApplication.clipboard().setText(self.rows(chosen))

    def open_report(self) -> None:
        """Writes the run report into Slicer's temporary folder and opens it in the browser."""
        if self._shown is None:
            return
        path = Path(slicer.app.temporaryPath) / REPORT_FILE
        try:
            write_html(path, self._shown.report)
        except AHNetSegmentError as error:
            slicer.util.errorDisplay(str(error))
            return
        _open(str(path))


def _open(path: str) -> None:
    """Opens a file in the program that the system has for it."""
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path))

"""The section of the panel where a person chooses labelled cases and what their segments mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..engine.card import ClassCard, ModelCard
from .case_checks import Finding, check_row
from .cases import CaseRow, pairs_in_scene, segment_labels
from .quiet import quiet
from .segments import LABELMAP, SURFACE
from .sentences import Sentence
from .structures import StructureTable, structures_of
from .timers import Once
from .transforms import node_name
from .watching import NodeWatch

VOLUME, SEGMENTATION, USE, COMPLETE, CHECK = range(5)
SCENE_MS = 300
"""So long after a change in the scene it is looked at: a brush changes it many times a second."""
SENTENCES = 6
CHECK_PX = 48
"""Enough for the mark; the sentences stand below the table, and a person can widen the column."""
HINDERS = "✗"
MOST_CLASSES = 254
"""Labels are bytes; 0 is background, and 255 means that a voxel counts nowhere."""


@dataclass(eq=False)
class _Row:
    """A row of the table, and what was found in which state of its nodes."""

    volume_node: Any
    segmentation_node: Any
    use: str = "auto"
    complete: bool = False
    checked: tuple[Any, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    number: int = field(default_factory=count(1).__next__)

    @property
    def nodes(self) -> tuple[Any, Any]:
        return (self.volume_node, self.segmentation_node)

    @property
    def is_there(self) -> bool:
        return all(node.GetScene() is not None for node in self.nodes)


class CaseTable:
    """The tables of cases and of structures.

    Args:
        ui: the widgets of ``Resources/UI/Cases.ui`` by name.
        changed: called, from the event loop, when rows, classes or problems have changed.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self.ui = ui
        self._changed = changed
        self._rows: list[_Row] = []
        self._base: ModelCard | None = None
        self._enabled, self._closed = True, False
        self._turn_soon = Once(self._turn)
        self._nodes = NodeWatch(lambda: self._soon(SCENE_MS))
        self._said = Sentence(ui.casesNoteLabel)
        self._found = Sentence(ui.casesFindingsLabel, _("What is wrong with the cases (✗), or may be (⚠)."))
        self._structures = StructureTable(ui.structuresTable, self._soon)
        self._prepare_table()
        ui.addCaseButton.connect("clicked()", self._on_add)
        ui.addAllCasesButton.connect("clicked()", self._on_add_all)
        ui.removeCaseButton.connect("clicked()", self._on_remove)
        ui.casesTable.connect("itemSelectionChanged()", self._show_buttons)
        ui.casesTable.connect("itemChanged(QTableWidgetItem*)", self._on_item_changed)
        for selector in (ui.caseVolumeSelector, ui.caseSegmentationSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._show_buttons)
        scene = slicer.mrmlScene
        self._scene_tags = [
            scene.AddObserver(scene.NodeRemovedEvent, self._on_node_removed),
            scene.AddObserver(scene.EndCloseEvent, self._on_scene_closed),
        ]
        self._show_buttons()
        self._show_texts()

    # What others read

    def rows(self) -> tuple[CaseRow, ...]:
        """The chosen cases, in the order of the table."""
        return tuple(
            CaseRow(row.volume_node, row.segmentation_node, row.use, row.complete)
            for row in self._rows
            if row.is_there
        )  # fmt: skip

    def classes(self) -> tuple[ClassCard, ...]:
        """The classes that segments are assigned to, labels from 1: the base's first, in its order, then new ones."""
        return self._structures.classes()

    def mapping(self) -> dict[str, int]:
        """The label of each segment name that is learned; names differ in more than upper and lower case."""
        return self._structures.mapping()

    def set_base(self, card: ModelCard | None) -> None:
        """Offers the classes of a base model and compares the volumes with it; None: from scratch."""
        if card != self._base:
            self._base = card
            self._structures.set_base(card)
            self._soon()

    def problems(self) -> list[str]:
        """Sentences that hinder a start, one of them while cases are still being checked; empty: it may start."""
        rows = [row for row in self._rows if row.is_there]
        if not rows:
            return [_("Add at least one case: a volume and a segmentation of it.")]
        classes = self.classes()
        if not classes:
            return [_("Choose a class for at least one segment.")]
        if len(classes) > MOST_CLASSES:
            text = _("There are {count} classes, and a model can have {most}; give several segments one class.")
            return [text.format(count=len(classes), most=MOST_CLASSES)]
        if any(row.checked != self._state(row) for row in rows):
            return [_("The cases are still being checked.")]
        return list(dict.fromkeys(item.sentence for row in rows for item in row.findings if item.hinders))

    @property
    def enabled(self) -> bool:
        """Whether a person can change something."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = value
        for name in ("caseVolumeSelector", "caseSegmentationSelector", "casesTable", "structuresTable"):
            getattr(self.ui, name).enabled = value
        self._show_buttons()

    def clear(self) -> None:
        """Takes all cases out, and forgets what segments were called."""
        self._rows = []
        self._structures.forget()
        self._note("")
        self._show()

    def close(self) -> None:
        """Stops watching the scene: the panel closes."""
        self._closed = True
        for tag in self._scene_tags:
            slicer.mrmlScene.RemoveObserver(tag)
        self._scene_tags = []
        self._rows = []
        self._nodes.stop()
        self._turn_soon.stop()

    # What a person does

    def _on_add(self) -> None:
        pair = (self.ui.caseVolumeSelector.currentNode(), self.ui.caseSegmentationSelector.currentNode())
        if None in pair:
            return
        names = {"volume": node_name(pair[0], _("The volume")), "segmentation": node_name(pair[1], _("a segmentation"))}
        if self._add([pair]):
            self._note(_("Added {volume} with {segmentation}.").format(**names))
        else:
            self._note(_("{volume} with {segmentation} is in the table already.").format(**names))

    def _on_add_all(self) -> None:
        pairs = pairs_in_scene()
        added = self._add(pairs.found)
        said = [_("Added {count} of {found} pairs in the scene.").format(count=added, found=len(pairs.found))]
        said += [
            _(
                "{name} has no volume: it names none, and lies on the grid of none or of several; add it by hand."
            ).format(name=node_name(node, _("A segmentation")))
            for node in pairs.without_volume
        ]
        self._note("\n".join(said))

    def _on_remove(self) -> None:
        chosen = self._selected()
        self._rows = [row for place, row in enumerate(self._rows) if place not in chosen]
        self._note("")
        self._show()

    def _add(self, pairs: Any) -> int:
        """Adds what is not there yet; returns how many."""
        there = [row.nodes for row in self._rows]
        new = [_Row(*pair) for pair in pairs if tuple(pair) not in there]
        self._rows += new
        self._show()
        return len(new)

    def _on_item_changed(self, item: Any) -> None:
        if item.column() == COMPLETE and item.row() < len(self._rows):
            self._rows[item.row()].complete = item.checkState() == qt.Qt.Checked
            self._soon()

    def _on_use_chosen(self, row: _Row, use: str) -> None:
        row.use = use
        self._soon()

    def _selected(self) -> set[int]:
        table = self.ui.casesTable
        return {row for row in range(table.rowCount) if table.item(row, VOLUME).isSelected()}

    # What happens in the scene

    def _on_node_removed(self, _caller: Any, _event: Any) -> None:
        self._soon()

    def _on_scene_closed(self, _caller: Any, _event: Any) -> None:
        self.clear()

    def _soon(self, delay_ms: int = 0) -> None:
        """Shows everything anew in a later turn of the event loop, once for many changes."""
        if not self._closed:
            self._turn_soon.want(delay_ms)

    def _turn(self) -> None:
        """Shows the tables, and checks one case that has changed; another one in the next turn."""
        self._show(check_later=False)
        stale = [row for row in self._rows if row.checked != self._state(row)]
        if not stale:
            return
        row = stale[0]
        state = self._state(row)
        row.findings = check_row(CaseRow(*row.nodes, row.use, row.complete), self.mapping(), self._base)
        row.checked = state
        self._show_texts()
        self._changed()
        if len(stale) > 1:
            self._soon()

    def _state(self, row: _Row) -> tuple[Any, ...]:
        """Differs when what :func:`check_row` looks at has changed."""
        learned = tuple(segment_labels(row.segmentation_node, self.mapping()))
        return (
            row.complete,
            learned,
            self._base,
            _volume_state(row.volume_node),
            _segmentation_state(row.segmentation_node),
        )

    # What is shown

    def _prepare_table(self) -> None:
        table = self.ui.casesTable
        table.setColumnCount(5)
        table.setHorizontalHeaderLabels([_("Volume"), _("Segmentation"), _("Use"), _("Complete"), _("Check")])
        tips = {
            USE: _(
                "Training: the model learns from it. Validation: the model is measured on it. Automatic: as needed."
            ),
            COMPLETE: _complete_tip(),
            CHECK: _("What is wrong with the case, or may be."),
        }
        for column, tip in tips.items():
            table.horizontalHeaderItem(column).setToolTip(tip)
        header = table.horizontalHeader()
        for column in (VOLUME, SEGMENTATION):
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch)
        for column in (USE, COMPLETE):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.resizeSection(CHECK, CHECK_PX)
        # A title that a narrow panel cuts can still be read.
        header.setDefaultAlignment(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)
        table.verticalHeader().hide()

    def _show(self, check_later: bool = True) -> None:
        """Brings the tables in line with rows and scene."""
        self._rows = [row for row in self._rows if row.is_there]
        self._nodes.follow(node for row in self._rows for node in row.nodes)
        table = self.ui.casesTable
        shown = [table.item(row, VOLUME).data(qt.Qt.UserRole) for row in range(table.rowCount)]
        if shown != [row.number for row in self._rows]:
            self._fill()
        self._structures.show(structures_of(row.segmentation_node for row in self._rows))
        self._show_texts()
        self._show_buttons()
        self._changed()
        if check_later:
            self._soon()

    def _fill(self) -> None:
        """Makes the rows' cells anew."""
        table = self.ui.casesTable
        with quiet(table):
            table.setRowCount(0)
            table.setRowCount(len(self._rows))
            for number, row in enumerate(self._rows):
                for column in (VOLUME, SEGMENTATION, CHECK):
                    table.setItem(number, column, qt.QTableWidgetItem(""))
                table.item(number, VOLUME).setData(qt.Qt.UserRole, row.number)
                complete = qt.QTableWidgetItem("")
                complete.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
                complete.setCheckState(qt.Qt.Checked if row.complete else qt.Qt.Unchecked)
                complete.setToolTip(_complete_tip())
                table.setItem(number, COMPLETE, complete)
                table.setCellWidget(number, USE, self._use_box(row))

    def _use_box(self, row: _Row) -> Any:
        box = qt.QComboBox()
        for text, use in ((_("Automatic"), "auto"), (_("Training"), "training"), (_("Validation"), "validation")):
            box.addItem(text, use)
        box.currentIndex = box.findData(row.use)
        box.connect("currentIndexChanged(int)", lambda index: self._on_use_chosen(row, box.itemData(index)))
        return box

    def _show_texts(self) -> None:
        """Names and findings."""
        table, said = self.ui.casesTable, []
        with quiet(table):
            for number, row in enumerate(self._rows):
                for column, node in zip((VOLUME, SEGMENTATION), row.nodes, strict=True):
                    name = node_name(node, "–")
                    table.item(number, column).setText(name)
                    table.item(number, column).setToolTip(name)
                findings = self._findings(row)
                cell = table.item(number, CHECK)
                cell.setText(_check_text(findings))
                cell.setToolTip("\n".join(item.sentence for item in findings or []))
                said += [_marked(item) for item in findings or []]
        lines = sorted(dict.fromkeys(said), key=lambda line: not line.startswith(HINDERS))
        if len(lines) > SENTENCES:
            more = _("… and {count} more: see the column Check.").format(count=len(lines) - SENTENCES)
            lines = [*lines[:SENTENCES], more]
        self._found.say("\n".join(lines))

    def _findings(self, row: _Row) -> list[Finding] | None:
        """What is said of a row; None: it is still to be checked."""
        if row.checked != self._state(row):
            return None
        if sum(other.volume_node is row.volume_node for other in self._rows) == 1:
            return row.findings
        text = _("{name} is the volume of several cases; keep the one with the best segmentation.")
        return [*row.findings, Finding(text.format(name=node_name(row.volume_node, _("The volume"))), False)]

    def _show_buttons(self) -> None:
        ui, pair = self.ui, (self.ui.caseVolumeSelector.currentNode(), self.ui.caseSegmentationSelector.currentNode())
        states = (
            (ui.addCaseButton, None not in pair, _("Adds this volume with this segmentation."),
             _("Select a volume and a segmentation first.")),
            (ui.removeCaseButton, bool(self._selected()), _("Takes the selected cases out of the table."),
             _("Select cases in the table first.")),
        )  # fmt: skip
        for button, ready, tip, reason in states:
            button.enabled = ready and self._enabled
            button.toolTip = tip if ready else reason
        ui.addAllCasesButton.enabled = self._enabled

    def _note(self, text: str) -> None:
        self._said.say(text)


def _complete_tip() -> str:
    return _("Every structure of the list is labelled in this case; what is not labelled is background.")


def _marked(finding: Finding) -> str:
    return f"{HINDERS if finding.hinders else '⚠'} {finding.sentence}"


def _check_text(findings: list[Finding] | None) -> str:
    if findings is None:
        return "…"
    return _marked(findings[0]) if findings else "✓"


def _volume_state(node: Any) -> tuple[Any, ...]:
    image = node.GetImageData()
    return (node.GetID(), node.GetMTime(), image.GetMTime() if image is not None else 0, _place_state(node))


def _segmentation_state(node: Any) -> tuple[Any, ...]:
    segmentation = node.GetSegmentation()
    times = [node.GetMTime(), segmentation.GetMTime()]
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        times.append(segment.GetMTime())
        for name in (LABELMAP, SURFACE):
            representation = segment.GetRepresentation(name)
            times.append(representation.GetMTime() if representation is not None else 0)
    return (node.GetID(), max(times), len(times), _place_state(node))


def _place_state(node: Any) -> tuple[Any, ...]:
    """Differs when a parent transform has changed."""
    parent = node.GetParentTransformNode()
    return () if parent is None else (parent.GetID(), parent.GetTransformToWorldMTime())

"""The table of structures: which class each segment name is, over all cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from ..engine.card import UNCODED, ClassCard, Code, ModelCard, Terminology
from .quiet import quiet

NOT_LEARNED = "–"
ICON_PX = 12


@dataclass(frozen=True)
class Structure:
    """What the first segment of a name looks like; colour RGB, 0 to 255."""

    name: str
    color: tuple[int, int, int]
    terminology: Terminology


def structures_of(segmentation_nodes: Iterable[Any]) -> list[Structure]:
    """One structure per segment name over all segmentations, in order of appearance, whatever the case of letters."""
    found: dict[str, Structure] = {}
    for node in segmentation_nodes:
        segmentation = node.GetSegmentation()
        for segment_id in segmentation.GetSegmentIDs():
            segment = segmentation.GetSegment(segment_id)
            name = segment.GetName() or segment_id
            if name.casefold() not in found:
                red, green, blue = (round(255 * min(max(value, 0.0), 1.0)) for value in segment.GetColor())
                terminology = terminology_from_entry(segment.GetTerminology())
                found[name.casefold()] = Structure(name, (red, green, blue), terminology)
    return list(found.values())


def terminology_from_entry(entry: str | None) -> Terminology:
    """The terms in one of Slicer's terminology strings (seven fields parted by tildes); its default without any."""
    fields = (entry or "").split("~")
    if len(fields) < 3:
        return UNCODED
    category, kind = _code(fields[1]), _code(fields[2])
    if category is None or kind is None:
        return UNCODED
    return Terminology(category, kind, _code(fields[3]) if len(fields) > 3 else None)


def _code(text: str) -> Code | None:
    """A term ``scheme^value^meaning``; None where it is empty or no term."""
    parts = [part.replace("|", " ").strip() for part in text.split("^")]
    return Code(*parts) if len(parts) == 3 and all(parts) else None


@dataclass(frozen=True)
class Assignment:
    """Which class each segment name is.

    Attributes:
        names: the class of each segment name, in lower case; empty: none.
        classes: those that names are assigned to, labels from 1: the base's first, in its order, then new ones.
        mapping: the label of each segment name that has a class.
    """

    names: dict[str, str]
    classes: tuple[ClassCard, ...]
    mapping: dict[str, int]


def assign(structures: Sequence[Structure], choices: Mapping[str, str], base: Sequence[ClassCard]) -> Assignment:
    """Assigns segment names to classes.

    Args:
        structures: what the segments look like.
        choices: the class of some segment names, in lower case; empty: none. The others are the class of their name.
        base: classes that keep their spelling, colour and terminology.
    """
    spelling = {item.name.casefold(): item.name for item in base}
    assigned = {}
    for item in structures:
        written = choices.get(item.name.casefold(), item.name)
        assigned[item.name.casefold()] = spelling.setdefault(written.casefold(), written)
    used = {name.casefold() for name in assigned.values()}
    cards = {item.name: (item.color, item.terminology) for item in base if item.name.casefold() in used}
    for item in structures:
        name = assigned[item.name.casefold()]
        if name:
            cards.setdefault(name, (item.color, item.terminology))
    classes = tuple(ClassCard(label, name, *cards[name]) for label, name in enumerate(cards, start=1))
    labels = {item.name: item.label for item in classes}
    named = {item.name: assigned[item.name.casefold()] for item in structures}
    return Assignment(assigned, classes, {name: labels[other] for name, other in named.items() if other})


class StructureTable:
    """Rows of segment names with a box each to choose or write a class.

    What a person has chosen for a name is kept while the name comes and goes.

    Args:
        table: the ``QTableWidget``.
        chosen: called after a person's choice, from the box's own signal: do not fill the table in it.
    """

    def __init__(self, table: Any, chosen: Callable[[], None]) -> None:
        self.table = table
        self._told = chosen
        self._structures: list[Structure] = []
        self._choices: dict[str, str] = {}
        self._base: ModelCard | None = None
        self._assign()
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Segment"), _("Class")])
        for column in (0, 1):
            table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.Stretch)
        table.verticalHeader().hide()

    def set_base(self, card: ModelCard | None) -> None:
        """Offers a model's classes; call :meth:`show` afterwards."""
        self._base = card
        self._assign()

    def forget(self) -> None:
        """Drops what was chosen."""
        self._choices.clear()
        self._assign()

    def show(self, structures: list[Structure]) -> None:
        """Fills the table; a box that a person is writing in stays as it is."""
        names = [item.name for item in structures]
        if names != [item.name for item in self._structures]:
            self.table.setRowCount(0)
            self.table.setRowCount(len(names))
            for row, name in enumerate(names):
                self.table.setItem(row, 0, qt.QTableWidgetItem(name))
                self.table.setCellWidget(row, 1, self._box(name))
        self._structures = list(structures)
        self._assign()
        offered = self._offered()
        for row, item in enumerate(structures):
            self._show_row(row, item, offered)

    def class_of(self, name: str) -> str:
        """The class of a segment name: the person's choice, or else the base's or a new one of that name; or empty."""
        return self._assignment.names[name.casefold()]

    def classes(self) -> tuple[ClassCard, ...]:
        """The classes that names are assigned to, labels from 1: the base's first, in its order, then new ones."""
        return self._assignment.classes

    def mapping(self) -> dict[str, int]:
        """The label of each segment name that has a class."""
        return dict(self._assignment.mapping)

    def _assign(self) -> None:
        """Works out the classes from names, choices and base."""
        base = self._base.classes if self._base else ()
        self._assignment = assign(self._structures, self._choices, base)

    def _offered(self) -> list[str]:
        """What the boxes list: not learned, the base's classes, the other ones in use, then the names themselves."""
        base = [item.name for item in self._base.classes] if self._base else []
        names = [*base, *self._assignment.names.values(), *(item.name for item in self._structures)]
        by_name = {name.casefold(): name for name in reversed(names) if name}
        order = dict.fromkeys(name.casefold() for name in names if name)
        return [NOT_LEARNED, *(by_name[name] for name in order)]

    def _box(self, name: str) -> Any:
        box = qt.QComboBox()
        box.editable = True
        box.setInsertPolicy(qt.QComboBox.NoInsert)
        box.setCompleter(None)
        box.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        box.toolTip = _(
            "The class that this segment is learned as: choose one or write a new name. Several segments may have one "
            "class. {nothing} leaves it out."
        ).format(nothing=NOT_LEARNED)
        box.connect("activated(int)", lambda: self._choose(name, box))
        box.lineEdit().connect("editingFinished()", lambda: self._choose(name, box))
        return box

    def _choose(self, name: str, box: Any) -> None:
        text = box.currentText.strip()
        text = "" if text == NOT_LEARNED else text
        box.lineEdit().modified = False
        if text != self.class_of(name) or box.currentText != (text or NOT_LEARNED):
            self._choices[name.casefold()] = text
            self._assign()
            self._told()

    def _show_row(self, row: int, structure: Structure, offered: list[str]) -> None:
        picture = qt.QPixmap(ICON_PX, ICON_PX)
        picture.fill(qt.QColor(*structure.color))
        cell = self.table.item(row, 0)
        cell.setIcon(qt.QIcon(picture))
        cell.setToolTip(structure.name)
        box = self.table.cellWidget(row, 1)
        if box.lineEdit().hasFocus() and box.lineEdit().modified:
            return
        text = self.class_of(structure.name) or NOT_LEARNED
        with quiet(box):
            if [box.itemText(index) for index in range(box.count)] != offered:
                box.clear()
                box.addItems(offered)
            box.currentIndex = box.findText(text)
            box.setEditText(text)

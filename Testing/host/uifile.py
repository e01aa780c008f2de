"""Reads .ui files: makes their widgets, and says which names in them Slicer does not know."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from .convert import converted, path_text
from .metaobjects import meta_of, qt_class
from .offered import Offer, normalised_signature, offer
from .signals import connect

LAYOUT_PROPERTIES = {"leftMargin", "topMargin", "rightMargin", "bottomMargin", "horizontalSpacing", "verticalSpacing"}
QUIET_CLASSES = {"Line", "Spacer"}
DESIGNERS_OWN = {("QLabel", "buddy")}
"""Not properties of Qt: the loader itself reads them."""


@dataclass(frozen=True)
class UsedName:
    """A name in a .ui file: the class it is looked for in, its kind and where it stands."""

    class_name: str
    kind: str
    name: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.class_name} has no {self.kind} {self.name}"


def custom_class(name: str) -> Any:
    """The stand-in of this name, or None."""
    import ctk
    import slicer

    return getattr(ctk if name.startswith("ctk") else slicer, name, None) if offer(name) is not None else None


def widgets_in(tree: ET.Element) -> Iterator[tuple[str, str, ET.Element]]:
    """(class, object name, element) of every widget, layout and action."""
    for element in tree.iter():
        if element.tag in ("widget", "layout") and "class" in element.attrib:
            yield element.attrib["class"], element.attrib.get("name", ""), element


def used_in_ui(path: Path) -> list[UsedName]:
    """Every class, property, signal and slot of a .ui file; dynamic properties (``stdset="0"``) are free."""
    root = ET.parse(path).getroot()
    used, kinds = [], {}
    for class_name, name, element in widgets_in(root):
        kinds[name] = class_name
        where = f"{path.name} ({name})"
        used.append(UsedName(class_name, "class", class_name, where))
        used += [
            UsedName(class_name, "property", item.attrib["name"], where)
            for item in element.findall("property")
            if item.attrib.get("stdset") != "0"
        ]
    for connection in root.findall("connections/connection"):
        for who, what in (("sender", "signal"), ("receiver", "slot")):
            name = connection.findtext(who, "")
            text = normalised_signature(connection.findtext(what, ""))
            used.append(UsedName(kinds.get(name, ""), what, text, f"{path.name} (connection of {name})"))
    return used


def is_known(used: UsedName) -> bool:
    """Whether Slicer knows a name."""
    if used.class_name in QUIET_CLASSES or (used.class_name, used.name) in DESIGNERS_OWN:
        return True
    offers = offer(used.class_name)
    base = qt_class(offers.qt_base if offers is not None else used.class_name)
    if used.kind == "class":
        return offers is not None or base is not None
    if base is None and offers is None:
        return used.class_name != "" and used.kind == "property"
    meta = meta_of(base if base is not None else QtWidgets.QWidget)
    if used.kind == "property":
        known = offers is not None and used.name in offers.properties
        is_layout = base is not None and issubclass(base, QtWidgets.QLayout)
        return known or used.name in meta.properties or (is_layout and used.name in LAYOUT_PROPERTIES)
    if used.kind == "signal":
        return bool(offers and offers.signal(used.name)) or used.name in meta.signals
    return bool(offers and offers.slot(used.name)) or used.name in meta.methods


def loadUI(path):
    """slicer.util.loadUI: the widget of a .ui file.

    Raises:
        RuntimeError: the file is missing or cannot be read.
        AttributeError: it uses a name that Slicer does not know; Slicer only writes a warning.
    """
    file = Path(path_text(path))
    if not file.is_file():
        raise RuntimeError(f"Could not load UI file: file not found {path}\n\n")
    wrong = [str(used) for used in used_in_ui(file) if not is_known(used)]
    if wrong:
        raise AttributeError("; ".join(wrong))
    return _Loader(file).load()


class _Loader(QtUiTools.QUiLoader):
    """Qt's loader; the classes and properties of Slicer and CTK are ours to make."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.later: list[tuple[str, Offer, str, ET.Element]] = []

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        kind = custom_class(class_name)
        if offer(class_name) is None:
            return super().createWidget(class_name, parent, name)
        if kind is None:
            raise NotImplementedError(f"{class_name} exists in Slicer; Testing/host does not have it yet")
        widget = kind(parent)
        widget.setObjectName(name)
        return widget

    def load(self) -> Any:  # type: ignore[override]
        root = ET.parse(self.file).getroot()
        self._take_properties(root)
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        data = QtCore.QByteArray(ET.tostring(root))
        buffer = QtCore.QBuffer(data)
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        self.setWorkingDirectory(QtCore.QDir(str(self.file.parent)))
        widget = super().load(buffer)
        if widget is None:
            raise RuntimeError(f"Could not load UI file: {self.file}\n\n{self.errorString()}")
        for name, offers, key, element in self.later:
            found = _named(widget, name)
            setattr(found, key, converted(_value(element, type(found)), offers.properties[key]))
        for connection in connections if connections is not None else ():
            _connect(widget, connection)
        for child in (widget, *widget.findChildren(QtWidgets.QWidget)):
            child.setToolTip(child.toolTip())
        return widget

    def _take_properties(self, root: ET.Element) -> None:
        """Take Slicer's and CTK's properties out of the tree: Qt does not know them."""
        for class_name, name, element in widgets_in(root):
            offers = offer(class_name)
            for item in element.findall("property") if offers is not None else ():
                key = item.attrib["name"]
                if key in offers.properties and item.attrib.get("stdset") != "0":
                    self.later.append((name, offers, key, item))
                    element.remove(item)


def _named(root: Any, name: str) -> Any:
    return root if root.objectName() == name else root.findChild(QtCore.QObject, name)


def _value(element: ET.Element, kind: type) -> Any:
    """The value of a property's element."""
    child = element[0]
    text = child.text or ""
    if child.tag == "bool":
        return text == "true"
    if child.tag in ("number", "UInt", "longLong"):
        return int(text)
    if child.tag in ("double", "float"):
        return float(text)
    if child.tag in ("enum", "set"):
        return _enumerators(text, kind)
    if child.tag == "stringlist":
        return [item.text or "" for item in child.findall("string")]
    if child.tag == "color":
        return QtGui.QColor(*(int(child.findtext(part, "0")) for part in ("red", "green", "blue")))
    if child.tag in ("string", "cstring"):
        return text
    raise NotImplementedError(f"Testing/host cannot read <{child.tag}> of the property {element.attrib['name']}")


def _enumerators(text: str, kind: type) -> Any:
    """The value of ``ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable`` or ``Qt::AlignLeft``."""
    values = []
    for part in text.split("|"):
        scope, _, name = part.strip().rpartition("::")
        first, *more = scope.split("::")
        holder = QtCore.Qt if first == "Qt" else (qt_class(first) or custom_class(first) or kind)
        for inner in more:
            holder = getattr(holder, inner, holder)
        values.append(getattr(holder, name))
    result = values[0]
    for value in values[1:]:
        result = result | value
    return result


def _connect(root: Any, connection: ET.Element) -> None:
    sender = _named(root, connection.findtext("sender", ""))
    receiver = _named(root, connection.findtext("receiver", ""))
    connect(sender, connection.findtext("signal", ""), receiver, connection.findtext("slot", ""))

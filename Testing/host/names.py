"""Which names a .ui file and Python files use, and which of them neither Slicer nor Qt knows."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path

from PySide6 import QtCore

from .metaobjects import meta_of, qt_class
from .offered import offer, python_names
from .uifile import UsedName, is_known, used_in_ui, widgets_in

MODULES = ("qt", "ctk", "slicer")
PYTHONQT = {"name", "connect", "disconnect", "className"}
TOO_NEW = {"slicer.util": {"LazyImport"}}
"""Of python.json, but not in Slicer 5.12."""


def used_names(ui_path: Path | None, python_files: Iterable[Path] = ()) -> list[UsedName]:
    """Names in a .ui file (classes, properties, signals, slots) and in Python files.

    Of Python files: ``qt.X``, ``ctk.X`` and ``slicer.qX`` with their static attributes, ``slicer.util.x``, and the
    attributes of ``ui.<widget>`` and ``self.ui.<widget>`` where the .ui file says which class the widget has.
    """
    used = used_in_ui(Path(ui_path)) if ui_path is not None else []
    kinds = _kinds(ui_path)
    for path in python_files:
        for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                used += _of_attribute(node, kinds, Path(path).name)
    return used


def unknown_names(ui_path: Path | None, python_files: Iterable[Path] = ()) -> list[UsedName]:
    """Those of :func:`used_names` that neither ``widgets.json``, ``python.json`` nor Qt has."""
    return [used for used in used_names(ui_path, python_files) if not _is_known(used)]


def _kinds(ui_path: Path | None) -> dict[str, str]:
    """Class of each object of a .ui file."""
    if ui_path is None:
        return {}
    return {name: kind for kind, name, _ in widgets_in(ET.parse(ui_path).getroot())}


def _of_attribute(node: ast.Attribute, kinds: dict[str, str], file_name: str) -> Iterator[UsedName]:
    """The name that an expression ``a.b.c`` uses, if it is one of Slicer or Qt."""
    where = f"{file_name}:{node.lineno}"
    parts = _parts(node)
    if len(parts) == 2 and parts[0] in MODULES and _is_class(parts[1]):
        yield UsedName(parts[1], "class", parts[1], where)
    elif len(parts) == 3 and parts[0] in MODULES and _is_class(parts[1]):
        yield UsedName(parts[1], "attribute", parts[2], where)
    elif len(parts) == 3 and parts[:2] == ["slicer", "util"]:
        yield UsedName("slicer.util", "function", parts[2], where)
    elif len(parts) >= 3 and parts[-3] == "ui" and parts[-2] in kinds:
        yield UsedName(kinds[parts[-2]], "attribute", parts[-1], where)


def _parts(node: ast.expr) -> list[str]:
    """``["self", "ui", "volume"]`` of ``self.ui.volume``; the end only where it begins with something else."""
    if isinstance(node, ast.Attribute):
        return [*_parts(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]


def _is_class(name: str) -> bool:
    return name.startswith(("Q", "ctk", "qMRML", "qSlicer"))


def _is_known(used: UsedName) -> bool:
    if used.kind == "function":
        return used.name in python_names(used.class_name) - TOO_NEW.get(used.class_name, set())
    if used.class_name == "Qt":
        return used.kind == "class" or hasattr(QtCore.Qt, used.name)
    if used.kind != "attribute":
        return is_known(used)
    offers = offer(used.class_name)
    if offers is not None and used.name in offers.names():
        return True
    base = qt_class(offers.qt_base if offers is not None else used.class_name)
    if base is None:
        return False
    return used.name in meta_of(base).properties or used.name in PYTHONQT or hasattr(base, used.name)

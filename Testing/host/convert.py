"""Which Python value fits which C++ type: what PythonQt refuses is refused here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import vtk
from PySide6 import QtCore

from .metaobjects import qt_class
from .offered import Call


def is_number(value: Any) -> bool:
    """Numbers as C++ takes them: bool, int, float and numpy's."""
    return hasattr(value, "__float__") and not isinstance(value, (str, bytes))


def is_string_list(value: Any) -> bool:
    """A list or tuple of strings; a single string is none."""
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


SIMPLE: dict[str, Callable[[Any], bool]] = {
    "bool": is_number,
    "int": is_number,
    "double": is_number,
    "QString": lambda value: value is None or isinstance(value, str),
    "QStringList": is_string_list,
    "QVariant": lambda value: True,
    "QVariantMap": lambda value: isinstance(value, dict),
    "QByteArray": lambda value: isinstance(value, (bytes, QtCore.QByteArray)),
    "QList<double>": lambda value: isinstance(value, Sequence) and all(map(is_number, value)),
}

DEFAULTS: dict[str, Callable[[Any], Any]] = {"bool": bool, "int": int, "double": float, "QStringList": list}


def fits(value: Any, kind: str) -> bool:
    """Whether a value can be given for a C++ type, ``vtkMRMLNode*`` or ``bool`` or ``QColor``."""
    if kind in SIMPLE:
        return SIMPLE[kind](value)
    name = kind.rstrip("*")
    if name.startswith("vtk"):
        return value is None or (isinstance(value, vtk.vtkObjectBase) and bool(value.IsA(name)))
    kind_of_qt = qt_class(name)
    if kind_of_qt is None:
        return True
    return isinstance(value, kind_of_qt) or (value is None and kind.endswith("*"))


def converted(value: Any, kind: str) -> Any:
    """The value as the stand-in gets it: numbers made what C++ would make of them, None the empty string."""
    if kind == "QString":
        return "" if value is None else value
    return DEFAULTS.get(kind, lambda same: same)(value)


def chosen_arguments(class_name: str, calls: list[Call], args: tuple[Any, ...]) -> list[Any]:
    """The arguments converted for the overload that they fit.

    Raises:
        ValueError: there is no such overload, as in PythonQt.
    """
    for call in calls:
        if call.required <= len(args) <= len(call.types) and all(map(fits, args, call.types)):
            return [converted(value, kind) for value, kind in zip(args, call.types, strict=False)]
    given = ", ".join(type(value).__name__ for value in args)
    known = " or ".join(call.signature for call in calls)
    raise ValueError(f"Could not find matching overload: {class_name} has {known}, called with ({given})")


def path_text(value: Any) -> Any:
    """A path as text, as slicer.util takes paths of both kinds."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value

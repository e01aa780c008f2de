"""PySide6's objects as PythonQt shows them, and not one attribute more.

Outside this package a Qt property is an attribute without parentheses (``label.text = "CT"``), signals are connected
by name or by signature, and an attribute that Slicer does not know cannot be read or set. PySide6's own feature
``true_property`` would take ``setText`` and its like away, which exist in PythonQt, and it lets unknown attributes be
set.

Who asks decides: code of this package sees plain PySide6.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from PySide6 import QtCore

from .convert import chosen_arguments, converted, fits
from .metaobjects import all_classes, learn, meta_of
from .offered import Offer, offer
from .signals import SIGNALS, BoundSignal, connect, disconnect

PACKAGE = __name__.partition(".")[0]
QT = ("PySide6", "Shiboken", "shiboken6")
QT_6_ONLY = {("QCheckBox", "checkStateChanged")}
"""Names of Qt 6 that Slicer's Qt 5.15 lacks and that are easily taken for old."""
QT_6_PROPERTIES = {"contentsMargins"}
"""Properties of Qt 6 that are methods in Qt 5.15."""

SHIBOKEN = QtCore.QObject.__mro__[1]
"""The base class of all classes of PySide6."""

_PLAIN_SETATTR = SHIBOKEN.__setattr__
"""Of Shiboken's base class, the only one that Python lets be called once the classes below it are changed."""

_originals: dict[type, Callable[[Any, str], Any]] = {}
_being_read: set[tuple[int, str]] = set()


def install() -> None:
    """Change the classes of PySide6 in this process; only the first call does anything."""
    if _originals:
        return
    learn()
    for value in all_classes():
        if issubclass(value, SHIBOKEN):
            _originals.setdefault(value, value.__getattribute__)
    for cls, getter in _originals.items():
        if issubclass(cls, QtCore.QObject):
            cls.__getattribute__ = _reader(getter)  # type: ignore[method-assign, assignment]
            cls.__setattr__ = _setattr  # type: ignore[method-assign, assignment]
        else:
            cls.__setattr__ = _refuse_setattr  # type: ignore[method-assign, assignment]


def _asked_inside() -> bool:
    """Whether the code that reads or writes an attribute belongs to this package."""
    try:
        names = sys._getframe(2).f_globals
    except ValueError:
        return True
    name = names.get("__name__", "")
    return (name == PACKAGE or name.startswith(PACKAGE + ".")) and not names.get("LIKE_A_MODULE")


def _reader(original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def getattribute(self: Any, name: str) -> Any:
        if name.startswith("__") or _asked_inside():
            return original(self, name)
        return _read(self, name, original)

    return getattribute


def _setattr(self: Any, name: str, value: Any) -> None:
    if name.startswith("__") or _asked_inside():
        _PLAIN_SETATTR(self, name, value)
    else:
        _write(self, name, value)


def _refuse_setattr(self: Any, name: str, value: Any) -> None:
    """For what is no QObject: such classes have no properties."""
    cls = type(self)
    if name.startswith("__") or _asked_inside() or any(_room(base) == "module" for base in cls.__mro__):
        _PLAIN_SETATTR(self, name, value)
    else:
        raise refusal(cls, name)


@cache
def _room(cls: type) -> str:
    """Where a class comes from: ``qt``, ``host`` (a stand-in) or ``module`` (code under test)."""
    if cls is object or cls.__module__.partition(".")[0] in QT:
        return "qt"
    return "host" if cls.__module__.partition(".")[0] == PACKAGE else "module"


@cache
def qt_class(cls: type) -> type:
    """The nearest class of PySide6."""
    return next(base for base in cls.__mro__ if _room(base) == "qt")


@cache
def stand_in(cls: type) -> Offer | None:
    """What the nearest stand-in among a class and its bases offers."""
    return next((offer(base.__name__) for base in cls.__mro__ if _room(base) == "host" and offer(base.__name__)), None)


@cache
def qt_property(cls: type, name: str) -> QtCore.QMetaProperty | None:
    """The property of a class of PySide6."""
    return None if name in QT_6_PROPERTIES else meta_of(cls).properties.get(name)


def class_name(cls: type) -> str:
    """The name in messages: that of the stand-in or Qt class."""
    return next(base for base in cls.__mro__ if _room(base) != "module").__name__


def refusal(cls: type, name: str) -> AttributeError:
    """What an attribute that Slicer does not know raises."""
    return AttributeError(f"{class_name(cls)} has no attribute {name} in Slicer")


def is_own(obj: Any, cls: type, name: str) -> bool:
    """Whether a class of the code under test or its instance defines a name."""
    own = [base for base in cls.__mro__ if _room(base) == "module"]
    return any(name in base.__dict__ for base in own) or (
        bool(own) and name in object.__getattribute__(obj, "__dict__")
    )


def _read(obj: Any, name: str, original: Callable[[Any, str], Any]) -> Any:
    cls = type(obj)
    if is_own(obj, cls, name):
        return original(obj, name)
    if name in EXTRAS:
        return EXTRAS[name].__get__(obj)
    offers = stand_in(cls)
    if offers is not None and name in offers.names():
        return _read_offered(obj, name, offers, original)
    base = qt_class(cls)
    known = qt_property(base, name)
    if known is not None:
        return _read_property(obj, name, known, original)
    if name == "name":
        return QtCore.QObject.objectName(obj)
    if not hasattr(base, name) or (base.__name__, name) in QT_6_ONLY:
        raise refusal(cls, name)
    value = original(obj, name)
    return BoundSignal(obj, name) if isinstance(value, SIGNALS) else value


def _read_offered(obj: Any, name: str, offers: Offer, original: Callable[[Any, str], Any]) -> Any:
    if not implemented(type(obj), name):
        raise NotImplementedError(f"{offers.name}.{name} exists in Slicer; Testing/host does not have it yet")
    if name in offers.properties or name in offers.enumerators:
        return original(obj, name)
    if name in offers.signals:
        return BoundSignal(obj, name)
    method = original(obj, name)

    def call(*args: Any) -> Any:
        return method(*chosen_arguments(offers.name, offers.calls[name], args))

    return call


def implemented(cls: type, name: str) -> bool:
    """Whether a stand-in has what it should offer, from this package or from its Qt base."""
    return hasattr(cls, name)


def _read_property(obj: Any, name: str, known: QtCore.QMetaProperty, original: Callable[[Any, str], Any]) -> Any:
    """A property's value. Qt itself asks here for an overridden ``sizeHint()``: then the method is the answer."""
    key = (id(obj), name)
    if key in _being_read:
        return original(obj, name)
    _being_read.add(key)
    try:
        return known.read(obj)
    finally:
        _being_read.discard(key)


def _write(obj: Any, name: str, value: Any) -> None:
    cls = type(obj)
    offers = stand_in(cls)
    if offers is not None and name in offers.properties:
        _write_offered(obj, name, value, offers)
        return
    base = qt_class(cls)
    known = qt_property(base, name)
    if known is not None:
        _write_property(obj, name, value, known)
    elif name == "name":
        QtCore.QObject.setObjectName(obj, value)
    elif any(_room(link) == "module" for link in cls.__mro__):
        _PLAIN_SETATTR(obj, name, value)
    elif hasattr(base, name) or (offers is not None and name in offers.names()):
        raise AttributeError(f"{class_name(cls)}.{name} is not a property and cannot be set in Slicer")
    else:
        raise refusal(cls, name)


def _write_offered(obj: Any, name: str, value: Any, offers: Offer) -> None:
    kind = offers.properties[name]
    if not offers.writable(name):
        raise AttributeError(f"{offers.name}.{name} can only be read in Slicer")
    if getattr(getattr(type(obj), name, None), "fset", None) is None:
        raise NotImplementedError(f"{offers.name}.{name} exists in Slicer; Testing/host does not have it yet")
    if not fits(value, kind):
        given = type(value).__name__
        raise AttributeError(
            f"Property {name} of type {kind} of {offers.name} does not accept an object of type {given}"
        )
    _PLAIN_SETATTR(obj, name, converted(value, kind))


def _write_property(obj: Any, name: str, value: Any, known: QtCore.QMetaProperty) -> None:
    if not known.isWritable():
        raise AttributeError(f"{class_name(type(obj))}.{name} can only be read in Slicer")
    setter = getattr(type(obj), "set" + name[0].upper() + name[1:], None)
    if setter is not None:
        setter(obj, value)
    elif not known.write(obj, value):
        given = type(value).__name__
        raise AttributeError(f"Property {name} of {class_name(type(obj))} does not accept an object of type {given}")


def _class_name(obj: Any) -> str:
    """PythonQt's ``className()``."""
    return class_name(type(obj))


def _property(obj: Any, name: str) -> Any:
    """``widget.property("noneEnabled")``: a stand-in's own properties too."""
    offers = stand_in(type(obj))
    if offers is not None and name in offers.properties:
        return getattr(obj, name)
    return QtCore.QObject.property(obj, name)


def _set_property(obj: Any, name: str, value: Any) -> bool:
    """``widget.setProperty("noneEnabled", True)``."""
    offers = stand_in(type(obj))
    if offers is None or name not in offers.properties:
        return QtCore.QObject.setProperty(obj, name, value)
    _write_offered(obj, name, value, offers)
    return True


EXTRAS: dict[str, Any] = {
    "connect": connect,
    "disconnect": disconnect,
    "className": _class_name,
    "property": _property,
    "setProperty": _set_property,
}
"""Methods that PythonQt adds to every QObject."""

"""What Qt's own classes have: properties, signals and slots by name.

Read once and early: PySide6's wrapper of a class's meta-object becomes invalid when an object that was asked for its
``metaObject()`` is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)


@dataclass
class Meta:
    """Of one class, its bases included."""

    properties: dict[str, QtCore.QMetaProperty] = field(default_factory=dict)
    signals: list[str] = field(default_factory=list)
    methods: set[str] = field(default_factory=set)


_known: dict[type, Meta] = {}


def all_classes() -> list[type]:
    """The classes of PySide6's modules, which come to be when they are asked for."""
    values = [getattr(module, name) for module in MODULES for name in dir(module)]
    return [value for value in values if isinstance(value, type)]


def learn() -> None:
    """Read all classes; only the first call does anything."""
    if not _known:
        for cls in all_classes():
            if issubclass(cls, QtCore.QObject):
                _known[cls] = _read(cls.staticMetaObject)


def meta_of(cls: type) -> Meta:
    """Of a class or of its nearest base that is Qt's."""
    learn()
    return next((_known[base] for base in cls.__mro__ if base in _known), Meta())


def _read(source: QtCore.QMetaObject) -> Meta:
    meta = Meta()
    for index in range(source.propertyCount()):
        meta.properties[source.property(index).name()] = source.property(index)
    for index in range(source.methodCount()):
        method = source.method(index)
        signature = bytes(method.methodSignature().data()).decode()
        meta.methods.add(signature)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
            meta.signals.append(signature)
    return meta


def qt_class(name: str) -> type | None:
    """Qt's class of this name."""
    found = next((getattr(module, name) for module in MODULES if hasattr(module, name)), None)
    return found if isinstance(found, type) else None

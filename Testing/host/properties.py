"""Properties of the stand-ins.

They are Python's own: PySide6's ``Property`` is set by a slot of QObject that :mod:`host.pythonqt` replaces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def qt_property(kind: Any, read: Callable[[Any], Any], write: Callable[[Any, Any], None] | None = None) -> Any:
    """A property with a getter and, unless it can only be read, a setter; ``kind`` says its type to the reader."""
    return property(read, write)


def stored(kind: Any, name: str, default: Any, update: str = "") -> Any:
    """A property that keeps its value; ``update`` names a method that is called when it has changed."""
    key = "_stored_" + name

    def read(self: Any) -> Any:
        return self.__dict__.get(key, default)

    def write(self: Any, value: Any) -> None:
        if value != read(self):
            self.__dict__[key] = value
            if update:
                getattr(self, update)()

    return qt_property(kind, read, write)


def handed_on(kind: Any, inner: str, name: str, write_to: str = "") -> Any:
    """A property of an inner widget: ``self.<inner>.name()`` and ``self.<inner>.setName(value)``."""
    setter = write_to or "set" + name[0].upper() + name[1:]

    def read(self: Any) -> Any:
        return getattr(getattr(self, inner), name)()

    def write(self: Any, value: Any) -> None:
        getattr(getattr(self, inner), setter)(value)

    return qt_property(kind, read, write)

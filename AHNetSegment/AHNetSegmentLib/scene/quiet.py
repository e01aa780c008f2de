"""Widgets that code changes without having its own slots called, as if a person had changed them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet(*widgets: Any) -> Iterator[None]:
    """While it is open, the widgets emit no signals; afterwards they do if they did before, whatever was raised.

    Qt's and CTK's widgets do not tell a change by code from one by a person, and some tell of a change where nothing
    has changed: ``ctkDirectoryButton`` emits ``directorySelected`` at every set.
    """
    blocked = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, before in zip(reversed(widgets), reversed(blocked), strict=True):
            widget.blockSignals(before)

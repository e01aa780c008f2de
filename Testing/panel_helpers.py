"""What tests of the panel read from its widgets, in Slicer and elsewhere."""

from __future__ import annotations

from typing import Any


def tip(widget: Any) -> str:
    """The sentence of a tool tip: Slicer's application makes HTML of the tool tip of every widget."""
    import qt

    document = qt.QTextDocument()
    document.setHtml(widget.toolTip)
    return str(document.toPlainText())

"""What tests of the panel read from its widgets, in Slicer and elsewhere."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any


def tip(widget: Any) -> str:
    """The sentence of a tool tip: Slicer's application makes HTML of the tool tip of every widget."""
    import qt

    document = qt.QTextDocument()
    document.setHtml(widget.toolTip)
    return str(document.toPlainText())


def widget_names(ui_file: Path) -> set[str]:
    """The widgets that a .ui file names. In Slicer they have parts of their own below them, with names as well."""
    return {str(found.get("name")) for found in ET.parse(ui_file).getroot().iter("widget")}

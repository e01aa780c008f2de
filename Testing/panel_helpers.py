"""What several tests of the panel look at."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

VIEWS = ("vtkMRMLAbstractViewNode", "vtkMRMLSliceCompositeNode", "vtkMRMLSliceDisplayNode", "vtkMRMLCameraNode")
"""Nodes that Slicer makes for the views of its layout, whenever it likes."""


def widget_names(ui_file: Path) -> set[str]:
    """The widgets that a .ui file names. In Slicer they have parts of their own below them, with names as well."""
    return {str(found.get("name")) for found in ET.parse(ui_file).getroot().iter("widget")}


def of_a_layout(node: Any) -> bool:
    """Whether a node is a plot view that Slicer's layouts have for themselves."""
    return node.IsA("vtkMRMLPlotViewNode") and str(node.GetLayoutName()).startswith("PlotView")


def contents(scene: Any) -> list[tuple[str, str]]:
    """(class, name) of all nodes but the application's own, hidden ones too."""
    nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    return sorted(
        (node.GetClassName(), node.GetName() or "") for node in nodes if not any(node.IsA(kind) for kind in VIEWS)
    )


def tip(widget: Any) -> str:
    """The sentence of a tool tip: Slicer's application makes HTML of the tool tip of every widget."""
    import qt

    document = qt.QTextDocument()
    document.setHtml(widget.toolTip)
    return str(document.toPlainText())

"""The button that shows a segmentation in 3D."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets

from ..properties import stored
from .parts import Observers, hear

SEGMENT_EVENTS = ("SegmentAdded", "SegmentRemoved", "ContainedRepresentationNamesModified")


class ctkMenuButton(QtWidgets.QPushButton):
    """A button with a menu beside it, which is left away."""


class qMRMLSegmentationShow3DButton(ctkMenuButton):
    """Makes closed surfaces when it is pressed, and removes them when it is released."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observers = Observers(self)
        self.setText("Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)
        hear(self.toggled, self._toggled)

    locked = stored(bool, "locked", False, "_update")

    def setLocked(self, locked: bool) -> None:
        self.locked = locked

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        if node is self._node:
            return
        self._node = node
        self._observers.clear()
        if node is not None:
            self._observers.add(node, "ModifiedEvent", "_update")
            for name in SEGMENT_EVENTS:
                self._observers.add(node.GetSegmentation(), getattr(node.GetSegmentation(), name), "_update")
        self._update()

    def _update(self) -> None:
        if self._node is None:
            self.setEnabled(False)
            return
        segmentation = self._node.GetSegmentation()
        can_be_made = segmentation.GetSourceRepresentationName() != surface_name()
        self.setEnabled(not self.locked and segmentation.GetNumberOfSegments() > 0 and can_be_made)
        blocked = self.blockSignals(True)
        self.setChecked(segmentation.ContainsRepresentation(surface_name()))
        self.blockSignals(blocked)

    def _toggled(self, on: bool) -> None:
        if self._node is None:
            return
        segmentation, display = self._node.GetSegmentation(), self._node.GetDisplayNode()
        if on and segmentation.CreateRepresentation(surface_name()) and display is not None:
            display.SetPreferredDisplayRepresentationName3D(surface_name())
        elif not on and segmentation.GetSourceRepresentationName() != surface_name():
            segmentation.RemoveRepresentation(surface_name())


def surface_name() -> str:
    """Of the representation as closed surfaces."""
    import slicer

    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()

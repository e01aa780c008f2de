"""What the stand-ins share: properties that Qt knows, and observers that end with their widget."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
import vtk
from PySide6 import QtCore, QtGui, QtWidgets


def hear(signal: Any, method: Callable[..., Any]) -> None:
    """Connect a signal of an inner widget to a method, which is held weakly.

    PySide6 would look the method up by its name when the signal comes, and :mod:`host.pythonqt` would hide it.
    """
    weak, accepted = weakref.WeakMethod(method), len(inspect.signature(method).parameters)

    def call(*args: Any) -> None:
        found = weak()
        if found is not None:
            found(*args)

    slots = [lambda: call(), lambda one: call(one), lambda one, two: call(one, two)]  # noqa: PLW0108 (PySide6 counts)
    signal.connect(slots[accepted])


def override(widget: QtWidgets.QWidget, name: str, method: Callable[[], Any]) -> None:
    """Let Qt call a method, which is held weakly, for its virtual one of this name, ``sizeHint`` or the like.

    A method of the class would not be found: :mod:`host.pythonqt` takes the name for the property that it is.
    """
    weak = weakref.WeakMethod(method)

    def call() -> Any:
        found = weak()
        return found() if found is not None else None

    widget.__dict__[name] = call


class Observers:
    """VTK observers of a widget; they hold it weakly and are removed when it is destroyed."""

    def __init__(self, widget: QtCore.QObject) -> None:
        self.tags: list[tuple[Any, int]] = []
        self.widget = weakref.ref(widget)
        tags = self.tags
        widget.destroyed.connect(lambda: remove_all(tags))

    def add(self, observed: Any, event: Any, method: str, with_node: bool = False) -> None:
        """Call the widget's method, with the event's node if wanted."""
        weak = self.widget

        def called(caller: Any, event: Any, node: Any = None) -> None:
            widget = weak()
            if widget is not None and shiboken6.isValid(widget):
                getattr(widget, method)(*([node] if with_node else []))

        if with_node:
            called = vtk.calldata_type(vtk.VTK_OBJECT)(called)
        self.tags.append((observed, observed.AddObserver(event, called)))

    def clear(self) -> None:
        """Remove all."""
        remove_all(self.tags)


def remove_all(tags: list[tuple[Any, int]]) -> None:
    for observed, tag in tags:
        observed.RemoveObserver(tag)
    tags.clear()


class SceneWidget:
    """Mixin: knows a scene. A class that uses it declares the signal ``mrmlSceneChanged`` if Slicer has it."""

    _scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self._scene_changed()
        if hasattr(self, "mrmlSceneChanged"):
            self.mrmlSceneChanged.emit(scene)

    def _scene_changed(self) -> None:
        """Overridden."""


class ShownTextComboBox(QtWidgets.QComboBox):
    """A combo box that may show another text than its current item's."""

    def _shown_text(self) -> str:
        return self.currentText()

    def paintEvent(self, event: Any) -> None:
        painter = QtWidgets.QStylePainter(self)
        painter.setPen(self.palette().color(QtGui.QPalette.ColorRole.Text))
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        option.currentText = self._shown_text()
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_ComboBoxLabel, option)


def row_layout(widget: QtWidgets.QWidget, *children: QtWidgets.QWidget) -> QtWidgets.QHBoxLayout:
    """The children in a row that fills the widget."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for child in children:
        layout.addWidget(child)
    return layout

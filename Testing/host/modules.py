"""Scripted modules, loaded and shown as Slicer does it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

from .properties import qt_property, stored
from .widgets.nodes import qSlicerWidget


class qSlicerAbstractCoreModule(QtCore.QObject):
    """A module of Slicer as ``slicer.modules`` holds it."""

    def __init__(self, name: str, path: str = "", logic: Any = None) -> None:
        super().__init__()
        self._name, self._path, self._logic = name, path, logic

    name = qt_property(str, lambda self: self._name)
    path = qt_property(str, lambda self: self._path)
    isInstalled = qt_property(bool, lambda self: True)
    isBuiltIn = qt_property(bool, lambda self: not self._path)
    slicerWikiUrl = qt_property(str, lambda self: "https://www.slicer.org/wiki")

    def logic(self) -> Any:
        return self._logic

    def setMRMLScene(self, scene: Any) -> None:
        pass


class qSlicerLoadableModule(qSlicerAbstractCoreModule):
    """A C++ module; it has a logic and no widget."""

    title = qt_property(str, lambda self: self._name)


class qSlicerScriptedLoadableModule(qSlicerLoadableModule):
    """What the constructor of a module's class gets as its parent."""

    title = stored(str, "title", "")
    categories = stored(list, "categories", [])
    contributors = stored(list, "contributors", [])
    associatedNodeTypes = stored(list, "associatedNodeTypes", [])
    helpText = stored(str, "helpText", "")
    acknowledgementText = stored(str, "acknowledgementText", "")
    extensions = stored(object, "extensions", {})
    icon = stored(QtGui.QIcon, "icon", QtGui.QIcon())
    hidden = stored(bool, "hidden", False)
    dependencies = stored(list, "dependencies", [])
    index = stored(int, "index", -1)
    widgetRepresentationCreationEnabled = stored(bool, "widgetRepresentationCreationEnabled", True)

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self._representation: Any = None

    def widgetRepresentation(self) -> Any:
        if self._representation is None or not shiboken6.isValid(self._representation):
            self._representation = self.createNewWidgetRepresentation()
        return self._representation

    def createNewWidgetRepresentation(self) -> Any:
        return qSlicerScriptedLoadableModuleWidget(self)


class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The parent of a module's panel."""

    isEntered = qt_property(bool, lambda self: self._entered)
    moduleName = qt_property(str, lambda self: self._module.name)

    def __init__(self, module: qSlicerScriptedLoadableModule) -> None:
        super().__init__()
        self._module = module
        self._entered = False
        QtWidgets.QVBoxLayout(self)
        self._python = self._instance()

    def _instance(self) -> Any:
        import slicer

        name = self._module.name + "Widget"
        instance = getattr(sys.modules[self._module.name], name)(self)
        setattr(slicer.modules, name, instance)
        instance.setup()
        return instance

    def self(self) -> Any:
        return self._python

    def module(self) -> Any:
        return self._module

    def enter(self) -> None:
        self._entered = True
        self._call("enter")

    def exit(self) -> None:
        self._entered = False
        self._call("exit")

    def _call(self, name: str) -> None:
        method = getattr(self._python, name, None)
        if method is not None:
            method()

    def reload(self) -> None:
        self._python = self._instance()
        self.enter()


def load_module(path: Path | str) -> ModuleType:
    """Import a scripted module's file anew, make its module object and list it in ``slicer.modules``.

    Args:
        path: ``<Name>.py`` with a class ``<Name>``.

    Raises:
        AttributeError: the file lacks the class.
    """
    import slicer

    path = Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    python = importlib.util.module_from_spec(spec)
    sys.modules[name] = python
    spec.loader.exec_module(python)
    module = qSlicerScriptedLoadableModule(name, str(path))
    instance = getattr(python, name)(module)
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, name + "Instance", instance)
    setattr(slicer.moduleNames, name, name)
    slicer.app.manager.modules[name] = module
    slicer.app.manager.moduleLoaded.emit(name)
    return python


def create_widget(module: ModuleType) -> Any:
    """What Slicer does when a module's panel is shown: build it, set the scene, enter. Returns the Python widget.

    Slicer's panel of modules takes the margins away and is never narrower than the widget wants to be.
    """
    import slicer

    registered = slicer.app.manager.modules[module.__name__]
    representation = registered.widgetRepresentation()
    representation.setMRMLScene(slicer.mrmlScene)
    representation.layout().setContentsMargins(0, 0, 0, 0)
    representation.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, representation.sizePolicy().verticalPolicy())
    representation.show()
    representation.enter()
    if slicer.app.window is not None:
        slicer.app.window.selector.selectModule(registered.name)
    return representation.self()


def close_widget(widget: Any) -> None:
    """What Slicer does with a panel when it ends: exit(), then cleanup() as the module is about to be unloaded."""
    import slicer

    representation = widget.parent
    if representation._entered:
        representation.exit()
    slicer.app.manager.moduleAboutToBeUnloaded.emit(representation._module.name)
    representation._module._representation = None
    representation.hide()
    representation.deleteLater()

"""``slicer.app`` and what hangs on it: settings, module manager, layout manager, main window."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

from .files import qSlicerIOManager
from .properties import qt_property
from .qtmodule import Settings

VERSION = (5, 12)


class qSlicerModuleFactoryManager(QtCore.QObject):
    """Names of the modules that were loaded."""

    def loadedModuleNames(self) -> list[str]:
        return list(self.parent().modules)

    def isLoaded(self, name: str) -> bool:
        return name in self.parent().modules

    def loadedModule(self, name: str) -> Any:
        return self.parent().modules.get(name)


class qSlicerModuleManager(QtCore.QObject):
    """The modules by name."""

    moduleLoaded = QtCore.Signal(str)
    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.modules: dict[str, Any] = {}
        self.factory = qSlicerModuleFactoryManager(self)

    def factoryManager(self) -> Any:
        return self.factory

    def modulesNames(self) -> list[str]:
        return list(self.modules)

    def module(self, name: str) -> Any:
        return self.modules.get(name)


class qSlicerModuleSelectorToolBar(QtWidgets.QToolBar):
    """Which module is shown."""

    moduleSelected = QtCore.Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.selected = ""

    def _selected(self) -> str:
        return self.selected

    def selectModule(self, name: str) -> None:
        if name != self.selected:
            self.selected = name
            self.moduleSelected.emit(name)

    selectedModule = qt_property(str, _selected, selectModule)


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """A main window with a status bar and a module selector; it is not shown."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.selector = qSlicerModuleSelectorToolBar(self)
        self.statusBar()

    def moduleSelector(self) -> Any:
        return self.selector


class qSlicerApplication(QtWidgets.QApplication):
    """The application, off screen; ``slicer.app``."""

    startupCompleted = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, slicer_app: Any) -> None:
        super().__init__(["Slicer"])
        self.slicer_app = slicer_app
        self.folder = tempfile.TemporaryDirectory(prefix="slicer-host-")
        self.testing = False
        self._temporary_path = ""
        self.manager = qSlicerModuleManager(self)
        self.files = qSlicerIOManager(self)
        self.window: Any = None
        self.setApplicationName("Slicer")
        self.setOrganizationName("slicer.org")
        self.setApplicationVersion(f"{VERSION[0]}.{VERSION[1]}.3")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
            QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, scope, self.folder.name)

    def open_main_window(self) -> None:
        """As Slicer does without ``--no-main-window``."""
        self.window = self.window or qSlicerMainWindow()

    def _sub_folder(self, name: str) -> str:
        folder = Path(self.folder.name) / name
        folder.mkdir(exist_ok=True)
        return str(folder)

    def _home(self) -> str:
        return self._sub_folder("home")

    def _temporary(self) -> str:
        return self._temporary_path or self._sub_folder("temporary")

    def _set_temporary(self, path: str) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        self._temporary_path = path

    def _cache(self) -> str:
        return self._sub_folder("cache")

    def _extensions(self) -> str:
        return self._sub_folder("extensions")

    def _working(self) -> str:
        return str(Path.cwd())

    def _settings_file(self) -> str:
        return self.settings().fileName()

    slicerHome = qt_property(str, _home)
    temporaryPath = qt_property(str, _temporary, _set_temporary)
    cachePath = qt_property(str, _cache)
    defaultScenePath = qt_property(str, _working)
    startupWorkingPath = qt_property(str, _working)
    extensionsInstallPath = qt_property(str, _extensions)
    slicerUserSettingsFilePath = qt_property(str, _settings_file)
    majorVersion = qt_property(int, lambda self: VERSION[0])
    minorVersion = qt_property(int, lambda self: VERSION[1])
    revision = qt_property(str, lambda self: "34627")
    documentationBaseUrl = qt_property(str, lambda self: "https://slicer.readthedocs.io/en/v5.12/")
    isInstalled = qt_property(bool, lambda self: True)
    platform = qt_property(str, lambda self: f"{sys.platform}-amd64")
    os = qt_property(str, lambda self: sys.platform)
    arch = qt_property(str, lambda self: "amd64")
    applicationLocaleName = qt_property(str, lambda self: "en_US")

    @lru_cache(maxsize=1)  # noqa: B019
    def settings(self) -> Any:
        return Settings()

    def userSettings(self) -> Any:
        return self.settings()

    def revisionUserSettings(self) -> Any:
        return self.settings()

    def testingEnabled(self) -> bool:
        return self.testing

    def mrmlScene(self) -> Any:
        return self.slicer_app.scene

    def applicationLogic(self) -> Any:
        return self.slicer_app.app_logic

    def moduleLogic(self, name: str) -> Any:
        return self.slicer_app.app_logic.GetModuleLogic(name)

    def moduleManager(self) -> Any:
        return self.manager

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def coreIOManager(self) -> Any:
        return self.files

    def ioManager(self) -> Any:
        return self.files

    def processEvents(self, *args: Any) -> None:
        QtWidgets.QApplication.processEvents()

    def startupEnvironment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def environment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def logUsageEvent(self, component: str, event: str) -> None:
        pass


@contextlib.contextmanager
def no_main_window() -> Iterator[None]:
    """As with ``--no-main-window``."""
    import slicer

    window = slicer.app.window
    name = window.objectName()
    window.setObjectName("")
    try:
        yield
    finally:
        window.setObjectName(name)


@contextlib.contextmanager
def testing_mode() -> Iterator[None]:
    """As with ``--testing``: no questions, fixed answers."""
    import slicer

    app = slicer.app
    before, app.testing = app.testing, True
    try:
        yield
    finally:
        app.testing = before

"""The person before a real Slicer, by what PythonQt lets Python call; also tried over the strict stand-in.

Nothing here may block: a window that waits for a person would wait forever. Slicer's own questions and messages are
replaced by notes, and a modal window that opens all the same is closed and noted as an error.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from .base import NAME, PAUSE_MS, Driver
from .dialogs import replace

SETTINGS = "AHNET_SLICER_SETTINGS"
"""Environment variable: the folder that whoever started Slicer has made for its settings."""
ELSEWHERE = ("Welcome", "Data", "Models", "Volumes")
"""Modules one of which is opened when the panel is closed."""


class Application:
    """``slicer.app`` with some of its methods replaced; PythonQt's own object takes no new ones."""

    def __init__(self, app: Any, **replaced: Callable[..., Any]) -> None:
        vars(self).update(_app=app, _replaced=replaced)

    def __getattr__(self, name: str) -> Any:
        own = vars(self)
        return own["_replaced"].get(name) or getattr(own["_app"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_app"], name, value)


class SlicerDriver(Driver):
    """Inside Slicer, in its main thread."""

    def __init__(self) -> None:
        self.messages, self.answers, self.errors = [], deque(), []
        self._watch: Any = None

    def start(self) -> None:
        if self._watch is not None:
            return
        import qt
        import slicer

        before = sys.excepthook

        def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
            self.errors.append(error)
            before(kind, error, trace)

        # PythonQt and VTK print what leaves a slot or an observer by PyErr_Print, which ends here.
        sys.excepthook = hook
        replace(self.messages, self.answers)
        if slicer.app.testingEnabled():
            slicer.app = Application(slicer.app, testingEnabled=lambda: False)
        self._watch = qt.QTimer()
        self._watch.setInterval(200)
        self._watch.connect("timeout()", self._close_modal_window)
        self._watch.start()

    def stop(self) -> None:
        super().stop()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
            watch.deleteLater()

    def _close_modal_window(self) -> None:
        import qt

        window = qt.QApplication.activeModalWidget()
        if window is None:
            return
        title = str(window.windowTitle)
        self.errors.append(AssertionError(f"A window waited for a person: {title or window.className()}"))
        window.close()

    def scene(self) -> Any:
        import slicer

        return slicer.mrmlScene

    def load_module(self) -> ModuleType:
        self.start()
        return sys.modules[NAME]

    def create_widget(self) -> Any:
        import slicer

        if slicer.util.mainWindow() is not None:
            slicer.util.selectModule(NAME)
        representation = slicer.util.getModule(NAME).widgetRepresentation()
        if not representation.isEntered:  # no main window, thus nothing that shows it
            representation.setMRMLScene(slicer.mrmlScene)
            representation.show()
            representation.enter()
        self._turn()
        return representation.self()

    def close_widget(self, widget: Any) -> None:
        import slicer

        representation = widget.parent
        if slicer.util.mainWindow() is not None:
            there = slicer.util.moduleNames()
            elsewhere = next((name for name in ELSEWHERE if name in there), None)
            if elsewhere is not None:
                slicer.util.selectModule(elsewhere)
        if representation.isEntered:
            representation.exit()
        latest = representation.self()  # Reload has put another one there
        latest.cleanup()
        slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", latest._onModuleAboutToBeUnloaded)
        representation.hide()
        representation.deleteLater()
        self._turn()

    def _turn(self) -> None:
        """Lets waiting events happen, deletions too, which Qt leaves to the loop that was running when they came."""
        import qt
        import slicer

        slicer.app.processEvents()
        qt.QCoreApplication.sendPostedEvents(None, int(qt.QEvent.DeferredDelete))

    def pump(self, until: Callable[[], bool] = lambda: False, timeout_s: float = 0.05) -> bool:
        end = time.monotonic() + timeout_s
        while not until():
            if time.monotonic() > end:
                return False
            self._turn()
            time.sleep(PAUSE_MS / 1000)
        return True

    def click(self, button: Any) -> bool:
        if not self._reachable(button):
            return False
        button.click()
        self._turn()
        return True

    def _reachable(self, widget: Any) -> bool:
        """Whether a person can reach a widget once its window is shown; shows it."""
        window = widget.window()
        if not widget.enabled or (widget != window and not widget.isVisibleTo(window)):
            return False
        window.show()
        self._turn()
        return True

    def choose(self, combo: Any, text: str) -> bool:
        if not self._reachable(combo):
            return False
        if combo.inherits("QComboBox"):
            index = combo.findText(text)
            if index < 0:
                return False
            combo.setCurrentIndex(index)
            combo.activated.emit(index)
        else:
            nodes = [combo.nodeFromIndex(index) for index in range(combo.nodeCount())]
            node = next((node for node in nodes if node is not None and node.GetName() == text), None)
            if node is None:
                return False
            combo.setCurrentNode(node)
        self._turn()
        return True

    def choose_folder(self, button: Any, folder: Path) -> None:
        # browse() opens a window that no test can answer; the button says the same when it is told a folder.
        button.directory = str(folder)
        self._turn()

    def type_text(self, line: Any, text: str) -> None:
        import qt

        line.window().show()
        line.setFocus()
        line.selectAll()
        if text:
            line.insert(text)
        else:
            line.backspace()
        for kind in (qt.QEvent.KeyPress, qt.QEvent.KeyRelease):
            qt.QApplication.sendEvent(line, qt.QKeyEvent(kind, qt.Qt.Key_Return, qt.Qt.NoModifier))
        self._turn()

    def grab(self, widget: Any, path: Path, width: int = 0) -> Path:
        if width:
            widget.resize(width, max(widget.sizeHint.height(), widget.heightForWidth(width)))
        widget.show()
        for _ in range(3):
            self._turn()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not widget.grab().save(str(path)):
            raise OSError(f"The picture {path} cannot be written")
        return path

    @contextmanager
    def no_main_window(self) -> Iterator[None]:
        import slicer

        app, find = slicer.app, slicer.util.mainWindow
        slicer.app = Application(app, layoutManager=lambda: None)
        slicer.util.mainWindow = lambda: None
        try:
            yield
        finally:
            slicer.app, slicer.util.mainWindow = app, find

    @contextmanager
    def testing_mode(self) -> Iterator[None]:
        import slicer

        app = slicer.app
        slicer.app = Application(app, testingEnabled=lambda: True)
        try:
            yield
        finally:
            slicer.app = app

    def python(self) -> str:
        import slicer

        return shutil.which("python-real", path=str(Path(slicer.app.slicerHome) / "bin")) or sys.executable

    def settings_are_temporary(self) -> bool:
        import slicer

        folder = os.environ.get(SETTINGS)
        return bool(folder) and Path(folder).resolve() in Path(slicer.app.slicerUserSettingsFilePath).resolve().parents

    def load_volume(self, files: Sequence[Path]) -> Any:
        import slicer

        return slicer.util.loadVolume(str(files[0]), {"singleFile": len(files) == 1})

    def save_scene(self, path: Path) -> bool:
        import slicer

        return bool(slicer.util.saveScene(str(path)))

    def load_scene(self, path: Path) -> bool:
        import slicer

        return bool(slicer.util.loadScene(str(path)))

"""The person before the stand-in, with the mouse and the keys of Qt's own test library."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

from .base import NAME, Driver

REPOSITORY = Path(__file__).resolve().parents[2]


class HostDriver(Driver):
    """Over ``Testing/host``."""

    def __init__(self) -> None:
        import host

        self._host = host
        self.messages, self.answers, self.errors = host.messages, host.answers, host.errors

    def forget(self) -> None:
        super().forget()
        self._host.installations.clear()

    def start(self) -> None:
        self._host.start()

    def scene(self) -> Any:
        from slicer_app import slicer_app

        return slicer_app().scene

    def load_module(self) -> ModuleType:
        self.start()
        return self._host.load_module(REPOSITORY / "AHNetSegment" / f"{NAME}.py")

    def create_widget(self) -> Any:
        return self._host.create_widget(sys.modules[NAME])

    def close_widget(self, widget: Any) -> None:
        self._host.close_widget(widget)

    def pump(self, until: Callable[[], bool] = lambda: False, timeout_s: float = 0.05) -> bool:
        return self._host.pump(until, timeout_s)

    def click(self, button: Any) -> bool:
        return self._host.click(button)

    def choose(self, combo: Any, text: str) -> bool:
        return self._host.choose(combo, text)

    def choose_folder(self, button: Any, folder: Path) -> None:
        self.answers.append(folder)
        button.browse()

    def type_text(self, line: Any, text: str) -> None:
        from PySide6 import QtCore, QtTest

        line.window().show()
        line.setFocus()
        line.selectAll()
        if text:
            QtTest.QTest.keyClicks(line, text)
        else:
            QtTest.QTest.keyClick(line, QtCore.Qt.Key.Key_Delete)
        QtTest.QTest.keyClick(line, QtCore.Qt.Key.Key_Return)

    def grab(self, widget: Any, path: Path, width: int = 0) -> Path:
        return self._host.grab(widget, path, width)

    def no_main_window(self) -> AbstractContextManager[None]:
        return self._host.no_main_window()

    def testing_mode(self) -> AbstractContextManager[None]:
        return self._host.testing_mode()

    def python(self) -> str:
        return sys.executable

    def settings_are_temporary(self) -> bool:
        return True

    def load_volume(self, files: Sequence[Path]) -> Any:
        from slicer_app import slicer_app

        (node,) = slicer_app().io_manager.load_volumes([str(path) for path in files])
        return node

    def save_scene(self, path: Path) -> bool:
        from slicer_app import slicer_app

        return bool(slicer_app().io_manager.write_scene(path))

    def load_scene(self, path: Path) -> bool:
        from slicer_app import slicer_app

        return bool(slicer_app().io_manager.load_scene(path))

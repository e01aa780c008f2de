"""The stand-in behind Slicer's command line: ``python -m host.as_slicer --no-splash --python-script FILE``.

What starts a Slicer, and what runs inside of it, can be tried with it. It takes the options of Slicer that are named
here and no others, executes a script from the event loop, writes a log like Slicer's, and ends when the script says so.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

PATTERN = "[{level}][{origin}] {time} [{category}] ({place}) - {message}\n"
LEVELS = {logging.DEBUG: "DEBUG", logging.INFO: "INFO", logging.WARNING: "WARNING", logging.ERROR: "ERROR"}


class Log:
    """Slicer's log file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO = path.open("w", encoding="utf-8")

    def write(self, level: str, origin: str, message: str, place: str = "unknown:0") -> None:
        """Adds an entry."""
        time = f"{datetime.now():%d.%m.%Y %H:%M:%S}"
        self._file.write(
            PATTERN.format(level=level, origin=origin, time=time, category="", place=place, message=message)
        )
        self._file.flush()


class Stream:
    """Standard output or error: line by line into the log, too."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO, log: Log, level: str) -> None:
        self._stream, self._log, self._level, self._line = stream, log, level, ""

    def write(self, text: str) -> int:
        self._stream.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._log.write(self._level, "Stream", line)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


class Handler(logging.Handler):
    """What Python's loggers say."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        place = f"{record.pathname}:{record.lineno}"
        self._log.write(LEVELS.get(record.levelno, "INFO"), "Python", self.format(record), place)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Slicer's command line."""
    parser = argparse.ArgumentParser(prog="Slicer", allow_abbrev=False)
    for name in ("no-splash", "no-main-window", "testing", "disable-settings", "ignore-slicerrc"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--additional-module-paths", nargs="+", default=[])
    parser.add_argument("--python-script")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """The exit status that the script has asked for."""
    given = arguments(words)
    import host
    from host import application

    app: Any = host.start()
    folder = os.environ.get("XDG_CONFIG_HOME", app.folder.name)
    _keep_settings_in(folder)
    log = Log(Path(folder) / "Slicer.log")
    _speak_to(log)
    options = SimpleNamespace(runPythonAndExit=given.testing)
    application.qSlicerApplication.commandOptions = lambda _app: options
    application.qSlicerApplication.errorLogModel = lambda _app: SimpleNamespace(filePath=str(log.path))
    app.testing = given.testing
    if given.no_main_window:
        host.no_main_window().__enter__()
    for folder in given.additional_module_paths:
        for path in sorted(Path(folder).glob("*.py")):
            host.load_module(path)
    app.startupCompleted.emit()
    _later(lambda: _execute(app, given.python_script, options))
    status = int(app.exec())
    for name in list(app.manager.modules):
        app.manager.moduleAboutToBeUnloaded.emit(name)
    return status


def _keep_settings_in(folder: str) -> None:
    from PySide6 import QtCore

    for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
        QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, scope, folder)


def _speak_to(log: Log) -> None:
    """All that is said goes into the log: by Python, its loggers, VTK and Qt."""
    from PySide6 import QtCore
    from vtkmodules.vtkCommonCore import vtkOutputWindow

    sys.stdout = Stream(sys.stdout, log, "INFO")  # type: ignore[assignment]
    sys.stderr = Stream(sys.stderr, log, "CRITICAL")  # type: ignore[assignment]
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    root.addHandler(Handler(log))
    root.addHandler(logging.StreamHandler(sys.stdout))
    # Warnings come from VTK's threads, too, which may not wait for Python while Python waits for them.
    vtkOutputWindow.GetInstance().AddObserver("ErrorEvent", _vtk_observer(log, "ERROR"))
    levels = {QtCore.QtMsgType.QtDebugMsg: "DEBUG", QtCore.QtMsgType.QtInfoMsg: "INFO"}
    levels |= {QtCore.QtMsgType.QtWarningMsg: "WARNING", QtCore.QtMsgType.QtCriticalMsg: "CRITICAL"}
    QtCore.qInstallMessageHandler(lambda kind, _context, text: log.write(levels.get(kind, "FATAL"), "Qt", text))


def _vtk_observer(log: Log, level: str) -> Any:
    def tell(_window: Any, _event: str, text: str) -> None:
        log.write(level, "VTK", text.strip())

    tell.CallDataType = "string0"  # type: ignore[attr-defined]
    return tell


def _later(call: Any) -> None:
    from PySide6 import QtCore

    QtCore.QTimer.singleShot(0, call)


def _execute(app: Any, script: str | None, options: Any) -> None:
    """What Slicer does with ``--python-script``; the script sees Qt as a module does."""
    if script is not None:
        sys.argv = [script]
        code = compile(Path(script).read_text(encoding="utf-8"), script, "exec")
        try:
            exec(code, {"__name__": "__main__", "__file__": script})
        except BaseException:
            traceback.print_exc()
    if options.runPythonAndExit:
        app.exit(0)


if __name__ == "__main__":
    from host.as_slicer import main as of_the_package  # code outside of it sees Qt as a module does

    sys.exit(of_the_package())

"""The worker's process: events from its standard output, a log from its standard error, and why it ended."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import qt

from ..engine.errors import ResourceError
from .timers import later

STOP_MS = 500
"""A process that does not end for so long after its standard input was closed is killed."""
LINE_BYTES = 2_000
"""Longer lines of the log are cut."""
EVENT_BYTES = 2**24
"""An event that is still without an end at this length is none."""
LAST_LINES = 300
"""The cause of a process's end is looked for in so many lines of its log."""

_ERROR_LINE = re.compile(r"([A-Za-z_][\w.]*(Error|Exception)\b|Fatal Python error: |terminate called |.*\berror: )")
_LAUNCHER_LINE = "exit abnormally"
"""What PythonSlicer, a launcher, says when the Python inside it was killed or crashed."""

_running: set[WorkerProcess] = set()
"""Processes that have not ended: a QProcess that Python lets go of blocks until its process has ended."""


class WorkerProcess:
    """One process, from its start to its end; all calls come from the event loop.

    Attributes:
        pid: of the Python that computes; None until it is ready. PythonSlicer, its launcher, has another one.

    Args:
        take: gets this and an event.
        log: gets each line of standard error.
        ended: gets this and one sentence on why, once.
    """

    def __init__(
        self,
        take: Callable[[WorkerProcess, dict[str, Any]], None],
        log: Callable[[str], None],
        ended: Callable[[WorkerProcess, str], None],
    ) -> None:
        self.pid: int | None = None
        self._take, self._log, self._tell_end = take, log, ended
        self._output, self._errors = b"", b""
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._over = False
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(_environment())
        self._process.readyReadStandardOutput.connect(self._read_output)
        self._process.readyReadStandardError.connect(self._read_errors)
        self._process.finished.connect(self._finished)
        self._process.errorOccurred.connect(self._error_occurred)

    def start(self, program: str, arguments: list[str]) -> None:
        """Starts the program; what comes of it is told later."""
        _running.add(self)
        self._process.start(program, arguments)

    def send(self, command: dict[str, Any]) -> None:
        """Writes one line to its standard input; what it said before has nothing to do with what follows."""
        self._last_lines.clear()
        self._process.write(json.dumps(command, default=str).encode("ascii") + b"\n")

    def close(self) -> None:
        """Closes standard input, at which the process ends; kills it if it does not."""
        self._process.closeWriteChannel()
        later(STOP_MS, self.kill)

    def kill(self) -> None:
        """Ends the process at once, the launcher and the Python inside it. Harmless when it has ended."""
        if self._over:
            return
        if self.pid is not None:
            with suppress(OSError):
                os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.kill()

    def _read_output(self) -> None:
        self._output += bytes(self._process.readAllStandardOutput().data())
        # Line by line from the buffer: what is called may come back here through an event loop of its own.
        while b"\n" in self._output:
            line, _, self._output = self._output.partition(b"\n")
            self._take_line(line)
        if len(self._output) > EVENT_BYTES:
            self._output = b""

    def _take_line(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            self._note(line)
            return
        if event.get("event") == "ready":
            self.pid = int(event["pid"])
        self._take(self, event)

    def _read_errors(self) -> None:
        self._errors += bytes(self._process.readAllStandardError().data())
        *lines, self._errors = re.split(rb"[\r\n]+", self._errors)
        for line in lines[-LAST_LINES:]:
            self._note(line)
        if len(self._errors) > LINE_BYTES:
            self._errors = self._errors[:LINE_BYTES]

    def _note(self, line: bytes) -> None:
        text = line[:LINE_BYTES].decode("utf-8", errors="replace").strip()
        if text:
            self._last_lines.append(text)
            self._log(text)

    def _error_occurred(self, *_arguments: Any) -> None:
        # A process that cannot be started never finishes; one that crashed does.
        later(0, self._check_started)

    def _check_started(self) -> None:
        if not self._over and self._process.state() == qt.QProcess.NotRunning:
            reason = str(self._process.errorString()).rstrip(".")
            self._end(f"The worker process could not be started ({reason}); install Slicer and the extension again.")

    def _finished(self, *_arguments: Any) -> None:
        self._read_output()
        self._read_errors()
        self._note(self._errors)
        crashed = self._process.exitStatus() == qt.QProcess.CrashExit
        self._end(end_sentence(self._last_lines, crashed, int(self._process.exitCode())))

    def _end(self, message: str) -> None:
        if self._over:
            return
        self._over = True
        process = self._process
        later(0, process.deleteLater)
        _running.discard(self)
        self._tell_end(self, message)


def end_sentence(errors: Sequence[str], crashed: bool, code: int) -> str:
    """Why a worker process ended that should not have.

    Args:
        errors: the last lines of its standard error.
        crashed: it did not end by itself.
        code: its exit code; where it crashed, the signal on Linux and macOS.
    """
    own = [line for line in errors if _LAUNCHER_LINE not in line]
    last = next((line for line in reversed(own) if _ERROR_LINE.match(line)), "")
    killed = (crashed and code == 9) or (not last and len(own) < len(errors))
    if re.search(r"No module named '?torch\b", last):
        return "PyTorch is not installed in the Python of the worker; install it with Slicer's PyTorch extension."
    if killed or re.search(r"MemoryError|bad_alloc|out of memory", last, re.IGNORECASE):
        return (
            "The worker process ended unexpectedly (out of memory?); close other programs or choose a smaller region "
            "of interest, and try again."
        )
    cause = last.removeprefix("Fatal Python error: ") or (_signal_name(code) if crashed else own[-1] if own else "")
    cause = cause[:300].rstrip(".") or f"exit code {code}, without a word"
    return f"The worker process ended unexpectedly ({cause}); try again, and see the log if it happens again."


def python_program() -> str:
    """The Python that the worker runs in: Slicer's, or the one that runs this.

    Raises:
        ResourceError: there is none.
    """
    try:
        import slicer

        home = getattr(getattr(slicer, "app", None), "slicerHome", None)
    except ImportError:
        home = None
    if home and (found := shutil.which("PythonSlicer", path=str(Path(home) / "bin"))):
        return found
    if found := shutil.which("PythonSlicer"):
        return found
    if sys.executable and Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    raise ResourceError("No Python was found to compute with: PythonSlicer is missing; install Slicer again.")


def _environment() -> Any:
    environment = qt.QProcessEnvironment.systemEnvironment()
    paths = [str(Path(__file__).resolve().parents[2]), environment.value("PYTHONPATH", "")]
    environment.insert("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    environment.insert("PYTHONUTF8", "1")
    environment.insert("PYTHONIOENCODING", "utf-8")
    return environment


def _signal_name(code: int) -> str:
    if sys.platform == "win32":
        return f"exception 0x{code & 0xFFFFFFFF:08X}"
    try:
        return (signal.strsignal(code) or f"signal {code}").lower()
    except ValueError:
        return f"signal {code}"

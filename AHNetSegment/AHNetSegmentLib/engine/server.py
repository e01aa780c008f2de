"""The worker: ``python -m AHNetSegmentLib.engine.server`` runs tasks for another program and ends with it.

Commands come as JSON lines on standard input, events go as JSON lines to standard output::

    {"command": "segment", "id": 1, "arguments": {...}}    {"command": "cancel", "id": 1}    {"command": "quit"}

    {"event": "ready", "pid": 4711}
    {"event": "state", "id": 1, "text": "Loading the model"}
    {"event": "progress", "id": 1, "done": 30, "total": 120, "seconds_left": 4.2}
    {"event": "report", "id": 1, "facts": {...}}
    {"event": "result", "id": 1, "result": {...}}
    {"event": "cancelled", "id": 1}
    {"event": "error", "id": 1, "message": "One sentence.", "details": "traceback of an unforeseen error, or ''"}

Tasks run one at a time in the order of their commands; each ends with exactly one of result, cancelled and error. When
standard input closes, the process ends at once, whatever it is computing.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from .allocator import give_back_freed_memory, keep_freed_memory
from .errors import AHNetSegmentError, Cancelled
from .tasks import TASKS, Task, forget_models, require_torch

PROGRESS_SECONDS = 0.1
"""Progress is told no more often than that."""
PACE_SECONDS = 0.5
"""The time left is told when a task has gone on for that long."""


class Context:
    """What a task may say while it runs, and whether it is to stop.

    Attributes:
        waited: seconds from the task's command to its beginning: for PyTorch, or for another task's end.

    Args:
        tell: sends an event of this task.
    """

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._cancel = threading.Event()
        self._accepted = time.monotonic()
        self.waited = 0.0
        self._began: tuple[float, int] | None = None
        self._told: tuple[float, int] = (0.0, 0)

    def begin(self) -> None:
        """The task's turn has come."""
        self.waited = time.monotonic() - self._accepted

    @property
    def cancelled(self) -> bool:
        """Whether the task is to stop."""
        return self._cancel.is_set()

    def cancel(self) -> None:
        """Asks the task to stop."""
        self._cancel.set()

    def check(self) -> None:
        """Raises Cancelled when the task is to stop."""
        if self.cancelled:
            raise Cancelled("The computation was cancelled; nothing was changed.")

    def state(self, text: str) -> None:
        """Says what begins now; raises Cancelled when the task is to stop."""
        self.check()
        self._tell("state", text=text)

    def progress(self, done: int, total: int) -> bool:
        """Says how far the task is, with the time left by its pace so far; returns whether to go on."""
        now = time.monotonic()
        last, last_done = self._told
        if self._began is None or done < last_done:
            self._began = (now, done)
        if self._told == (0.0, 0) or now - last >= PROGRESS_SECONDS or done < last_done or done >= total:
            began, first = self._began
            elapsed = now - began
            pace = elapsed / (done - first) if elapsed >= PACE_SECONDS and done > first else None
            left = None if pace is None else round(pace * max(total - done, 0), 1)
            self._tell("progress", done=int(done), total=int(total), seconds_left=left)
            self._told = (now, done)
        return not self.cancelled

    def report(self, facts: dict[str, Any]) -> None:
        """Says what was found on the way."""
        self._tell("report", facts=facts)


class Server:
    """Takes commands from one stream and sends events to another.

    Args:
        commands: JSON lines.
        events: JSON lines.
        leave: ends the process with an exit code.
    """

    def __init__(self, commands: BinaryIO, events: BinaryIO, leave: Callable[[int], Any] = os._exit) -> None:
        self._commands = commands
        self._events = events
        self._leave = leave
        self._waiting: queue.SimpleQueue[tuple[int, Context, Task, dict[str, Any]]] = queue.SimpleQueue()
        self._contexts: dict[int, Context] = {}
        self._sending = threading.Lock()
        self._warm = False

    def serve(self) -> None:
        """Runs tasks until standard input closes."""
        threading.Thread(target=self._read, name="commands", daemon=True).start()
        self._send("ready", pid=os.getpid())
        keep_freed_memory()
        _import_engine()
        self._warm = True
        while True:
            self._run(*self._waiting.get())

    def _read(self) -> None:
        try:
            for line in self._commands:
                if line.strip():
                    self._take(line)
        finally:
            self._leave(0)

    def _take(self, line: bytes) -> None:
        try:
            command = json.loads(line)
            name, number, arguments = command["command"], command.get("id"), command.get("arguments", {})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._fail(None, "The worker was sent a line that is no command; install the extension again.")
            return
        number = number if isinstance(number, int) else None
        if name == "quit":
            self._leave(0)
        elif name == "cancel":
            if number in self._contexts:
                self._contexts[number].cancel()
        elif number is None or not isinstance(arguments, dict) or not isinstance(name, str) or name not in TASKS:
            shown = json.dumps(name)[:80]
            self._fail(number, f"The worker knows no command {shown} of this form; install the extension again.")
        else:
            self._accept(number, TASKS[name], arguments)

    def _accept(self, number: int, task: Task, arguments: dict[str, Any]) -> None:
        context = Context(lambda event, **facts: self._send(event, id=number, **facts))
        self._contexts[number] = context
        if not self._warm:
            context.state("Loading PyTorch")
        self._waiting.put((number, context, task, arguments))

    def _run(self, number: int, context: Context, task: Task, arguments: dict[str, Any]) -> None:
        event: dict[str, Any] = {"event": "cancelled"}
        context.begin()
        try:
            context.check()
            result = json.loads(json.dumps(task(arguments, context), default=_plain))
            context.check()
            event = {"event": "result", "result": result}
        except Cancelled:
            pass
        except Exception as error:
            message, foreseen = sentence(error)
            event = {"event": "error", "message": message, "details": "" if foreseen else traceback.format_exc()}
            if isinstance(error, MemoryError):
                forget_models()
        self._contexts.pop(number, None)
        # Out of the except block: what the traceback held, files among it, is let go before the end is told.
        gc.collect()
        give_back_freed_memory()
        sys.stderr.write(event.get("details", ""))
        self._send(id=number, **event)

    def _fail(self, number: int | None, message: str, details: str = "") -> None:
        self._send("error", id=number, message=message, details=details)

    def _send(self, event: str, **facts: Any) -> None:
        line = json.dumps({"event": event, **facts}) + "\n"
        try:
            with self._sending:
                self._events.write(line.encode("ascii"))
                self._events.flush()
        except OSError:
            self._leave(1)


def sentence(error: Exception) -> tuple[str, bool]:
    """What to tell a user of an error, and whether the error is one that a user can cause and mend."""
    if isinstance(error, AHNetSegmentError):
        return str(error), True
    if isinstance(error, MemoryError):
        return (
            "The memory of this machine does not suffice; close other programs or choose a smaller region of interest.",
            True,
        )
    last = " ".join(traceback.format_exception_only(type(error), error)[-1].split())
    return f"The computation failed: {last.rstrip('.')}; see the log.", False


def _import_engine() -> None:
    """Loads PyTorch and the engine before the first task asks for them; what fails there fails and is told there."""
    with suppress(Exception):
        require_torch()
        importlib.import_module(".inference", __package__)


def _plain(value: Any) -> Any:
    """What JSON can hold of a value: numbers of numpy, paths."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not go into JSON")


def main() -> None:
    """Serves this process's standard input and output; nothing else that is read or printed comes between them."""
    commands, events = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    faulthandler.enable()
    # Ctrl+C in the terminal that Slicer was started from is for Slicer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(commands, "rb") as reader, os.fdopen(events, "wb") as writer:
        Server(reader, writer).serve()


if __name__ == "__main__":
    # Under its own name, so that tasks of other files see the same module.
    importlib.import_module("AHNetSegmentLib.engine.server").main()

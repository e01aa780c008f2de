"""The process that computes, seen from Slicer: :mod:`AHNetSegmentLib.engine.server` at the other end of a QProcess.

All of it runs in Qt's event loop, without threads, and never waits.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..engine.errors import AHNetSegmentError
from .timers import give_up, later
from .worker_process import WorkerProcess, python_program

ARGUMENTS = ("-m", "AHNetSegmentLib.engine.server")
CANCEL_MS = 700
"""A worker that does not answer to a cancel for so long is killed."""


class BusyError(AHNetSegmentError):
    """The worker computes something else."""


@dataclass(eq=False)
class _Run:
    """A task that the worker was given, and whom to tell."""

    number: int
    task: str
    arguments: dict[str, Any]
    finished: Callable[[dict[str, Any]], None]
    failed: Callable[[str], None]
    cancelled: Callable[[], None]
    progress: Callable[[int, int, float | None], None] | None
    state: Callable[[str], None] | None
    report: Callable[[dict[str, Any]], None] | None
    cancelling: bool = False
    settled: bool = False
    deadline: Any = None


class Worker:
    """Runs tasks in a process that stays warm between them, one at a time.

    Call :meth:`stop` when it is no longer needed.

    Args:
        log_lines: how many lines of the process's standard error are kept.
    """

    def __init__(self, log_lines: int = 500) -> None:
        self._log: deque[str] = deque(maxlen=log_lines)
        self._child: WorkerProcess | None = None
        self._run: _Run | None = None
        self._runs = 0

    @property
    def state(self) -> str:
        """``off``, ``starting``, ``idle`` or ``busy``."""
        if self._run is not None:
            return "busy"
        if self._child is None:
            return "off"
        return "idle" if self._child.pid else "starting"

    @property
    def pid(self) -> int | None:
        """The process that computes; None before it is ready. PythonSlicer, its launcher, has another one."""
        return self._child.pid if self._child else None

    @property
    def log(self) -> str:
        """The last lines of the process's standard error."""
        return "\n".join(self._log)

    def command(self) -> tuple[str, list[str]]:
        """The program and its arguments.

        Raises:
            ResourceError: there is no Python.
        """
        return python_program(), list(ARGUMENTS)

    def start(self) -> None:
        """Starts the process, so that the first task need not wait for it; harmless when it runs.

        Raises:
            ResourceError: there is no Python.
        """
        if self._child is None:
            program, arguments = self.command()
            self._child = WorkerProcess(self._take, self._log.append, self._ended)
            self._child.start(program, arguments)

    def run(
        self,
        task: str,
        arguments: dict[str, Any],
        *,
        finished: Callable[[dict[str, Any]], None],
        failed: Callable[[str], None],
        cancelled: Callable[[], None],
        progress: Callable[[int, int, float | None], None] | None = None,
        state: Callable[[str], None] | None = None,
        report: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Gives the worker a task; starts the process where there is none.

        Exactly one of ``finished``, ``failed`` and ``cancelled`` is called, later, from the event loop; none after
        :meth:`stop`. The worker is free again when it is called.

        Args:
            task: a name in :data:`AHNetSegmentLib.engine.tasks.TASKS`.
            arguments: for the task; paths and what JSON can hold.
            finished: gets the task's result.
            failed: gets one sentence.
            cancelled: after :meth:`cancel`.
            progress: gets done, total and the seconds that are left, if known.
            state: gets what begins now, in a few words.
            report: gets what the task finds on its way.

        Raises:
            BusyError: another task runs.
            ResourceError: there is no Python.
        """
        if self._run is not None:
            raise BusyError("The worker is busy with another computation; wait until it has finished, or cancel it.")
        self.start()
        self._runs += 1
        self._run = _Run(self._runs, task, arguments, finished, failed, cancelled, progress, state, report)
        if self._child is not None and self._child.pid:
            self._give(self._run)

    def cancel(self, grace_ms: int = CANCEL_MS) -> None:
        """Asks the task to stop; kills the process when there is no answer in time. Harmless when nothing runs."""
        run, child = self._run, self._child
        if run is None or run.cancelling:
            return
        run.cancelling = True
        if child is None or not child.pid:
            self._settle(run, run.cancelled)
        elif not run.settled:
            child.send({"command": "cancel", "id": run.number})
            run.deadline = later(grace_ms, lambda: self._give_up(run))

    def stop(self) -> None:
        """Ends the process; a task that runs is forgotten, none of its callables is called any more."""
        run, self._run = self._run, None
        if run is not None:
            _no_deadline(run)
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _give(self, run: _Run) -> None:
        assert self._child is not None
        self._child.send({"command": run.task, "id": run.number, "arguments": run.arguments})

    def _give_up(self, run: _Run) -> None:
        run.deadline = None
        if self._run is run and not run.settled:
            child, self._child = self._child, None
            if child is not None:
                child.kill()
            self._settle(run, run.cancelled)

    def _take(self, child: WorkerProcess, event: dict[str, Any]) -> None:
        if child is not self._child:
            return
        kind, run = event.get("event"), self._run
        if kind == "ready":
            if run is not None and not run.settled:
                self._give(run)
        elif run is None or run.settled or event.get("id") not in (run.number, None):
            return
        elif kind == "result":
            self._settle(run, run.finished, event["result"])
        elif kind == "error":
            self._settle(run, run.failed, str(event.get("message")))
        elif kind == "cancelled":
            self._settle(run, run.cancelled)
        elif kind == "progress" and run.progress is not None and not run.cancelling:
            _call(run.progress, event["done"], event["total"], event["seconds_left"])
        elif kind == "state" and run.state is not None and not run.cancelling:
            _call(run.state, event["text"])
        elif kind == "report" and run.report is not None and not run.cancelling:
            _call(run.report, event["facts"])

    def _ended(self, child: WorkerProcess, message: str) -> None:
        if child is not self._child:
            return
        self._child = None
        if self._run is not None:
            self._settle(self._run, self._run.failed, message)

    def _settle(self, run: _Run, callback: Callable[..., None], *values: Any) -> None:
        """Has the run's end told out of the signal that brought it: whoever is told may open a dialog."""
        if run.settled:
            return
        run.settled = True
        _no_deadline(run)

        def deliver() -> None:
            if self._run is run:
                self._run = None
                if run.cancelling:
                    _call(run.cancelled)
                else:
                    _call(callback, *values)

        later(0, deliver)


def _no_deadline(run: _Run) -> None:
    deadline, run.deadline = run.deadline, None
    if deadline is not None:
        give_up(deadline)


def _call(callback: Callable[..., None], *values: Any) -> None:
    """Calls what is not ours: an exception in it must not lose the events that follow."""
    try:
        callback(*values)
    except Exception:
        logging.getLogger(__name__).exception("An error in what was told of a computation")

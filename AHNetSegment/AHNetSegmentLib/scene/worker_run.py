"""What a person starts and the worker computes, from the click to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..engine.errors import AHNetSegmentError
from .timers import later
from .worker import BusyError, Worker

BUSY_MS = 100
WAITING = "Waiting for another computation"


class WorkerRun:
    """A task that goes on in the worker while the event loop turns.

    Exactly one of ``finished``, ``failed`` and ``cancelled`` is called in the end, from the event loop; none after
    :meth:`abandon`. A subclass prepares ``_arguments``, calls :meth:`_compute`, lets go of its files in
    :meth:`_let_go` and of everything else in :meth:`_forget`: who still holds a run that is over holds no voxels.

    Args:
        task: of the worker.
        worker: where the task waits for its turn.
        progress: gets done, total and the seconds left, if known.
        state: gets what begins now.
        finished: gets what came of it.
        failed: gets one sentence.
        cancelled: after :meth:`cancel`.
    """

    def __init__(
        self,
        task: str,
        worker: Worker,
        progress: Callable[[int, int, float | None], None],
        state: Callable[[str], None],
        finished: Callable[..., None],
        failed: Callable[[str], None],
        cancelled: Callable[[], None],
    ) -> None:
        self._task, self._worker = task, worker
        self._progress, self._state = progress, state
        self._tell_finished, self._tell_failed, self._tell_cancelled = finished, failed, cancelled
        self._arguments: dict[str, Any] = {}
        self._computing = False
        self._over = False

    def cancel(self) -> None:
        """Stops; ``cancelled`` is called within a second."""
        if self._computing:
            self._worker.cancel()
        elif not self._over:
            self._settle(self._tell_cancelled)

    def abandon(self) -> None:
        """Stops without telling anybody: the scene closes."""
        if self._computing:
            self._worker.cancel()
        self._end()

    def _compute(self) -> None:
        """Gives the worker the task, as soon as it is idle."""
        if self._over:
            return
        try:
            self._worker.run(
                self._task,
                self._arguments,
                finished=self._computed,
                failed=self._fail,
                cancelled=lambda: self._settle(self._tell_cancelled),
                progress=self._on_progress,
                state=self._on_state,
            )
        except BusyError:
            # Something else is computed, or a run that was dropped a moment ago is still being cancelled.
            self._on_state(WAITING)
            later(BUSY_MS, self._compute)
        except AHNetSegmentError as error:
            self._fail(str(error))
        else:
            self._computing = True

    def _computed(self, result: dict[str, Any]) -> None:
        """What becomes of the worker's result."""
        self._settle(self._tell_finished, result)

    def _let_go(self) -> None:
        """Called, perhaps more than once, when the run is over and the worker no longer needs its files."""

    def _forget(self) -> None:
        """Called, perhaps more than once, when the run is over: drops nodes, voxels, and whom to tell."""
        self._progress = self._state = self._tell_finished = self._tell_failed = self._tell_cancelled = _nobody

    def _on_progress(self, done: int, total: int, seconds_left: float | None) -> None:
        if not self._over:
            self._progress(done, total, seconds_left)

    def _on_state(self, text: str) -> None:
        if not self._over:
            self._state(text)

    def _fail(self, message: str) -> None:
        self._settle(self._tell_failed, message)

    def _settle(self, tell: Callable[..., None], *values: Any) -> None:
        """Ends the run, and tells so unless it was abandoned."""
        self._computing = False
        told = not self._over
        self._end()
        if told:
            tell(*values)

    def _end(self) -> None:
        self._over = True
        self._forget()
        if not self._computing:
            self._let_go()


def _nobody(*_values: Any) -> None:
    """Whom a run tells that is over."""

"""One click on Start or Continue: cases to the worker, and what the worker tells while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.card import ClassCard
from ..engine.errors import AHNetSegmentError
from .cases import CaseRow, CaseStore
from .timers import later
from .training_jobs import remove_job
from .worker import BusyError, Worker
from .worker_run import BUSY_MS

STOP_MS = 60_000
"""A step and a checkpoint take their time; a worker that is killed meanwhile loses what came after the last one."""


@dataclass(frozen=True)
class CasesToTrain:
    """What a new training learns from.

    Attributes:
        rows: the cases.
        mapping: the label of each segment name.
        classes: what the labels mean.
        facts: further fields of ``job.json``: name, title, base, settings and the like.
    """

    rows: Sequence[CaseRow]
    mapping: Mapping[str, int]
    classes: Sequence[ClassCard]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Listener:
    """Whom a run tells, always from the event loop.

    Attributes:
        progress: gets done, total and the seconds left, if known.
        state: gets what begins now.
        report: gets the loss, or the Dice of a validation.
        finished: gets the result of the task; the model is in the library.
        failed: gets one sentence.
        cancelled: it can be continued, if its cases were copied.
    """

    progress: Callable[[int, int, float | None], None]
    state: Callable[[str], None]
    report: Callable[[Mapping[str, Any]], None]
    finished: Callable[[Mapping[str, Any]], None]
    failed: Callable[[str], None]
    cancelled: Callable[[], None]


class TrainRun:
    """A training that goes on in the worker while the event loop turns, and while the scene is closed.

    Exactly one of the listener's ``finished``, ``failed`` and ``cancelled`` is called in the end; none after
    :meth:`abandon` or where :meth:`start` or :meth:`resume` raised an error.

    Args:
        worker: idle, or about to be.
        folder: of the job.
        listener: whom to tell.
    """

    def __init__(self, worker: Worker, folder: Path, listener: Listener) -> None:
        self.folder = Path(folder)
        self._worker = worker
        self._listener = listener
        self._arguments: dict[str, Any] = {}
        self._store: CaseStore | None = None
        self._computing = False
        self._over = False

    @property
    def copying(self) -> bool:
        """Whether cases are still being copied out of the scene."""
        return self._store is not None

    def start(self, cases: CasesToTrain, arguments: Mapping[str, Any]) -> None:
        """Begins a new training: copies the cases, then trains.

        Args:
            cases: what it learns from.
            arguments: of the task ``finetune``, but for ``job``.

        Raises:
            AHNetSegmentError: the worker or the folder cannot be used; nothing is left of the folder.
        """
        self._arguments = {**arguments, "job": str(self.folder)}
        remove_job(self.folder)
        self._worker.start()
        self._store = CaseStore(self.folder, self._copied, self._not_copied, self._tell_copied)
        try:
            self._store.write(cases.rows, cases.mapping, cases.classes, cases.facts)
        except AHNetSegmentError:
            self._drop_copies()
            raise

    def resume(self, arguments: Mapping[str, Any]) -> None:
        """Goes on with the training in the folder.

        Args:
            arguments: of the task ``finetune``, but for ``job``.

        Raises:
            AHNetSegmentError: the worker cannot be used.
        """
        self._arguments = {**arguments, "job": str(self.folder)}
        self._worker.start()
        self._compute()

    def cancel(self) -> None:
        """Stops; ``cancelled`` is called when the worker has saved what it has learned."""
        if self._computing:
            self._worker.cancel(grace_ms=STOP_MS)
        elif not self._over:
            self._drop_copies()
            self._hush().cancelled()

    def abandon(self) -> None:
        """Tells nobody any more, and drops cases that are not copied yet. The worker is its owner's to stop."""
        self._drop_copies()
        self._hush()

    def _tell_copied(self, done: int, total: int) -> None:
        if not self._over:
            self._listener.progress(done, total, None)

    def _copied(self, _folder: Path) -> None:
        self._store = None
        self._compute()

    def _not_copied(self, message: str) -> None:
        if not self._over:
            self._drop_copies()
            self._hush().failed(message)

    def _drop_copies(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.stop()
            with suppress(AHNetSegmentError):
                remove_job(self.folder)

    def _compute(self) -> None:
        if self._over:
            return
        try:
            self._worker.run(
                "finetune",
                self._arguments,
                finished=lambda result: self._end(lambda told: told.finished(result)),
                failed=lambda message: self._end(lambda told: told.failed(message)),
                cancelled=lambda: self._end(lambda told: told.cancelled()),
                progress=self._listener.progress,
                state=self._listener.state,
                report=self._listener.report,
            )
        except BusyError:
            # An estimate, or a run that was dropped a moment ago, is still being cancelled.
            later(BUSY_MS, self._compute)
        except AHNetSegmentError as error:
            message = str(error)
            self._end(lambda told: told.failed(message))
        else:
            self._computing = True

    def _end(self, tell: Callable[[Listener], None]) -> None:
        self._computing = False
        if not self._over:
            tell(self._hush())

    def _hush(self) -> Listener:
        """Ends the run; returns whom to tell so, for the last time: who holds a run that is over holds nothing else."""
        self._over = True
        listener, self._listener = self._listener, NOBODY
        return listener


def _nobody(*_values: Any) -> None:
    """Whom a run tells that is over."""


NOBODY = Listener(_nobody, _nobody, _nobody, _nobody, _nobody, _nobody)

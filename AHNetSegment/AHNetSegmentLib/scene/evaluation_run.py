"""One click on Evaluate: the cases to the worker, what it measured back, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from ..engine.card import ClassCard, ModelCard
from ..engine.errors import AHNetSegmentError
from .cases import CaseRow, CaseStore, segment_labels
from .exchange import Exchange
from .transforms import node_name
from .worker import BusyError, Worker

BUSY_MS = 100
BUSY_TRIES = 20
"""A run that was dropped a moment ago is still being cancelled for a second or so."""


@dataclass(frozen=True)
class Plan:
    """What is compared with what.

    Attributes:
        rows: the cases that have something in common with the model.
        mapping: the model's label of each segment name.
        classes: of the model.
        notes: sentences about what is left out.
        problem: why it cannot be evaluated; empty where it can.
    """

    rows: tuple[CaseRow, ...]
    mapping: dict[str, int]
    classes: tuple[ClassCard, ...]
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def case_names(self) -> tuple[str, ...]:
        """What a person calls the cases: their volumes."""
        return tuple(node_name(row.volume_node, _("The volume")) for row in self.rows)


def plan_evaluation(
    rows: Sequence[CaseRow], mapping: Mapping[str, int], classes: Sequence[ClassCard], card: ModelCard
) -> Plan:
    """Matches segments with a model's classes by the names of their classes, whatever the case of letters.

    Args:
        rows: the cases.
        mapping: the label of each segment name among ``classes``.
        classes: what a person assigned segments to.
        card: of the model.
    """
    known = {item.name.casefold(): item.label for item in card.classes}
    labels = {item.label: known.get(item.name.casefold()) for item in classes}
    matched = {name: found for name, label in mapping.items() if (found := labels.get(label)) is not None}
    kept = tuple(row for row in rows if segment_labels(row.segmentation_node, matched))
    if not kept:
        text = _("No segment is a class of the model {model}; assign segments to its classes, or choose another model.")
        return Plan((), matched, card.classes, problem=text.format(model=card.title))
    notes = []
    if missing := [item.name for item in classes if labels[item.label] is None]:
        text = _("The model {model} does not know {classes}: left out.")
        notes.append(text.format(model=card.title, classes=", ".join(missing)))
    for row in rows:
        if row not in kept:
            text = _("{name} has no segment that the model {model} knows: left out.")
            notes.append(text.format(name=node_name(row.segmentation_node, _("A segmentation")), model=card.title))
    return Plan(kept, matched, card.classes, tuple(notes))


class EvaluationRun:
    """An evaluation that goes on in the worker while the event loop turns.

    Exactly one of ``finished``, ``failed`` and ``cancelled`` is called in the end, from the event loop; none after
    :meth:`abandon`.

    Args:
        worker: the process that computes.
        progress: gets cases done, all cases and the seconds that are left, if known.
        state: gets what begins now.
        finished: gets the result of the worker's task ``evaluate``.
        failed: gets one sentence.
        cancelled: after :meth:`cancel`.
    """

    def __init__(
        self,
        worker: Worker,
        progress: Callable[[int, int, float | None], None],
        state: Callable[[str], None],
        finished: Callable[[dict[str, Any]], None],
        failed: Callable[[str], None],
        cancelled: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._progress, self._state = progress, state
        self._told = (finished, failed, cancelled)
        self._exchange: Exchange | None = None
        self._store: CaseStore | None = None
        self._arguments: dict[str, Any] = {}
        self._tries = BUSY_TRIES
        self._computing = False
        self._over = False

    def start(self, plan: Plan, model: Path, device: str = "auto", precision: str = "auto") -> None:
        """Begins.

        Args:
            plan: without a problem.
            model: the model's folder.
            device: where to compute.
            precision: in which number format.

        Raises:
            AHNetSegmentError: the worker or the temporary folder cannot be used.
        """
        self._worker.start()
        self._exchange = Exchange()
        self._arguments = {
            "job": str(self._exchange.folder),
            "model": str(model),
            "device": device,
            "precision": precision,
        }
        self._store = CaseStore(self._exchange.folder, self._written, self._fail)
        self._store.write(plan.rows, plan.mapping, plan.classes)

    def cancel(self) -> None:
        """Stops; ``cancelled`` is called within a second."""
        if self._computing:
            self._worker.cancel()
        elif not self._over:
            self._end()
            self._told[2]()

    def abandon(self) -> None:
        """Stops without telling anybody: the scene closes."""
        if self._computing:
            self._worker.cancel()
        self._end()

    def _written(self, _folder: Path) -> None:
        self._compute()

    def _compute(self) -> None:
        if self._over:
            return
        try:
            self._worker.run(
                "evaluate",
                self._arguments,
                finished=self._computed,
                failed=self._fail,
                cancelled=self._stopped,
                progress=self._tell_progress,
                state=self._tell_state,
            )
        except BusyError as error:
            self._tries -= 1
            if self._tries:
                qt.QTimer.singleShot(BUSY_MS, self._compute)
            else:
                self._fail(str(error))
        except AHNetSegmentError as error:
            self._fail(str(error))
        else:
            self._computing = True

    def _tell_progress(self, done: int, total: int, seconds_left: float | None) -> None:
        if not self._over:
            self._progress(done, total, seconds_left)

    def _tell_state(self, text: str) -> None:
        if not self._over:
            self._state(text)

    def _computed(self, result: dict[str, Any]) -> None:
        self._settle(0, result)

    def _fail(self, message: str) -> None:
        self._settle(1, message)

    def _stopped(self) -> None:
        self._settle(2)

    def _settle(self, whom: int, *values: Any) -> None:
        self._computing = False
        told = not self._over
        self._end()
        if told:
            self._told[whom](*values)

    def _end(self) -> None:
        self._over = True
        if self._store is not None:
            self._store.stop()
        if not self._computing and self._exchange is not None:
            # In a turn of its own: large files take their time.
            qt.QTimer.singleShot(0, self._exchange.close)

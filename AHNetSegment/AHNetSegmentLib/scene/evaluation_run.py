"""One click on Evaluate: the cases to the worker, what it measured back, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..engine.card import ClassCard, ModelCard
from .cases import CaseRow, CaseStore, segment_labels
from .exchange import Exchange
from .timers import later
from .transforms import node_name
from .worker import Worker
from .worker_run import WorkerRun


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


class EvaluationRun(WorkerRun):
    """An evaluation that goes on in the worker; see :class:`~.worker_run.WorkerRun`.

    Args:
        worker: where it waits for its turn.
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
        super().__init__("evaluate", worker, progress, state, finished, failed, cancelled)
        self._exchange: Exchange | None = None
        self._store: CaseStore | None = None

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

    def _written(self, _folder: Path) -> None:
        self._compute()

    def _end(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.stop()
        super()._end()

    def _let_go(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            # In a turn of its own: large files take their time.
            later(0, exchange.close)

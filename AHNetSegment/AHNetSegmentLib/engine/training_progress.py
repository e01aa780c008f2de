"""What a training may be told, and what it tells: options, progress, and the state that a checkpoint holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..network.ahnet import AHNet

LOG_FILE = "log.json"


@dataclass(frozen=True)
class TrainingOptions:
    """What may differ between machines and leaves the result the same, but for rounding.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto``, ``float32``, ``bfloat16``, ``float16``.
        workers: processes that prepare batches ahead of the step; 0: none.
        checkpoint_seconds: time between checkpoints.
        report_every: steps between reports; checkpoints fall on them too.
    """

    device: str = "auto"
    precision: str = "auto"
    workers: int = 1
    checkpoint_seconds: float = 120.0
    report_every: int = 20


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run is.

    Attributes:
        stage: index of the stage.
        kind: its kind.
        step: steps done in it.
        steps: steps that it has.
        total: steps done in all stages; fewer than planned where a stage has ended early.
        loss: mean loss since the last report; nan right after a validation.
        seconds: run time so far, earlier runs included.
        seconds_left: estimate for the stages that remain, from the pace of this one.
        validation: what ``validate`` has just found; None between validations.
        best: whether no earlier validation was better.
    """

    stage: int
    kind: str
    step: int
    steps: int
    total: int
    loss: float
    seconds: float
    seconds_left: float
    validation: dict[str, Any] | None = None
    best: bool = False


Report = Callable[[TrainingProgress], bool]
"""Called every few steps and after each validation; returning False stops the run with a checkpoint."""

GoOn = Callable[[], bool]
"""Asked after each step; answering False stops the run with a checkpoint."""

Validate = Callable[[AHNet], dict[str, Any]]
"""Measures the averaged network; ``dice`` in the result has each class's mean Dice, None where undefined."""


@dataclass(frozen=True)
class Watch:
    """Who is told of a fine-tuning while it runs; each may be left out.

    Attributes:
        state: gets what begins now, in a few words.
        progress: called with done and total: cases, or steps of all stages.
        steps: gets a training's progress: losses and validations.
        go_on: asked after each step and case; answering False stops the run, to be continued.
        preview: folder for pictures of a validation case; None: none are drawn.
        picture: gets the path of each picture, before ``steps`` gets the validation that it belongs to.
    """

    state: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], object] = lambda done, total: None
    steps: Callable[[TrainingProgress], object] = lambda place: None
    go_on: GoOn = lambda: True
    preview: Path | None = None
    picture: Callable[[str | None], object] = lambda path: None

    def case(self, what: str, done: int, total: int) -> bool:
        """A :data:`~.build.CaseProgress`."""
        self.progress(done, total)
        return self.go_on()


@dataclass
class TrainingState:
    """All that a checkpoint holds beside tensors.

    Attributes:
        stage: index of the stage that runs.
        step: steps done in it.
        total: steps done in all stages.
        seconds: run time.
        log: what was reported.
        validated: ``total`` at the last validation.
        best: the best mean Dice of the validations; None before the first one.
        waited: validations of this stage since the best one.
    """

    stage: int = 0
    step: int = 0
    total: int = 0
    seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)
    validated: int = 0
    best: float | None = None
    waited: int = 0


def read_log(work: Path) -> list[dict[str, Any]]:
    """What a run has reported up to its last checkpoint: see :attr:`Trainer.log`; empty where there is none."""
    try:
        log: list[dict[str, Any]] = json.loads((Path(work) / LOG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return log

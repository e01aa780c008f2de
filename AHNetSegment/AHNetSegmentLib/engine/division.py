"""Which labelled cases train a model, and which are held out for validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from .card import ClassCard
from .errors import RecipeError

FEWEST_TO_HOLD_OUT = 3
"""With fewer cases, none is held out: each is needed for training."""
HELD_OUT_SHARE = 0.2


class Divisible(Protocol):
    """What of a case decides; see :class:`~.cases.LabelledCase`."""

    @property
    def labelled(self) -> tuple[int, ...] | None:
        """Labels of the classes that it labels; None: all."""

    @property
    def use(self) -> str:
        """``auto``, ``training`` or ``validation``."""

    @property
    def group(self) -> str:
        """Cases of one group go together; empty: a group of its own."""


CaseKind = TypeVar("CaseKind", bound=Divisible)


def divide(cases: Sequence[CaseKind], classes: Sequence[ClassCard], seed: int) -> tuple[list[CaseKind], list[CaseKind]]:
    """Training and validation cases: as the user chose, or else about a fifth of the groups held out by the seed.

    Cases of one group go together, also with the one that the user has chosen for validation. A group is held out
    only where others still label each of its classes. Nothing is held out of fewer than ``FEWEST_TO_HOLD_OUT`` cases,
    nor where the user has chosen validation cases.

    Raises:
        RecipeError: nothing is left to train on, a class is labelled in no training case, or a group is chosen for
            both training and validation.
    """
    groups = {case.group for case in cases if case.group and case.use == "validation"}
    if any(case.group in groups and case.use == "training" for case in cases):
        raise RecipeError(
            "Cases of one patient are chosen for training and for validation; choose the same for all of them."
        )
    validation = [case for case in cases if case.use == "validation" or case.group in groups]
    training = _without(cases, validation)
    if not training:
        raise RecipeError("Every case is a validation case; leave at least one for training.")
    if not validation and len(cases) >= FEWEST_TO_HOLD_OUT:
        validation = _held_out(training, seed)
        training = _without(training, validation)
    for item in classes:
        if not any(_labels(case, item.label) for case in training):
            raise RecipeError(
                f"No training case labels {item.name}; add a case that does, use one for training, or leave it out."
            )
    return training, validation


def _held_out(cases: Sequence[CaseKind], seed: int) -> list[CaseKind]:
    groups: dict[str, list[CaseKind]] = {}
    for number, case in enumerate(cases):
        groups.setdefault(case.group or f"\0{number}", []).append(case)
    wanted = max(1, round(HELD_OUT_SHARE * len(groups)))
    names = [name for name in groups if all(case.use == "auto" for case in groups[name])]
    held: list[CaseKind] = []
    drawn = [groups[names[index]] for index in np.random.default_rng(seed).permutation(len(names))]
    # What a case does not label, it cannot validate.
    for group in sorted(drawn, key=lambda group: -max(_count(case) for case in group)):
        rest = _without(cases, [*held, *group])
        if wanted and rest and all(_still_labelled(case, rest) for case in group):
            held += group
            wanted -= 1
    return held


def _without(cases: Sequence[CaseKind], others: Sequence[CaseKind]) -> list[CaseKind]:
    """The cases that are none of the others themselves: equal ones may be two."""
    left_out = {id(case) for case in others}
    return [case for case in cases if id(case) not in left_out]


def _still_labelled(case: Divisible, others: Sequence[Divisible]) -> bool:
    if case.labelled is None:
        return any(other.labelled is None for other in others)
    return all(any(_labels(other, label) for other in others) for label in case.labelled)


def _count(case: Divisible) -> float:
    """How many classes a case labels."""
    return math.inf if case.labelled is None else len(case.labelled)


def _labels(case: Divisible, label: int) -> bool:
    return case.labelled is None or label in case.labelled

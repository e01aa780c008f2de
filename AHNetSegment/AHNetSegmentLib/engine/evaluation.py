"""How well predicted label maps agree with references over many cases: summaries, table, CSV."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..network.settings import IGNORE_LABEL
from .card import ClassCard
from .files import write_text
from .measures import (
    MEASURES,
    CaseMeasures,
    ClassMeasures,
    evaluate_case,
    mean_of_defined,
    none_if_undefined,
)
from .text_table import text_table
from .volume import Array, Geometry

__all__ = [
    "CaseMeasures",
    "ClassMeasures",
    "ClassSummary",
    "Evaluation",
    "LabelPair",
    "Summary",
    "evaluate_case",
    "evaluate_cases",
]

SUMMARISED = ("dice", "hausdorff95_mm", "surface_distance_mm", "volume_error_ml", "volume_error_percent")


@dataclass(frozen=True)
class Summary:
    """One measure of one class over the cases where it is defined; numbers are nan where there are too few.

    Attributes:
        count: of these cases.
        mean: of them.
        median: of them.
        standard_deviation: of the sample (divisor n - 1).
        worst: the lowest Dice, the largest distance, the volume error furthest from zero.
        worst_case: the name of the case that has it.
    """

    count: int
    mean: float
    median: float
    standard_deviation: float
    worst: float
    worst_case: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON: None where undefined."""
        numbers = ("mean", "median", "standard_deviation", "worst")
        values = {key: none_if_undefined(getattr(self, key)) for key in numbers}
        return {"count": self.count, **values, "worst_case": self.worst_case}


@dataclass(frozen=True)
class ClassSummary:
    """One class over all cases.

    Attributes:
        label: of the class.
        name: of the class.
        present: cases where the reference has the class.
        missed: cases where only the reference has the class.
        invented: cases where only the prediction has it.
        dice: and the other measures: see :class:`~.measures.ClassMeasures`.
    """

    label: int
    name: str
    present: int
    missed: int
    invented: int
    dice: Summary
    hausdorff95_mm: Summary
    surface_distance_mm: Summary
    volume_error_ml: Summary
    volume_error_percent: Summary

    def to_dict(self) -> dict[str, Any]:
        """For JSON: None where undefined."""
        counts = {"present": self.present, "missed": self.missed, "invented": self.invented}
        measures = {measure: getattr(self, measure).to_dict() for measure in SUMMARISED}
        return {"label": self.label, "class": self.name, **counts, **measures}


@dataclass(frozen=True)
class Evaluation:
    """Cases and what they say together; all cases have the same classes.

    Attributes:
        cases: their measures.
        seconds_per_volume: median time that a model took for a case; nan where none was measured.
    """

    cases: tuple[CaseMeasures, ...]
    seconds_per_volume: float = math.nan

    @property
    def classes(self) -> tuple[ClassSummary, ...]:
        """One summary per class, in the order of the first case."""
        return tuple(self._summarise(item) for item in self.cases[0].classes) if self.cases else ()

    @property
    def mean_dice(self) -> float:
        """Mean of the classes' mean Dice, so that each class weighs the same; nan without a case."""
        return mean_of_defined(item.dice.mean for item in self.classes)

    def validation(self) -> dict[str, Any]:
        """What a training's log keeps of it: each class's mean Dice, None where undefined."""
        return {"dice": {item.name: none_if_undefined(round(item.dice.mean, 4)) for item in self.classes}}

    def table(self) -> str:
        """A plain-text table: one line per class, then the mean Dice and the classes missed or invented."""
        header = ("class", "cases", "Dice ± SD", "median", "worst", "HD95 mm", "ASD mm", "volume error", "worst case")
        classes = self.classes
        table = text_table(header, [_table_row(item) for item in classes])
        notes = [f"Mean Dice {_number(self.mean_dice, 3)} over {len(classes)} classes and {len(self.cases)} cases."]
        for item in classes:
            if item.missed:
                notes.append(f"{item.name}: not found in {item.missed} of {item.present} cases that have it.")
            if item.invented:
                absent = len(self.cases) - item.present
                notes.append(f"{item.name}: found in {item.invented} of {absent} cases that do not have it.")
        return "\n".join([table, "", *notes])

    def to_dict(self) -> dict[str, Any]:
        """Summaries and cases for JSON: None where undefined."""
        return {
            "mean_dice": none_if_undefined(self.mean_dice),
            "classes": [item.to_dict() for item in self.classes],
            "cases": [case.to_dict() for case in self.cases],
        }

    def csv(self) -> str:
        """One row per case and class as comma-separated values, with empty cells where a measure is undefined."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("case", "label", "class", *MEASURES))
        for case in self.cases:
            for item in case.classes:
                values = (getattr(item, measure) for measure in MEASURES)
                cells = ("" if math.isnan(value) else f"{value:.6g}" for value in values)
                writer.writerow((case.name, item.label, item.name, *cells))
        return text.getvalue()

    def write_csv(self, path: Path) -> None:
        """Writes :meth:`csv` into a file.

        Raises:
            OutputError: the file cannot be written; an existing one is left as it was.
        """
        write_text(path, self.csv())

    def _summarise(self, of: ClassMeasures) -> ClassSummary:
        rows = [(case.name, item) for case in self.cases for item in case.classes if item.label == of.label]
        return ClassSummary(
            of.label,
            of.name,
            sum(item.reference_ml > 0 for _, item in rows),
            sum(item.missed for _, item in rows),
            sum(item.invented for _, item in rows),
            *(_summary([(case, getattr(item, measure)) for case, item in rows], measure) for measure in SUMMARISED),
        )


@dataclass(frozen=True)
class LabelPair:
    """Two label maps (k, j, i) on one grid, to be compared.

    Attributes:
        labelled: labels of the classes that the reference speaks of, all others being undefined; None: all.
    """

    name: str
    predicted: Array
    reference: Array
    geometry: Geometry
    labelled: tuple[int, ...] | None = None


def evaluate_cases(
    pairs: Iterable[LabelPair],
    classes: Sequence[ClassCard],
    ignore_label: int | None = IGNORE_LABEL,
    distances: bool = True,
) -> Evaluation:
    """Compares case by case, see :func:`evaluate_case`; of a generator only one case is in memory at a time.

    Raises:
        VolumeError: the label maps of a pair do not have one size.
    """
    return Evaluation(
        tuple(
            evaluate_case(
                pair.predicted,
                pair.reference,
                pair.geometry,
                classes,
                name=pair.name,
                ignore_label=ignore_label,
                distances=distances,
                labelled=pair.labelled,
            )
            for pair in pairs
        )
    )


def _summary(values: Sequence[tuple[str, float]], measure: str) -> Summary:
    defined = [(case, value) for case, value in values if not math.isnan(value)]
    if not defined:
        return Summary(0, math.nan, math.nan, math.nan, math.nan, "")
    numbers = [value for _, value in defined]
    worst_case, worst = max(defined, key=lambda item: -item[1] if measure == "dice" else abs(item[1]))
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else math.nan
    return Summary(len(numbers), mean_of_defined(numbers), statistics.median(numbers), deviation, worst, worst_case)


def _table_row(item: ClassSummary) -> tuple[str, ...]:
    spread = "" if math.isnan(item.dice.standard_deviation) else f" ± {_number(item.dice.standard_deviation, 3)}"
    percent = _number(item.volume_error_percent.mean, 1, "+")
    return (
        item.name,
        str(item.dice.count),
        f"{_number(item.dice.mean, 3)}{spread}",
        _number(item.dice.median, 3),
        _number(item.dice.worst, 3),
        _number(item.hausdorff95_mm.mean, 2),
        _number(item.surface_distance_mm.mean, 2),
        f"{_number(item.volume_error_ml.mean, 2, '+')} mL ({percent} %)",
        item.dice.worst_case,
    )


def _number(value: float, digits: int, sign: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{sign}.{digits}f}"

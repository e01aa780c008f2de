"""What the benches of training share: one training's time and results, and the README's table of several."""

from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from AHNetSegmentLib.engine.evaluation import Evaluation


@dataclass(frozen=True)
class Run:
    """A training and what its model reaches on cases that it has not seen.

    Attributes:
        name: what sets it apart.
        steps: of each stage.
        minutes: wall clock.
        cpu_minutes: of all its processes.
        dice: of each structure: mean, standard_deviation, median, worst.
    """

    name: str
    steps: str
    minutes: float
    cpu_minutes: float
    dice: dict[str, dict[str, float]]


def dice_of(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Of each structure, as a run keeps it."""
    return {item.name: item.dice.to_dict() for item in evaluation.classes}


def save(runs: Sequence[Run], path: Path) -> None:
    """Writes the runs as JSON."""
    path.write_text(json.dumps([vars(run) for run in runs], indent=1) + "\n", encoding="utf-8")


def table(runs: Sequence[Run], what: str) -> str:
    """The runs as a table in Markdown; ``what`` heads the column of their names."""
    lines = [
        f"| {what} | steps | minutes | CPU minutes | structure | Dice, mean ± SD | median | worst |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in runs:
        for name, dice in run.dice.items():
            spread = f"{dice['mean']:.3f} ± {dice['standard_deviation']:.3f}"
            times = f"{run.steps} | {run.minutes:.1f} | {run.cpu_minutes:.1f}"
            rest = f"{spread} | {dice['median']:.3f} | {dice['worst']:.3f}"
            lines.append(f"| {run.name} | {times} | {name} | {rest} |")
    return "\n".join(lines)


def cpu_seconds() -> float:
    """Of this process and the ones that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)

"""What fine-tuning is worth, on the labelled data beside the repository: ``make bench-finetuning``.

``cardiac``: the left ventricle from five patients, beginning with the bundled hippocampus model and, for the same
computing time, from scratch; measured on all other patients. ``abdomen``: liver, spleen and kidneys from six cases, of
which some label only some; measured on the other cases.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "AHNetSegment"))

from comparison import Run, cpu_seconds, dice_of, save, table

from AHNetSegmentLib.engine.allocator import keep_freed_memory
from AHNetSegmentLib.engine.build import evaluate_model
from AHNetSegmentLib.engine.case_list import ClassChoice, classes_of, label_cases
from AHNetSegmentLib.engine.cases import Case, find_cases
from AHNetSegmentLib.engine.finetune import FinetuneTask, finetune
from AHNetSegmentLib.engine.finetune_plan import FinetuneSettings, Identity
from AHNetSegmentLib.engine.package import find_model, load_model
from AHNetSegmentLib.engine.progress import ProgressBar
from AHNetSegmentLib.engine.training_progress import TrainingOptions, Watch

BASE = "hippocampus-t1"
EVERY_PATIENT = 8
"""Of 36 patients by name, every eighth from the fourth on: five, of all four diagnoses."""
FIRST_PATIENT = 3
STEPS = {"transferred": 200, "scratch": 240}
"""Chosen so that both take the same time: a step that trains the decoder alone is cheaper."""

ABDOMEN = {"Liver": "6", "Spleen": "1", "Left kidney": "3", "Right kidney": "2"}
ABDOMEN_CASES = {
    "case_0006": ("Liver", "Spleen", "Left kidney", "Right kidney"),
    "case_0010": ("Liver", "Spleen", "Left kidney", "Right kidney"),
    "case_0023": ("Liver", "Spleen"),
    "case_0027": ("Liver",),
    "case_0031": ("Left kidney", "Right kidney"),
    "case_0039": ("Spleen", "Left kidney", "Right kidney"),
}
"""What each of the six cases labels; everything else in it is unknown."""
ABDOMEN_STEPS = 480


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AHNET_SHARED", REPOSITORY.parent / "shared")))
    parser.add_argument("--work", type=Path, default=REPOSITORY / "work" / "finetuning")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    options = parser.parse_args()
    keep_freed_memory()
    for part in options.parts:
        runs = PARTS[part](options.data / "data", options.work)
        save(runs, options.work / f"{part}.json")
        print(table(runs, "training"))


def cardiac(data: Path, work: Path) -> list[Run]:
    """The left ventricle, transferred and from scratch."""
    choices = [ClassChoice("Left ventricle", ("1",))]
    classes = classes_of(choices)
    cases = label_cases(find_cases(data / "cardiac-cine"), choices, classes, complete=True)
    cases = [replace(case, group=case.name.rsplit("_", 1)[0]) for case in cases]
    patients = sorted({case.group for case in cases})
    chosen = set(patients[FIRST_PATIENT::EVERY_PATIENT])
    training = [case for case in cases if case.group in chosen]
    unseen = [case for case in cases if case.group not in chosen]
    runs = []
    for name, base in (("transferred", BASE), ("scratch", None)):
        what = FinetuneTask(
            Identity(f"lv-{name}", f"Left ventricle, {name}"),
            classes,
            tuple(training),
            load_model(find_model(base)) if base else None,
            settings=FinetuneSettings(steps=STEPS[name], patience=0),
        )
        runs.append(run(name, what, unseen, work / name))
    return runs


def abdomen(data: Path, work: Path) -> list[Run]:
    """Four organs from six cases, partly labelled."""
    choices = [ClassChoice(name, (value,)) for name, value in ABDOMEN.items()]
    classes = classes_of(choices)
    labels = {item.name: item.label for item in classes}
    cases = label_cases(find_cases(data / "abdomen-ct"), choices, classes, complete=True)
    training = [_partly(case, [labels[name] for name in ABDOMEN_CASES[case.name]]) for case in cases
                if case.name in ABDOMEN_CASES]  # fmt: skip
    unseen = [case for case in cases if case.name not in ABDOMEN_CASES]
    what = FinetuneTask(
        Identity("abdomen-four", "Four organs", modality="CT"),
        classes,
        tuple(training),
        load_model(find_model(BASE)),
        settings=FinetuneSettings(steps=ABDOMEN_STEPS, patience=0),
    )
    return [run("partly labelled", what, unseen, work / "abdomen")]


def _partly(case: Case, labelled: Sequence[int]) -> Case:
    """The case as somebody has it who never labelled the rest: its voxels are background in the label map."""
    assert case.values is not None
    values = {value: label for value, label in case.values.items() if label in labelled}
    return replace(case, values=values, labelled=tuple(sorted(labelled)))


def run(name: str, what: FinetuneTask, unseen: Sequence[Case], work: Path) -> Run:
    """Trains and measures."""
    bar = ProgressBar(name)
    began, cpu = time.monotonic(), cpu_seconds()
    watch = Watch(progress=bar.show)
    result = finetune(what, work / "model", work, TrainingOptions(device="cpu", workers=1), watch)
    bar.close()
    assert result is not None
    minutes, cpu_minutes = (time.monotonic() - began) / 60, (cpu_seconds() - cpu) / 60
    found = evaluate_model(load_model(result.folder), unseen, distances=False)
    print(found.table())
    steps = sum(stage["steps"] for stage in result.card.training["stages"])
    return Run(name, str(steps), minutes, cpu_minutes, dice_of(found))


PARTS: dict[str, Callable[[Path, Path], list[Run]]] = {"cardiac": cardiac, "abdomen": abdomen}

if __name__ == "__main__":
    main()

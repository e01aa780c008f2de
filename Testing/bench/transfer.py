"""Whether the article's first stage helps: cardiac-cine with and without it, in the same computing time.

``make bench-transfer``. Both trainings follow the bundled model's recipe, on its cases and from random weights, but for
the stages. ``with``: the 2D network on slices, its encoder made 3D, the decoder alone, then everything. ``without``:
everything in 3D from the first step on. Measured on the recipe's validation patients.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "AHNetSegment"))

from comparison import Run, cpu_seconds, dice_of, save, table

from AHNetSegmentLib.engine.allocator import keep_freed_memory
from AHNetSegmentLib.engine.build import RECIPE_FILE, card_of, evaluate_model
from AHNetSegmentLib.engine.cases import find_cases, split_cases
from AHNetSegmentLib.engine.dataset import prepare_cases
from AHNetSegmentLib.engine.package import Model
from AHNetSegmentLib.engine.progress import ProgressBar
from AHNetSegmentLib.engine.recipe import Stage, read_recipe
from AHNetSegmentLib.engine.training import Trainer
from AHNetSegmentLib.engine.training_progress import TrainingOptions, TrainingProgress
from AHNetSegmentLib.network.ahnet import AHNet

MODEL = "cardiac-cine"
PATCH = (8, 192, 192)
STAGES = {
    "with": (
        Stage("slices", steps=90, learning_rate=1e-3, batch=2, patch=PATCH),
        Stage("decoder", steps=40, learning_rate=1e-3, batch=2, patch=PATCH),
        Stage("all", steps=128, learning_rate=1e-3, batch=2, patch=PATCH),
    ),
    "without": (Stage("all", steps=200, learning_rate=1e-3, batch=2, patch=PATCH),),
}
"""Steps chosen so that both take the same time: see the table that is printed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AHNET_SHARED", REPOSITORY.parent / "shared")))
    parser.add_argument("--work", type=Path, default=REPOSITORY / "work" / "transfer")
    parser.add_argument("--runs", nargs="+", choices=tuple(STAGES), default=tuple(STAGES))
    options = parser.parse_args()
    keep_freed_memory()
    runs = [run(name, options.data / "data" / MODEL, options.work) for name in options.runs]
    save(runs, options.work / "runs.json")
    print(table(runs, "2D stage"))


def run(name: str, data: Path, work: Path) -> Run:
    """Trains, or goes on where it was stopped, and measures."""
    recipe = read_recipe(REPOSITORY / "Resources" / "Models" / MODEL / RECIPE_FILE)
    recipe = replace(recipe, base="", stages=STAGES[name])
    cases, held_out = split_cases(find_cases(data), recipe.validation)
    bar = ProgressBar(f"{MODEL} {name} the 2D stage")
    steps = sum(stage.steps for stage in recipe.stages)

    def report(progress: TrainingProgress) -> bool:
        return bar.show(progress.total, steps)

    prepared = prepare_cases(cases, recipe, work / "cache", lambda done, total: None)
    trainer = Trainer(recipe, prepared, work / name, TrainingOptions(device="cpu", workers=1))
    cpu = cpu_seconds()
    weights = trainer.run(report)
    bar.close()
    cpu_minutes = (cpu_seconds() - cpu) / 60
    network = AHNet(recipe.network)
    network.load_state_dict(weights)
    found = evaluate_model(Model(card_of(recipe), network.eval(), work / name), held_out, distances=False)
    print(found.table())
    stages = ", ".join(f"{stage.kind} {stage.steps}" for stage in recipe.stages)
    return Run(name, stages, trainer.seconds / 60, cpu_minutes, dice_of(found))


if __name__ == "__main__":
    main()

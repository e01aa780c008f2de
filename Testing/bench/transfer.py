"""Whether the article's first stage helps: two tasks with and without it, in the same computing time.

``make bench-transfer``. The trainings follow the bundled model's recipe, on its cases and from random weights, but for
the stages. ``with``: the 2D network on slices, its encoder made 3D, the decoder alone, then everything. ``without``:
everything in 3D from the first step on. Measured on the recipe's validation cases.
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

RATE = 1e-3
PLANES, BOX, HEART = (14, 52, 36), (36, 52, 36), (8, 192, 192)
PLANS = {
    "hippocampus-t1": {
        "with": (
            Stage("slices", 300, RATE, batch=4, patch=PLANES),
            Stage("decoder", 300, RATE, batch=2, patch=BOX),
            Stage("all", 1000, RATE, batch=2, patch=BOX),
        ),
        "without": (Stage("all", 1500, RATE, batch=2, patch=BOX),),
    },
    "cardiac-cine": {
        "with": (
            Stage("slices", 90, RATE, batch=2, patch=HEART),
            Stage("decoder", 40, RATE, batch=2, patch=HEART),
            Stage("all", 128, RATE, batch=2, patch=HEART),
        ),
        "without": (Stage("all", 200, RATE, batch=2, patch=HEART),),
    },
}
"""Steps chosen so that both take the same time: see the tables that are printed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AHNET_SHARED", REPOSITORY.parent / "shared")))
    parser.add_argument("--work", type=Path, default=REPOSITORY / "work" / "transfer")
    parser.add_argument("--models", nargs="+", choices=tuple(PLANS), default=tuple(PLANS))
    parser.add_argument("--runs", nargs="+", choices=("with", "without"), default=("with", "without"))
    options = parser.parse_args()
    keep_freed_memory()
    for model in options.models:
        work = options.work / model
        runs = [run(model, name, options.data / "data" / model, work) for name in options.runs]
        save(runs, work / "runs.json")
        print(model, table(runs, "2D stage"), sep="\n")


def run(model: str, name: str, data: Path, work: Path) -> Run:
    """Trains, or goes on where it was stopped, and measures."""
    recipe = read_recipe(REPOSITORY / "Resources" / "Models" / model / RECIPE_FILE)
    recipe = replace(recipe, base="", stages=PLANS[model][name], test_time_scales=(1.0,))
    cases, held_out = split_cases(find_cases(data), recipe.validation)
    bar = ProgressBar(f"{model} {name} the 2D stage")
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

"""Validation Dice of a recipe over the time of its training: ``python dice_over_time.py <threads> <arguments>``.

Uses the package that PYTHONPATH names, so that an earlier revision can be measured too; prints a JSON line. The clock
stands still while cases are prepared and while the network is measured.
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from AHNetSegmentLib.engine.allocator import keep_freed_memory
from AHNetSegmentLib.engine.build import card_of, evaluate_model
from AHNetSegmentLib.engine.cases import find_cases, split_cases
from AHNetSegmentLib.engine.dataset import prepare_cases
from AHNetSegmentLib.engine.errors import Cancelled
from AHNetSegmentLib.engine.measures import mean_of_defined
from AHNetSegmentLib.engine.package import Model, find_model, load_model
from AHNetSegmentLib.engine.recipe import read_recipe
from AHNetSegmentLib.engine.training import Trainer
from AHNetSegmentLib.engine.training_progress import TrainingOptions
from AHNetSegmentLib.network.ahnet import AHNet


def dice_over_time(recipe: str, data: str, work: str, marks: list[float], quick: bool) -> list[dict[str, Any]]:
    """Trains by a recipe from its base on, with its seed, and measures the averaged weights now and then.

    Args:
        recipe: its file; its first stage goes on for as long as it takes.
        data: folder of labelled cases.
        work: folder for the cache; emptied of an earlier training.
        marks: minutes of training after which the network is measured.
        quick: one case, small patches.
    """
    settings = read_recipe(Path(recipe))
    stage = settings.stages[0]
    if quick:
        stage = replace(stage, patch=(4, 32, 32), batch=1)
    # The recipe's steps, whose number decides the learning rate, at the recipe's pace: all of its stages together.
    stage = replace(stage, steps=sum(stage.steps for stage in settings.stages))
    settings = replace(settings, stages=(stage,), test_time_scales=(1.0,))
    cases, held_out = split_cases(find_cases(Path(data)), settings.validation)
    if quick:
        cases, held_out = cases[:1], held_out[:1]
    shutil.rmtree(Path(work) / "training", ignore_errors=True)
    prepared = prepare_cases(cases, settings, Path(work) / "cache", lambda done, total: None)
    base = load_model(find_model(settings.base)).network.state_dict() if settings.base else None
    trainer = Trainer(settings, prepared, Path(work) / "training", TrainingOptions(device="cpu", workers=1), base)
    points = []
    for minutes in marks:
        with suppress(Cancelled):
            trainer.run(go_on=lambda end=60 * minutes: trainer.seconds < end)
        network = AHNet(settings.network)
        network.load_state_dict({name: value.float().cpu() for name, value in trainer.average.items()})
        model = Model(card_of(settings), network.eval(), Path(work))
        found = evaluate_model(model, held_out, distances=False)
        dice = mean_of_defined(found.validation()["dice"].values())
        points.append({"minutes": trainer.seconds / 60, "steps": trainer.total, "dice": dice})
        print(points[-1], file=sys.stderr, flush=True)
    return points


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    keep_freed_memory()
    print(json.dumps(dice_over_time(**json.loads(sys.argv[2]))))

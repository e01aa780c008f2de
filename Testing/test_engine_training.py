"""Training: the stages, the transfer between them, and that a kill at any moment changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from AHNetSegmentLib.engine.augmentation import (
    FAT,
    Augmentation,
    cut_patch,
    draw_placement,
    fill_hollows,
    vary_intensity,
)
from AHNetSegmentLib.engine.build import card_of, evaluate_model, refresh_card, train_model
from AHNetSegmentLib.engine.card import Intensity, classes_from_dicts, read_card
from AHNetSegmentLib.engine.cases import find_cases, split_cases
from AHNetSegmentLib.engine.dataset import BatchStream, PreparedCase, prepare_cases
from AHNetSegmentLib.engine.errors import Cancelled, RecipeError, ResourceError, VolumeError
from AHNetSegmentLib.engine.image_io import write_volume
from AHNetSegmentLib.engine.package import load_model
from AHNetSegmentLib.engine.recipe import Recipe, Stage, read_recipe, said
from AHNetSegmentLib.engine.training import CHECKPOINT_FILE, Trainer
from AHNetSegmentLib.engine.training_progress import TrainingOptions, TrainingProgress
from AHNetSegmentLib.engine.volume import Geometry, Volume
from AHNetSegmentLib.network.mcgcn import MCGCN
from AHNetSegmentLib.network.settings import IGNORE_LABEL
from AHNetSegmentLib.network.transfer import encoder_weights

RECIPE = """
name = "blob"
title = "Blob"
version = "1.0.0"
modality = "MR"
anatomy = "A bright blob with a tip"
description = "For tests."
data_licence = "CC0 1.0"
spacing = [2.0, 1.0, 1.0]
seed = 3
average = 0.9
validation = ["case_2"]
kernels = [3, 3, 5, 5, 7]
storage = "float32"

[intensity]
rule = "zscore"
lower = 0.5
upper = 99.5

[network]
width = 0.125
slice_strides = [1, 1, 2, 1, 1]
pyramid_levels = 1

[augmentation]
rotation = [10.0, 5.0, 5.0]
mirror = [0.0, 0.0, 0.5]
noise = 0.1
bend = 1.0
gamma = 0.2

[[classes]]
label = 1
name = "Blob"
color = [200, 100, 0]
terminology = { category = { scheme = "SCT", value = "123037004", meaning = "Anatomical Structure" }, \
type = { scheme = "SCT", value = "5366008", meaning = "Hippocampus" } }

[[stages]]
kind = "slices"
steps = 6
learning_rate = 1e-3
batch = 2
patch = [4, 32, 32]

[[stages]]
kind = "decoder"
steps = 5
learning_rate = 1e-3
batch = 2
patch = [8, 32, 32]

[[stages]]
kind = "all"
steps = 7
learning_rate = 1e-3
batch = 2
patch = [8, 32, 32]
"""

OPTIONS = TrainingOptions(device="cpu", precision="float32", workers=0, checkpoint_seconds=0, report_every=1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three volumes with a bright blob each, 10 x 36 x 40 voxels of 2 x 1 x 1 mm."""
    folder = tmp_path / "data"
    for number in range(3):
        rng = np.random.default_rng(number)
        k, j, i = np.meshgrid(np.arange(10), np.arange(36), np.arange(40), indexing="ij")
        centre = rng.uniform([4, 14, 16], [6, 22, 24])
        distance = np.sqrt(((k - centre[0]) * 2) ** 2 + (j - centre[1]) ** 2 + (i - centre[2]) ** 2)
        labels = (distance < 7).astype(np.uint8)
        image = (300.0 * labels + rng.normal(200, 30, labels.shape)).astype(np.float32)
        geometry = Geometry((40, 36, 10), (1.0, 1.0, 2.0))
        write_volume(folder / "images" / f"case_{number}.nii.gz", Volume(image, geometry))
        write_volume(folder / "labels" / f"case_{number}.nii.gz", Volume(labels, geometry))
    return folder


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def prepared(recipe: Recipe, data: Path, cache: Path) -> list[PreparedCase]:
    cases, _ = split_cases(find_cases(data), recipe.validation)
    return prepare_cases(cases, recipe, cache, lambda done, total: None)


def stop_when(condition: Callable[[TrainingProgress], bool]) -> Callable[[TrainingProgress], bool]:
    return lambda place: not condition(place)


def assert_equal_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, msg=name)


def test_a_run_that_is_stopped_in_every_stage_ends_like_one_that_is_not(
    recipe_path: Path, data: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(recipe_path)
    cases = prepared(recipe, data, tmp_path / "cache")
    expected = Trainer(recipe, cases, tmp_path / "whole", OPTIONS).run()
    for stage, step in ((0, 3), (1, 1), (1, 4), (2, 6)):
        with pytest.raises(Cancelled):
            Trainer(recipe, cases, tmp_path / "stopped", OPTIONS).run(
                stop_when(lambda place, at=(stage, step): (place.stage, place.step) == at)  # type: ignore[misc]
            )
    assert_equal_weights(Trainer(recipe, cases, tmp_path / "stopped", OPTIONS).run(), expected)


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_ends_like_one_that_is_not(
    recipe_path: Path, data: Path, tmp_path: Path
) -> None:
    def start(work: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "AHNetSegmentLib", "train", str(recipe_path), "--data", str(data)]
        command += ["--work", str(work), "--precision", "float32", "--device", "cpu", "--quiet"]
        command += ["--checkpoint-seconds", "0", "--report-every", "1"]
        library = Path(sys.modules["AHNetSegmentLib"].__file__ or "").parents[1]
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(library)}, stdout=subprocess.DEVNULL)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    checkpoint = killed / CHECKPOINT_FILE
    kills = 0
    for delay in (0.0, 0.35):
        process = start(killed)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    assert start(killed).wait() == 0
    assert_equal_weights(
        load_model(killed / "model").network.state_dict(), load_model(whole / "model").network.state_dict()
    )


def test_a_stage_ends_when_validations_do_not_improve_and_the_best_weights_are_kept(
    recipe_path: Path, data: Path, tmp_path: Path
) -> None:
    stages = (Stage("decoder", 20, 1e-3, 2, (8, 32, 32)), Stage("all", 20, 1e-3, 2, (8, 32, 32)))
    recipe = replace(read_recipe(recipe_path), stages=stages, validate_every=2, patience=2)
    cases = prepared(recipe, data, tmp_path / "cache")
    # Decoder: better, best, two that are not. All: three that are not better than that best one.
    scores = iter([0.2, 0.5, 0.4, None, 0.3, 0.5])
    kept: list[dict[str, torch.Tensor]] = []
    places: list[tuple[str, int, bool]] = []

    def validate(network: Any) -> dict[str, Any]:
        kept.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"dice": {"Blob": next(scores)}}

    def report(place: TrainingProgress) -> bool:
        if place.validation is not None:
            places.append((place.kind, place.total, place.best))
        return True

    trainer = Trainer(recipe, cases, tmp_path / "work", OPTIONS)
    weights = trainer.run(report, validate)
    assert places == [
        ("decoder", 2, True),
        ("decoder", 4, True),
        ("decoder", 6, False),
        ("decoder", 8, False),
        ("all", 10, False),
        ("all", 12, False),
    ]
    assert trainer.total == 12
    assert_equal_weights(weights, {name: value.float() for name, value in kept[1].items()})


def test_a_run_that_is_stopped_after_every_step_and_in_its_validations_validates_as_one_in_one_piece(
    recipe_path: Path, data: Path, tmp_path: Path
) -> None:
    stages = (Stage("decoder", 3, 1e-3, 2, (4, 32, 32)), Stage("all", 2, 1e-3, 2, (4, 32, 32)))
    recipe = replace(read_recipe(recipe_path), stages=stages, validate_every=2)
    cases = prepared(recipe, data, tmp_path / "cache")

    def measured(network: Any) -> dict[str, Any]:
        return {"dice": {"Blob": float(sum(value.double().abs().sum() for value in network.state_dict().values()))}}

    whole = Trainer(recipe, cases, tmp_path / "whole", OPTIONS)
    expected = whole.run(validate=measured)
    pulled = []

    def unplugged(network: Any) -> dict[str, Any]:
        if len(pulled) % 2 == 0:
            pulled.append("in the middle of it")
            raise KeyboardInterrupt
        pulled.append("it ends")
        return measured(network)

    attempts = 0
    while attempts < 30:
        attempts += 1
        stopped = Trainer(recipe, cases, tmp_path / "stopped", OPTIONS)
        try:
            weights = stopped.run(validate=unplugged, go_on=lambda: False)
            break
        except (Cancelled, KeyboardInterrupt):
            continue
    assert 5 < attempts < 30
    assert_equal_weights(weights, expected)
    kept = ("stage", "step", "total", "validation", "best")
    logs = [
        [{name: entry[name] for name in kept} for entry in trainer.log if "validation" in entry]
        for trainer in (whole, stopped)
    ]
    assert [entry["total"] for entry in logs[0]] == [2, 3, 5]
    assert logs[0] == logs[1]


def test_a_stopped_run_goes_on_where_a_setting_was_added_that_is_off(recipe_path: Path) -> None:
    recipe = read_recipe(recipe_path)
    written = said(recipe)
    assert "bend_nodes" not in repr(written)
    assert "generation" not in repr(written)
    assert written == said(replace(recipe, augmentation=replace(recipe.augmentation, made=0.0, pixel=1.0)))
    for other in (
        replace(recipe, augmentation=replace(recipe.augmentation, made=0.1)),
        replace(recipe, seed=4),
        replace(recipe, network=replace(recipe.network, width=0.25)),
        replace(recipe, stages=recipe.stages[:2]),
    ):
        assert said(other) != written


def test_processes_that_prepare_batches_are_sent_no_voxels(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_path)
    case = prepared(recipe, data, tmp_path / "cache")[0]
    sent = pickle.dumps(case)
    assert len(sent) < case.labels.nbytes / 4
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.image, case.image)
    assert (again.name, again.labelled, again.stamp) == (case.name, case.labelled, case.stamp)
    kept = pickle.loads(pickle.dumps(replace(case, folder=None, labelled=(1,))))
    np.testing.assert_array_equal(kept.labels, case.labels)
    assert kept.labelled == (1,)


def test_a_run_goes_on_in_another_number_format(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    recipe = replace(read_recipe(recipe_path), stages=(Stage("all", 2, 1e-3, 2, (8, 32, 32)),))
    cases = prepared(recipe, data, tmp_path / "cache")
    with pytest.raises(Cancelled):
        Trainer(recipe, cases, tmp_path / "work", OPTIONS).run(lambda place: False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("AHNetSegmentLib.engine.training.choose_precision", lambda wish, device: torch.float16)
        trainer = Trainer(recipe, cases, tmp_path / "work", OPTIONS)
    assert trainer._scaler.is_enabled()
    assert trainer.total == 1


def test_worker_processes_change_nothing(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    recipe = replace(read_recipe(recipe_path), stages=(Stage("all", 4, 1e-3, 2, (8, 32, 32)),))
    cases = prepared(recipe, data, tmp_path / "cache")
    alone = Trainer(recipe, cases, tmp_path / "a", OPTIONS).run()
    helped = Trainer(recipe, cases, tmp_path / "b", replace(OPTIONS, workers=2)).run()
    assert_equal_weights(helped, alone)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_named_and_the_run_goes_on_afterwards(
    recipe_path: Path, data: Path, tmp_path: Path
) -> None:
    recipe = replace(read_recipe(recipe_path), stages=(Stage("all", 30, 1e-3, 2, (8, 32, 32)),))
    cases = prepared(recipe, data, tmp_path / "cache")

    def kill_the_worker(place: TrainingProgress) -> bool:
        for child in multiprocessing.active_children():
            child.kill()
        return True

    with pytest.raises(ResourceError, match="ended from outside"):
        Trainer(recipe, cases, tmp_path / "work", replace(OPTIONS, workers=1)).run(kill_the_worker)
    killed = Trainer(recipe, cases, tmp_path / "work", OPTIONS).run()
    assert_equal_weights(killed, Trainer(recipe, cases, tmp_path / "whole", OPTIONS).run())


def test_the_decoder_stage_keeps_the_encoder_that_the_slices_have_taught(
    recipe_path: Path, data: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(recipe_path)
    cases = prepared(recipe, data, tmp_path / "cache")
    flat = replace(recipe, stages=recipe.stages[:1])
    trainer = Trainer(flat, cases, tmp_path / "flat", OPTIONS)
    taught = trainer.run()
    assert isinstance(trainer.network, MCGCN)
    encoder_2d = {name.removeprefix("encoder."): v for name, v in taught.items() if name.startswith("encoder.")}
    both = Trainer(replace(recipe, stages=recipe.stages[:2]), cases, tmp_path / "both", OPTIONS).run()
    expected = encoder_weights(encoder_2d, 1)
    found = {name.removeprefix("encoder."): v for name, v in both.items() if name.startswith("encoder.")}
    assert_equal_weights(
        {k: v for k, v in found.items() if v.is_floating_point()},
        {k: v for k, v in expected.items() if v.is_floating_point()},
    )


def test_training_learns_and_the_package_that_it_writes_segments(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    text = RECIPE.replace("1e-3", "1e-2").replace("average = 0.9", "average = 0.8")
    for before, after in ((6, 20), (5, 20), (7, 60)):
        text = text.replace(f"steps = {before}", f"steps = {after}")
    recipe_path.write_text(text, encoding="utf-8")
    output = tmp_path / "model"
    evaluation = train_model(recipe_path, data, output, tmp_path / "work", OPTIONS)
    assert evaluation is not None
    assert evaluation.mean_dice > 0.85
    model = load_model(output)
    assert (output / "recipe.toml").read_text(encoding="utf-8") == recipe_path.read_text(encoding="utf-8")
    assert model.card.figures["mean_dice"] == pytest.approx(evaluation.mean_dice, abs=1e-4)
    assert model.card.training["validation_cases"] == ["case_2"]
    _, held_out = split_cases(find_cases(data), ["case_2"])
    again = evaluate_model(model, held_out)
    assert again.mean_dice == pytest.approx(evaluation.mean_dice, abs=1e-6)
    assert str(tmp_path) not in (output / "model.json").read_text(encoding="utf-8")
    assert model.card.figures["seconds_per_volume"] >= 0
    stored = {name: model.card.figures[f"mean_dice_{name}_storage"] for name in ("before", "after")}
    assert stored == pytest.approx(dict.fromkeys(stored, evaluation.mean_dice), abs=1e-4)

    words = text.replace("For tests.", "For better tests.").replace(
        "seed = 3", 'seed = 3\nknown_failures = "Squares."\none_piece = [1]\ntest_time_scales = [0.7, 1.6]'
    )
    (output / "recipe.toml").write_text(words, encoding="utf-8")
    card = refresh_card(output, data)
    assert read_card(output / "model.json") == card
    assert (card.description, card.known_failures, card.one_piece) == ("For better tests.", "Squares.", (1,))
    was = {"description": "For tests.", "known_failures": "", "one_piece": (), "test_time_scales": (1.0,)}
    assert replace(card, **was, figures=model.card.figures) == model.card  # type: ignore[arg-type]
    assert card.figures["mean_dice"] != model.card.figures["mean_dice"]
    assert {name: card.figures[f"mean_dice_{name}_storage"] for name in stored} == stored
    assert load_model(output).card == card


def test_a_checkpoint_of_another_recipe_is_refused(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_path)
    cases = prepared(recipe, data, tmp_path / "cache")
    with pytest.raises(Cancelled):
        Trainer(recipe, cases, tmp_path / "work", OPTIONS).run(lambda place: False)
    with pytest.raises(RecipeError, match="another recipe"):
        Trainer(replace(recipe, seed=4), cases, tmp_path / "work", OPTIONS)


def test_a_finished_run_goes_on_with_further_stages_and_in_other_words(
    recipe_path: Path, data: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(recipe_path)
    cases = prepared(recipe, data, tmp_path / "cache")
    more = replace(recipe, stages=(*recipe.stages, replace(recipe.stages[-1], steps=3, learning_rate=5e-4)))
    expected = Trainer(more, cases, tmp_path / "whole", OPTIONS).run()
    shorter = Trainer(recipe, cases, tmp_path / "work", OPTIONS).run()
    # As it was, a finished run has nothing left to do.
    assert_equal_weights(Trainer(recipe, cases, tmp_path / "work", OPTIONS).run(), shorter)
    longer = Trainer(replace(more, description="Described better."), cases, tmp_path / "work", OPTIONS)
    assert longer.total == sum(stage.steps for stage in recipe.stages)
    assert_equal_weights(longer.run(), expected)
    with pytest.raises(RecipeError, match="another recipe"):
        Trainer(recipe, cases, tmp_path / "work", OPTIONS)


def test_the_stages_that_a_run_has_been_through_are_part_of_it(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_path)
    cases = prepared(recipe, data, tmp_path / "cache")
    with pytest.raises(Cancelled):
        Trainer(recipe, cases, tmp_path / "work", OPTIONS).run(lambda place: place.stage == 0)
    first, second, last = recipe.stages
    Trainer(replace(recipe, stages=(first, second, replace(last, steps=99))), cases, tmp_path / "work", OPTIONS)
    for changed in ((replace(first, steps=99), second, last), (first, replace(second, batch=3), last), (first,)):
        with pytest.raises(RecipeError, match="another recipe"):
            Trainer(replace(recipe, stages=changed), cases, tmp_path / "work", OPTIONS)


@pytest.mark.parametrize(
    ("found", "put", "said"),
    [
        ('rule = "zscore"', 'rule = "magic"', "magic"),
        ("seed = 3", "sed = 3", "'sed' is unknown"),
        ('kind = "all"', 'kind = "some"', "some"),
        ("width = 0.125", "widht = 0.125", "widht"),
        ("label = 1", "label = 2", "count from 1"),
        ("steps = 6", "steps = 0", "at least one step"),
        ("width = 0.125", "width = 0.125\nin_channels = 2", "in_channels must be 1"),
        ('title = "Blob"', "", "title"),
        ("[[classes]]", "[[clases]]", "classes"),
        ("name = ", "name == ", "recipe.toml"),
        ("spacing = [2.0, 1.0, 1.0]", "spacing = [2.0, 1.0]", "spacing"),
        ("patch = [4, 32, 32]", "patch = [4, 32, 32]\naugmentation = { bent = 1.0 }", "'bent' is unknown"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_setting_named(
    recipe_path: Path, data: Path, tmp_path: Path, found: str, put: str, said: str
) -> None:
    recipe_path.write_text(RECIPE.replace(found, put, 1), encoding="utf-8")
    with pytest.raises(RecipeError) as refusal:
        train_model(recipe_path, data, tmp_path / "model", tmp_path / "work", OPTIONS)
    assert said in str(refusal.value)
    assert "recipe.toml" in str(refusal.value)
    assert not (tmp_path / "model").exists()


def test_data_that_do_not_fit_are_refused(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="holds no cases"):
        find_cases(tmp_path)
    with pytest.raises(RecipeError, match="case_9"):
        split_cases(find_cases(data), ["case_9"])
    with pytest.raises(RecipeError, match="Every case"):
        split_cases(find_cases(data), ["case_0", "case_1", "case_2"])
    label = data / "labels" / "case_0.nii.gz"
    whole = label.read_bytes()
    label.unlink()
    with pytest.raises(RecipeError, match=r"case_0.nii.gz has no label file"):
        find_cases(data)
    label.write_bytes(whole)
    write_volume(label, Volume(np.full((10, 36, 40), 7, np.uint8), Geometry((40, 36, 10), (1.0, 1.0, 2.0))))
    with pytest.raises(VolumeError, match=r"case_0.nii.gz holds the unknown labels 7; expected are 0, 1, 255"):
        prepared(read_recipe(recipe_path), data, tmp_path / "cache")
    write_volume(label, Volume(np.ones((10, 36, 40), np.uint8), Geometry((40, 36, 10), (1.0, 1.0, 2.5))))
    with pytest.raises(VolumeError, match=r"off the grid"):
        prepared(read_recipe(recipe_path), data, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("case_0*"))


def test_cases_are_preprocessed_once_and_again_when_they_change(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_path)
    cache = tmp_path / "cache"
    prepared(recipe, data, cache)
    first = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    prepared(recipe, data, cache)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")} == first
    os.utime(data / "images" / "case_0.nii.gz", ns=(1, 1))
    prepared(recipe, data, cache)
    assert len(list(cache.rglob("image.npy"))) == 3


def test_batches_depend_on_seed_stage_and_step_alone(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_path)
    cases = prepared(recipe, data, tmp_path / "cache")
    fifth = BatchStream(cases, recipe, 2)[5]
    continued = BatchStream(cases, recipe, 2, first_step=3)[2]
    for one, other in zip(fifth, continued, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert fifth[0].shape == (2, 1, 8, 32, 32)
    assert not torch.equal(fifth[0], BatchStream(cases, replace(recipe, seed=4), 2)[5][0])


def test_a_stage_may_vary_its_patches_otherwise_than_the_recipe(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    steady = read_recipe(recipe_path)
    added = RECIPE.replace("patch = [4, 32, 32]", "patch = [4, 32, 32]\naugmentation = { noise = 0.5, gamma = 0.0 }")
    recipe_path.write_text(added, encoding="utf-8")
    recipe = read_recipe(recipe_path)
    first, second, _ = recipe.stages
    assert recipe.augmentation_of(first) == replace(recipe.augmentation, noise=0.5, gamma=0.0)
    assert recipe.augmentation_of(second) == recipe.augmentation == steady.augmentation
    cases = prepared(recipe, data, tmp_path / "cache")
    one, other = ([BatchStream(cases, either, stage)[0][0] for stage in range(3)] for either in (steady, recipe))
    assert [torch.equal(*pair) for pair in zip(one, other, strict=True)] == [False, True, True]


def test_it_does_not_matter_where_a_recipe_says_how_a_stage_varies_its_patches(
    recipe_path: Path, data: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(recipe_path)
    cases = prepared(recipe, data, tmp_path / "cache")
    trained = Trainer(recipe, cases, tmp_path / "work", OPTIONS).run()
    stages = tuple(replace(stage, augmentation=recipe.augmentation) for stage in recipe.stages)
    moved = replace(recipe, augmentation=Augmentation(noise=0.9), stages=stages)
    assert_equal_weights(Trainer(moved, cases, tmp_path / "work", OPTIONS).run(), trained)
    with pytest.raises(RecipeError, match="another recipe"):
        Trainer(replace(moved, stages=recipe.stages), cases, tmp_path / "work", OPTIONS)


def volume_and_labels() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(1, 6, 9, 8)).astype(np.float32), rng.integers(0, 3, (6, 9, 8)).astype(np.uint8)


def placement(centre: tuple[float, float, float], **settings: Any) -> Any:
    return draw_placement(np.random.default_rng(1), centre, (2.0, 1.0, 1.0), Augmentation(**settings))


def test_a_patch_without_augmentation_is_a_plain_crop() -> None:
    image, labels = volume_and_labels()
    patch, target = cut_patch(image, labels, placement((2.5, 4.0, 3.5)), (4, 5, 6), ())
    np.testing.assert_allclose(patch.numpy(), image[:, 1:5, 2:7, 1:7], atol=1e-5)
    np.testing.assert_array_equal(target.numpy(), labels[1:5, 2:7, 1:7])


def test_outside_the_volume_the_edge_is_repeated_and_the_labels_are_ignored() -> None:
    image, labels = volume_and_labels()
    patch, target = cut_patch(image, labels, placement((2.5, 4.0, 3.5)), (10, 9, 8), ())
    assert (target[:2] == IGNORE_LABEL).all()
    assert (target[8:] == IGNORE_LABEL).all()
    np.testing.assert_array_equal(target[2:8].numpy(), labels)
    np.testing.assert_allclose(patch[0, 0].numpy(), image[0, 0], atol=1e-5)


def test_mirroring_left_and_right_swaps_the_paired_labels() -> None:
    image, labels = volume_and_labels()
    mirrored = placement((2.5, 4.0, 3.5), mirror=(0.0, 0.0, 1.0))
    patch, target = cut_patch(image, labels, mirrored, (6, 9, 8), ((1, 2),))
    np.testing.assert_allclose(patch.numpy(), image[..., ::-1], atol=1e-5)
    np.testing.assert_array_equal(target.numpy(), np.array([0, 2, 1], np.uint8)[labels[..., ::-1]])


def test_a_quarter_turn_about_the_slice_axis_turns_rows_into_columns() -> None:
    image, labels = volume_and_labels()
    turned = placement((2.5, 4.0, 4.0))
    quarter = replace(turned, matrix=np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]]))
    patch, target = cut_patch(image, labels, quarter, (6, 7, 7), ())
    np.testing.assert_allclose(patch[0].numpy(), np.rot90(image[0, :, 1:8, 1:8], 1, (2, 1)), atol=1e-5)
    np.testing.assert_array_equal(target.numpy(), np.rot90(labels[:, 1:8, 1:8], 1, (2, 1)))


def test_rotation_keeps_distances_in_mm_on_anisotropic_voxels() -> None:
    spacing = np.array([4.0, 1.0, 0.5])
    turned = draw_placement(np.random.default_rng(5), (0, 0, 0), spacing, Augmentation(rotation=(30.0, 30.0, 30.0)))
    offsets = np.random.default_rng(6).normal(size=(20, 3))
    before = np.linalg.norm(offsets * spacing, axis=1)
    after = np.linalg.norm((offsets @ turned.matrix.T) * spacing, axis=1)
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_model_may_see_other_intensities_than_its_training_did(recipe_path: Path, data: Path, tmp_path: Path) -> None:
    other = 'seed = 3\ntest_time_intensity = { rule = "zscore", lower = 0.5, upper = 95.0 }'
    recipe_path.write_text(RECIPE.replace("seed = 3", other), encoding="utf-8")
    recipe = read_recipe(recipe_path)
    assert recipe.intensity.upper == 99.5
    assert card_of(recipe).intensity == Intensity("zscore", 0.5, 95.0)
    assert recipe.up_to(1) == replace(recipe, test_time_intensity=None).up_to(1)


@pytest.mark.parametrize("mirror", ["mirror = [0.5, 0.5, 0.0]", "mirror = [0.0, 0.0, 0.5]\nmirror_swaps = [[1, 2]]"])
def test_mirroring_at_test_time_needs_a_training_that_mirrors(tmp_path: Path, mirror: str) -> None:
    path = tmp_path / "recipe.toml"
    text = RECIPE.replace("mirror = [0.0, 0.0, 0.5]", mirror).replace(
        "seed = 3", "seed = 3\ntest_time_mirroring = true"
    )
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="needs a training that mirrors left and right"):
        read_recipe(path)
    path.write_text(text.replace(mirror, "mirror = [0.0, 0.0, 0.5]"), encoding="utf-8")
    assert read_recipe(path).test_time_mirroring


def test_a_shift_is_in_mm_along_each_axis() -> None:
    spacing = (2.0, 1.0, 0.5)
    settings = Augmentation(shift=(6.0, 0.0, 10.0))
    rng = np.random.default_rng(0)
    shifts = np.array([draw_placement(rng, (5, 6, 7), spacing, settings).centre - (5, 6, 7) for _ in range(500)])
    assert not shifts[:, 1].any()
    np.testing.assert_allclose(np.abs(shifts * spacing).max(axis=0), (6.0, 0.0, 10.0), atol=0.1)


def test_intensity_changes_are_finite_and_really_change_the_patch() -> None:
    settings = Augmentation(
        contrast=0.3, brightness=0.3, gamma=0.4, noise=0.2, blur=1.0, coarse=2.0, shading=0.3, probability=1.0
    )
    patch = torch.randn(1, 6, 20, 20, generator=torch.Generator().manual_seed(0))
    for seed in range(10):
        varied = vary_intensity(np.random.default_rng(seed), patch.clone(), settings)
        assert varied.shape == patch.shape
        assert torch.isfinite(varied).all()
        assert (varied - patch).abs().mean() > 0.05
    same = vary_intensity(np.random.default_rng(0), patch.clone(), Augmentation())
    torch.testing.assert_close(same, patch, rtol=0, atol=0)


def test_only_named_labels_are_filled_and_neither_fat_nor_air() -> None:
    settings = Augmentation(filling=1.0, filled=(0, 7))
    image = torch.full((1, 8, 40, 48), -0.1)
    image[:, :, :10] = -0.9
    labels = torch.zeros(8, 40, 48, dtype=torch.uint8)
    labels[:, 20:], labels[:, 30:] = 2, 7
    values = set()
    for seed in range(20):
        filled = fill_hollows(np.random.default_rng(seed), image, labels, (3.0, 2.5, 2.5), settings)
        changed = (filled != image)[0]
        assert not changed[labels == 2].any()
        assert not changed[image[0] < FAT].any()
        share = float(changed[labels == 7].float().mean() + changed[:, 10:20].float().mean()) / 2
        assert 0 < share < 1
        assert -1 <= float(filled.min())
        assert float(filled.max()) <= 1
        values.add(round(float(filled[0][changed].mean()), 3))
    assert len(values) > 15, "the brightness must vary"
    assert max(values) > 0.5 > -0.1 > min(values)


def test_a_filling_that_is_off_changes_no_other_draw() -> None:
    image, labels = torch.zeros(1, 2, 8, 8), torch.zeros(2, 8, 8, dtype=torch.uint8)
    rng = np.random.default_rng(3)
    assert fill_hollows(rng, image, labels, (1.0, 1.0, 1.0), Augmentation()) is image
    assert rng.random() == np.random.default_rng(3).random()


def test_a_recipe_keeps_its_classes_and_networks_together(recipe_path: Path) -> None:
    recipe = read_recipe(recipe_path)
    assert recipe.network.classes == 2
    assert recipe.plane_network.width == recipe.network.width
    assert recipe.labels == (0, 1, 255)
    with pytest.raises(ValueError, match="missing"):
        classes_from_dicts([{"label": 1}])

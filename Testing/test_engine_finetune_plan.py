"""What a fine-tuning plans: held-out cases, grid, network, stages, patches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AHNetSegmentLib.engine.card import Intensity, ModelCard, read_card
from AHNetSegmentLib.engine.cases import LabelledCase
from AHNetSegmentLib.engine.division import divide
from AHNetSegmentLib.engine.errors import RecipeError
from AHNetSegmentLib.engine.finetune_plan import (
    PATCH_VOXELS,
    STEPS,
    FinetuneSettings,
    Grid,
    Identity,
    augmentation,
    foreground_window,
    patch_size,
    plan_recipe,
    slice_strides,
)
from AHNetSegmentLib.engine.package import CARD_FILE, find_model
from AHNetSegmentLib.engine.recipe import Recipe, read_recipe
from AHNetSegmentLib.engine.resources import bundled_models_folder
from AHNetSegmentLib.engine.volume import Geometry
from engine_helpers import classes
from finetune_helpers import blob

HIPPOCAMPUS = Geometry((36, 52, 36), (1.0, 1.0, 1.0))
CINE = Geometry((256, 256, 9), (1.37, 1.37, 8.0))
CT = Geometry((512, 512, 120), (0.75, 0.75, 3.0))


@pytest.fixture
def base() -> ModelCard:
    return read_card(find_model("hippocampus-t1") / CARD_FILE)


def plan(scan: Geometry, base: ModelCard | None, settings: FinetuneSettings | None = None, **facts: Any) -> Recipe:
    identity = Identity("mine", "Mine", modality=facts.pop("modality", "MR"))
    return plan_recipe(identity, classes(2), scans(*[scan] * 3), base, settings or FinetuneSettings(), **facts)


def scans(*geometries: Geometry) -> list[tuple[str, Geometry]]:
    return [(f"case {number}", geometry) for number, geometry in enumerate(geometries, start=1)]


def names(cases: list[LabelledCase]) -> list[str]:
    return [case.name[-1] for case in cases]


def test_about_a_fifth_is_held_out_by_the_seed() -> None:
    cases = [blob(number) for number in range(10)]
    training, validation = divide(cases, classes(2), seed=0)
    assert (len(training), len(validation)) == (8, 2)
    assert names(divide(cases, classes(2), seed=0)[1]) == names(validation)
    assert len({tuple(names(divide(cases, classes(2), seed=seed)[1])) for seed in range(6)}) > 2
    assert len(divide(cases[:3], classes(2), seed=0)[1]) == 1
    assert not divide(cases[:2], classes(2), seed=0)[1]


def test_the_user_s_choice_counts_and_nothing_more_is_held_out() -> None:
    cases = [blob(0), blob(1, use="validation"), *(blob(number) for number in range(2, 9))]
    training, validation = divide(cases, classes(2), seed=0)
    assert names(validation) == ["1"]
    assert len(training) == 8
    chosen = [replace(case, use="training") for case in cases]
    assert not divide(chosen, classes(2), seed=0)[1]


def test_cases_of_one_patient_stay_together() -> None:
    cases = [blob(number, group=f"patient {number // 2}") for number in range(8)]
    for seed in range(6):
        training, validation = divide(cases, classes(2), seed)
        assert len(validation) == 2
        assert not {case.group for case in training} & {case.group for case in validation}


def test_a_patient_is_never_on_both_sides() -> None:
    cases = [blob(0, use="validation", group="P"), blob(1, group="P"), blob(2), blob(3)]
    training, validation = divide(cases, classes(2), seed=0)
    assert (names(training), names(validation)) == (["2", "3"], ["0", "1"])
    with pytest.raises(RecipeError, match="for training and for validation"):
        divide([*cases, blob(4, use="training", group="P")], classes(2), seed=0)


def test_cases_that_label_most_are_held_out_first() -> None:
    cases = [blob(0), blob(1, names=(1,), labelled=(1,)), blob(2), blob(3, names=(2,), labelled=(2,))]
    for seed in range(8):
        assert names(divide(cases, classes(2), seed)[1]) in (["0"], ["2"])


def test_a_class_is_never_held_out_as_a_whole() -> None:
    cases = [blob(0, labelled=(1, 2)), *(blob(number, names=(1,), labelled=(1,)) for number in range(1, 6))]
    for seed in range(12):
        training, validation = divide(cases, classes(2), seed)
        assert "0" in names(training)
        assert len(validation) == 1
    with pytest.raises(RecipeError, match="No training case labels Posterior"):
        divide([replace(cases[0], use="validation"), *cases[1:]], classes(2), 0)


def test_cases_like_the_base_s_keep_its_grid_and_network(base: ModelCard) -> None:
    recipe = plan(HIPPOCAMPUS, base)
    assert recipe.spacing == base.spacing
    assert recipe.network == replace(base.network, classes=3)
    assert recipe.intensity == base.intensity
    assert [stage.kind for stage in recipe.stages] == ["decoder", "all"]
    decoder, everything = recipe.stages
    assert decoder.steps + everything.steps == STEPS
    assert (decoder.learning_rate, everything.learning_rate) == pytest.approx((1e-3, 1e-4))
    # The whole crop fits into a patch.
    assert decoder.patch == (36, 56, 40)


def test_other_cases_choose_grid_and_slice_pooling_and_all_layers_learn_at_the_full_rate(base: ModelCard) -> None:
    recipe = plan(CINE, base)
    assert recipe.spacing == pytest.approx((8.0, 1.827, 1.827))
    assert recipe.network.slice_strides == (1, 1, 1, 2, 2)
    assert recipe.network.width == base.network.width
    assert recipe.stages[1].learning_rate == pytest.approx(1e-3)
    told = plan(CINE, base, FinetuneSettings(encoder_factor=0.2, learning_rate=5e-3))
    assert told.stages[1].learning_rate == pytest.approx(1e-3)
    fine = plan(CT, base, modality="CT", intensity=Intensity("window", -100.0, 200.0))
    assert fine.spacing == pytest.approx((3.0, 2.0, 2.0))
    assert fine.intensity.rule == "window"


@pytest.mark.parametrize("name", ["hippocampus-t1", "cardiac-cine", "abdomen-ct"])
def test_slices_are_pooled_as_in_the_bundled_recipes(name: str) -> None:
    recipe = read_recipe(bundled_models_folder() / name / "recipe.toml")
    cases = {"hippocampus-t1": HIPPOCAMPUS, "cardiac-cine": CINE, "abdomen-ct": CT}
    grid = Grid.of(cases[name], recipe.plane)
    step = [wanted or own for wanted, own in zip(recipe.spacing, grid.spacing, strict=True)]
    assert slice_strides(grid.shape, step) == recipe.network.slice_strides
    assert slice_strides((3, 256, 256), (1.0, 1.0, 1.0)) == (1, 1, 1, 1, 1)


def cut(plane: str, thickness: float, pixel: float = 1.0, tilt: float = 0.0) -> Geometry:
    """A grid of slices in a plane, turned about the axis from left to right (degrees)."""
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    spacing = [pixel] * 3
    spacing[axis] = thickness
    sine, cosine = float(np.sin(np.deg2rad(tilt))), float(np.cos(np.deg2rad(tilt)))
    size = (round(48 / spacing[0]), round(48 / spacing[1]), round(48 / spacing[2]))
    direction = (1.0, 0.0, 0.0, 0.0, cosine, -sine, 0.0, sine, cosine)
    return Geometry(size, (spacing[0], spacing[1], spacing[2]), direction=direction)


class TestPlane:
    """The base's where its grid suits the cases, else that of their slices."""

    @pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
    @pytest.mark.parametrize("known", [True, False])
    def test_slices_that_do_not_suit_the_base_s_grid_choose_it(self, plane: str, known: bool, base: ModelCard) -> None:
        recipe = plan(cut(plane, 4.0), base if known else None)
        assert recipe.plane == plane
        assert recipe.spacing == (4.0, 1.0, 1.0)

    @pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
    def test_slices_that_suit_the_base_s_grid_are_resampled_to_it(self, plane: str, base: ModelCard) -> None:
        recipe = plan(cut(plane, 1.55), base)
        assert (recipe.plane, recipe.spacing, recipe.network) == (
            "axial",
            base.spacing,
            replace(base.network, classes=3),
        )

    def test_slices_of_a_base_of_any_plane_stay_so_in_its_grid(self, base: ModelCard) -> None:
        cine = read_card(find_model("cardiac-cine") / CARD_FILE)
        assert plan(cut("coronal", 8.0, 1.37), cine).plane == "any"
        assert plan(cut("coronal", 4.0, 0.7), cine).plane == "coronal"
        assert plan(cut("coronal", 8.0, 1.37, tilt=40.0), base).plane == "any"

    def test_cases_without_slices_of_their_own_take_the_base_s(self, base: ModelCard) -> None:
        coronal = replace(base, plane="coronal")
        assert plan(cut("axial", 2.0, 2.0), coronal).plane == "coronal"
        assert plan(cut("axial", 2.0, 2.0), base).plane == plan(cut("axial", 2.0, 2.0), None).plane == "axial"

    def test_a_base_that_does_not_state_its_plane_leaves_it_to_the_cases(self, base: ModelCard) -> None:
        old = replace(base, plane="", known={"spacing": [[4.0, 4.0], [1.0, 1.0], [1.0, 1.0]]}, spacing=(4.0, 1.0, 1.0))
        recipe = plan(cut("sagittal", 4.0), old)
        assert (recipe.plane, recipe.spacing, recipe.network) == (
            "sagittal",
            old.spacing,
            replace(old.network, classes=3),
        )

    def test_the_user_s_choice_counts_and_changes_the_grid(self, base: ModelCard) -> None:
        recipe = plan(cut("coronal", 4.0), base, FinetuneSettings(plane="sagittal"))
        assert (recipe.plane, recipe.spacing) == ("sagittal", (1.0, 1.0, 4.0))
        with pytest.raises(ValueError, match="known are axial, coronal"):
            FinetuneSettings(plane="frontal")

    def test_slices_in_two_planes_are_refused_unless_the_base_serves_both(self, base: ModelCard) -> None:
        identity = Identity("mine", "Mine")
        mixed = scans(cut("axial", 4.0), cut("coronal", 4.0))
        with pytest.raises(RecipeError, match="case 1 has axial slices, case 2 has coronal ones"):
            plan_recipe(identity, classes(2), mixed, base, FinetuneSettings())
        suited = scans(cut("axial", 1.5), cut("coronal", 1.5))
        assert plan_recipe(identity, classes(2), suited, base, FinetuneSettings()).plane == "axial"


def test_a_training_from_scratch_begins_with_slices(base: ModelCard) -> None:
    recipe = plan(CINE, None, FinetuneSettings(steps=600))
    assert [stage.kind for stage in recipe.stages] == ["slices", "decoder", "all"]
    assert sum(stage.steps for stage in recipe.stages) == 600
    assert recipe.stages[0].learning_rate == 5e-4
    assert recipe.stages[2].learning_rate == pytest.approx(1e-3)
    assert recipe.network.width == 0.5
    imagenet = plan(CINE, None, FinetuneSettings(width=1.0), pretrained=True)
    assert imagenet.stages[2].learning_rate == pytest.approx(1e-4)


def test_without_validation_nothing_is_chosen_by_it(base: ModelCard) -> None:
    assert plan(CINE, base, validated=False).validate_every == plan(CINE, base, validated=False).patience == 0
    assert plan(CINE, base).validate_every == 50
    assert plan(CINE, base).patience == 6


@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((9, 192, 192), (8, 192, 192)),
        ((120, 192, 192), (8, 192, 192)),
        ((36, 52, 36), (36, 56, 40)),
        ((100, 64, 128), (37, 64, 128)),
        ((5, 160, 160), (5, 160, 160)),
        ((40, 400, 200), (8, 280, 144)),
    ],
)
def test_patches_hold_whole_planes_and_have_a_size_that_a_laptop_trains(
    shape: tuple[int, int, int], patch: tuple[int, int, int]
) -> None:
    assert patch_size(shape) == patch
    assert np.prod(patch) <= 1.2 * PATCH_VOXELS


def test_thick_slices_are_turned_in_plane_only_and_left_stays_left() -> None:
    thick, thin, ct = augmentation((8.0, 1.4, 1.4), "MR"), augmentation((1.0,) * 3, "MR"), augmentation((3, 1, 1), "CT")
    assert thick.rotation[1:] == (0.0, 0.0)
    assert thin.rotation[1] > 0
    assert thick.mirror == thin.mirror == (0.0, 0.0, 0.0)
    assert ct.shading == 0.0
    assert thin.shading > 0


def test_a_window_is_taken_from_what_is_labelled() -> None:
    found = foreground_window([np.linspace(0, 100, 1001), np.full(3, 50.0)])
    assert found.rule == "window"
    assert (found.lower, found.upper) == pytest.approx((-99.5, 199.5), abs=1)


def test_a_grid_is_what_the_network_sees() -> None:
    # Sagittal slices: i is the slice axis.
    geometry = Geometry((5, 20, 30), (4.0, 1.0, 1.2), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert Grid.of(geometry, "any") == Grid.of(geometry, "sagittal") == Grid((5, 30, 20), (4.0, 1.2, 1.0))
    assert Grid.of(geometry, "axial") == Grid((30, 20, 5), (1.2, 1.0, 4.0))


@pytest.mark.parametrize(
    "change", [{"steps": -1}, {"batch": 0}, {"learning_rate": 0}, {"patch": (1, -1, 1)}, {"patience": -1}]
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        FinetuneSettings(**change)
    with pytest.raises(ValueError, match="'colour' is unknown"):
        FinetuneSettings.from_dict({"colour": 1})
    assert FinetuneSettings.from_dict({"patch": [4, 8, 8]}).patch == (4, 8, 8)
    assert Path(find_model("hippocampus-t1")).is_dir()

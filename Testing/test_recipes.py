"""Recipes of models that are not bundled yet: their classes, sides, colours and terms."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from AHNetSegmentLib.engine.build import cases_of
from AHNetSegmentLib.engine.cases import split_cases
from AHNetSegmentLib.engine.dataset import prepare_case
from AHNetSegmentLib.engine.package import find_model
from AHNetSegmentLib.engine.recipe import Recipe, read_recipe
from test_models import slicer_terms

FOLDER = Path(__file__).resolve().parent / "recipes"
DATA = {"abdomen": "abdomen-ct", "brain": "brain-labels"}
SMALLEST_DIFFERENCE = 12.0
"""In CIELAB (CIE 1976): five times what an eye can just tell apart."""


@pytest.fixture(params=sorted(DATA))
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return read_recipe(FOLDER / f"{request.param}.toml")


def lab(color: tuple[int, int, int]) -> np.ndarray:
    """An sRGB colour (0 to 255) in CIELAB, white point D65 (IEC 61966-2-1, CIE 15)."""
    values = np.array(color) / 255
    linear = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = (
        value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116
        for value in np.array(matrix) @ linear / (0.9505, 1.0, 1.089)
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_every_recipe_is_looked_at() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == sorted(DATA)


def test_classes_have_terms_and_colours_of_slicers_terminology(recipe: Recipe) -> None:
    terms = slicer_terms()
    for item in recipe.classes:
        term = item.terminology
        color = terms[(term.category.value, term.type.value, term.modifier.value if term.modifier else None)]
        assert color is None or tuple(color) == item.color, item.name
        for side, code in (("Left ", "7771000"), ("Right ", "24028007")):
            if term.modifier is not None and item.name.startswith(side):
                assert term.modifier.value == code


def test_structures_are_told_apart_by_their_colours() -> None:
    # Slicer's terminology has one colour for both sides, and one for the ventricles.
    classes = read_recipe(FOLDER / "brain.toml").classes
    for one, other in combinations(classes, 2):
        same = one.name.removeprefix("Left ") == other.name.removeprefix("Right ")
        if not same and not ("ventricle" in one.name and "ventricle" in other.name):
            assert np.linalg.norm(lab(one.color) - lab(other.color)) > SMALLEST_DIFFERENCE, (one.name, other.name)


def test_sides_trade_places_where_a_recipe_mirrors_them(recipe: Recipe) -> None:
    names = {item.label: item.name for item in recipe.classes}
    swaps = dict(recipe.augmentation.mirror_swaps)
    sides = [label for label, name in names.items() if name.startswith(("Left", "Right"))]
    if recipe.augmentation.mirror[2]:
        assert sorted([*swaps, *swaps.values()]) == sides
        for left, right in swaps.items():
            assert names[left].removeprefix("Left ") == names[right].removeprefix("Right ")


def test_left_values_are_in_left_classes() -> None:
    recipe = read_recipe(FOLDER / "brain.toml")
    generation = recipe.generation
    assert generation is not None
    assert len(recipe.classes) == 29
    # FreeSurfer numbers the left side of the brain below 40, the right one from 41 on; 136 and 137 are left,
    # 163 and 164 right. https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/AnatomicalROI/FreeSurferColorLUT
    for item, values in zip(recipe.classes, generation.merged, strict=True):
        for value in values:
            is_left = value < 40 or value in (136, 137)
            if item.name.startswith(("Left", "Right")):
                assert item.name.startswith("Left") == is_left, (item.name, value)


def test_data_and_base_of_a_recipe_are_there(recipe: Recipe, shared_data: Path) -> None:
    cases = cases_of(recipe, shared_data / DATA[recipe.name])
    training, held_out = split_cases(cases, recipe.validation)
    assert (len(training), len(held_out)) == {"abdomen": (14, 4), "brain": (16, 4)}[recipe.name]
    assert find_model(recipe.base).is_dir()


def test_left_structures_lie_on_the_left(shared_data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(FOLDER / "brain.toml")
    assert recipe.generation is not None
    (case, *_) = cases_of(recipe, shared_data / DATA["brain"])
    prepared = prepare_case(case, recipe, tmp_path)
    assert len(prepared.centres) == 29
    # Columns run towards the left: see network_orientation.
    for left, right in recipe.augmentation.mirror_swaps:
        columns = [float(prepared.centres[label - 1][:, 2].mean()) for label in (left, right)]
        assert columns[0] > columns[1] + 5
    heights = {name: prepared.centres[n - 1][:, 0].mean() for n, name in ((7, "cerebellum"), (11, "thalamus"))}
    assert heights["cerebellum"] < heights["thalamus"], "slices run upwards"

"""What is said of the bundled models is what their cards hold, and they are as small as the index wants them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from AHNetSegmentLib.engine.build import RECIPE_FILE, card_of
from AHNetSegmentLib.engine.card import read_card
from AHNetSegmentLib.engine.package import CARD_FILE, model_folders
from AHNetSegmentLib.engine.recipe import read_recipe
from model_tables import table

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
FOLDERS = model_folders()


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_all_models_together_are_small() -> None:
    files = [path for folder in FOLDERS for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 24e6


def test_the_readme_has_the_figures_of_the_card(folder: Path) -> None:
    card = read_card(folder / CARD_FILE)
    assert table(card) in README
    assert f"| `{card.name}` |" in README
    assert f"| {card.figures['mean_dice']:.3f}" in README


def test_the_readme_shows_what_a_model_finds_and_where_it_fails(folder: Path) -> None:
    for what in ("slices", "3d", "worst-found", "worst-labels"):
        picture = f"Resources/Screenshots/{folder.name}-{what}.png"
        assert f"]({picture})" in README
        assert (REPOSITORY / picture).is_file()


def test_the_card_says_what_its_recipe_says(folder: Path) -> None:
    card, words = read_card(folder / CARD_FILE), card_of(read_recipe(folder / RECIPE_FILE))
    told = ("title", "version", "modality", "anatomy", "description", "known_failures", "data_licence")
    used = ("plane", "spacing", "intensity", "network", "one_piece", "test_time_mirroring", "test_time_scales")
    for name in (*told, "classes", *used):
        assert getattr(card, name) == getattr(words, name), name


def test_storage_in_8_bits_costs_next_to_nothing(folder: Path) -> None:
    figures = read_card(folder / CARD_FILE).figures
    assert abs(figures["mean_dice_after_storage"] - figures["mean_dice_before_storage"]) < 0.002


def test_the_card_has_what_a_person_asks(folder: Path) -> None:
    card = read_card(folder / CARD_FILE)
    assert card.known_failures
    assert card.known
    assert card.figures["seconds_per_volume"] > 0
    assert card.training["validation_cases"]
    for figures in card.figures["classes"]:
        assert figures["dice"]["worst_case"] in card.training["validation_cases"]


def slicer_terms() -> dict[tuple[str, str, str | None], Any]:
    """Colours (or None) by category, type and modifier, of the terminology that Slicer comes with."""
    found = importlib.util.find_spec("trame_slicer")
    if found is None or found.origin is None:
        pytest.skip("needs trame-slicer")
    path = Path(found.origin).parent / "resources/terminologies/SegmentationCategoryTypeModifier-DICOM-Master.term.json"
    terms: dict[tuple[str, str, str | None], Any] = {}
    for category in json.loads(path.read_text(encoding="utf-8"))["SegmentationCodes"]["Category"]:
        for item in category["Type"]:
            for kind in (item, *item.get("Modifier", ())):
                modifier = None if kind is item else kind["CodeValue"]
                key = (category["CodeValue"], item["CodeValue"], modifier)
                terms[key] = kind.get("recommendedDisplayRGBValue")
    return terms


def test_classes_have_terms_and_colours_of_slicers_terminology(folder: Path) -> None:
    terms = slicer_terms()
    for item in read_card(folder / CARD_FILE).classes:
        term = item.terminology
        color = terms[(term.category.value, term.type.value, term.modifier.value if term.modifier else None)]
        assert color is None or tuple(color) == item.color, item.name

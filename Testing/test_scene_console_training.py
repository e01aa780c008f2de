"""The logic's finetune and evaluate, on nodes and on tables of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import driver

driver.require()

from AHNetSegmentLib.engine.errors import AHNetSegmentError
from AHNetSegmentLib.engine.image_io import write_labels, write_volume
from finetune_helpers import NETWORK, SHAPE, base_model, blob

SHORT: dict[str, Any] = {"steps": 4, "patch": (6, 24, 24), "validate_every": 2, "device": "cpu", "precision": "float32"}


@pytest.fixture
def logic(module: Any, scene: Any, tmp_path: Path) -> Iterator[Any]:
    """The module's logic with a library of its own that holds the tiny base."""
    from AHNetSegmentLib.scene.library import library_folder, set_library_folder

    before = library_folder()
    set_library_folder(tmp_path / "library")
    base_model(tmp_path / "library", network=NETWORK)
    yield module.AHNetSegmentLogic()
    set_library_folder(before)


def pair(number: int, names: dict[int, str]) -> tuple[Any, Any]:
    """A volume node and a segmentation node of a blob; names of its labels."""
    from AHNetSegmentLib.engine.card import ClassCard
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node
    from engine_helpers import classes
    from scene_helpers import volume_node

    case = blob(number)
    node = volume_node(case.image.array, name=f"Scan {number}")
    segmentation = new_segmentation_node(node, f"Labels {number}")
    term = classes(1)[0].terminology
    cards = [ClassCard(label, name, (10, 20 * label, 30), term) for label, name in names.items()]
    add_segments(segmentation, case.labels, node, cards, closed_surface=False)
    return node, segmentation


def test_nodes_become_a_model_that_segments_and_is_evaluated(logic: Any, tmp_path: Path) -> None:
    pairs = [pair(number, {1: "anterior", 2: "Tip"}) for number in range(3)]
    calls: list[tuple[int, int]] = []
    name = logic.finetune(
        pairs, base="tiny", name="My blobs", progress=lambda *place: calls.append(place) or True, **SHORT
    )
    assert name == "my-blobs"
    assert name in logic.models()
    card = logic.shelf.cards()[name]
    # The base's spelling, colour and code for the class that it knows.
    assert [item.name for item in card.classes] == ["Anterior", "Tip"]
    assert card.classes[1].color == (10, 40, 30)
    assert (card.training["training_cases"], card.training["validation_cases"]) == (2, 1)
    assert calls
    segmentation = logic.segment(pairs[0][0], model=name)
    assert list(segmentation.GetSegmentation().GetSegmentIDs())
    found = logic.evaluate(pairs[:1], model=name, report=tmp_path / "dice.html")
    assert "Anterior" in (tmp_path / "dice.html").read_text(encoding="utf-8")
    assert [item.name for item in found.classes] == ["Anterior", "Tip"]
    assert found.cases[0].classes[0].reference_ml == pytest.approx(np.sum(blob(0).labels == 1) * 0.7 * 1.1 * 3 / 1000)


def test_segments_are_merged_and_left_out(logic: Any) -> None:
    pairs = [pair(number, {1: "Left", 2: "Right"}) for number in range(2)]
    name = logic.finetune(pairs, "tiny", "Both", classes={"left": "Both", "RIGHT": "Both"}, **SHORT)
    assert [item.name for item in logic.shelf.cards()[name].classes] == ["Both"]
    name = logic.finetune(pairs, "tiny", "One", classes={"left": "Left"}, **SHORT)
    assert [item.name for item in logic.shelf.cards()[name].classes] == ["Left"]
    found = logic.evaluate(pairs, model=name, classes={"right": "Left"})
    expected = np.sum(blob(0).labels == 2) * 0.7 * 1.1 * 3 / 1000
    assert found.cases[0].classes[0].reference_ml == pytest.approx(expected)


def test_a_table_of_files_trains_too_and_a_stopped_training_goes_on(logic: Any, tmp_path: Path) -> None:
    lines = ["image,labels"]
    for number in range(3):
        case = blob(number)
        write_volume(tmp_path / f"{number}.nii.gz", case.image)
        write_labels(tmp_path / f"{number}-labels.nii.gz", case.labels, case.image.geometry)
        lines.append(f"{number}.nii.gz,{number}-labels.nii.gz")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    choice = {"classes": {1: "Body", 2: "Tip"}, **SHORT}
    whole = logic.finetune(tmp_path / "cases.csv", None, "Whole", width=0.125, **choice)
    stops = iter([True] * 3)
    with pytest.raises(AHNetSegmentError, match="stopped"):
        logic.finetune(
            tmp_path / "cases.csv", None, "Again", width=0.125, progress=lambda *_: next(stops, False), **choice
        )
    assert "again" not in logic.models()
    again = logic.finetune(tmp_path / "cases.csv", None, "Again", width=0.125, **choice)
    one, other = (logic._model(name).network.state_dict() for name in (whole, again))
    assert all((one[key] == other[key]).all() for key in one)
    assert not list((tmp_path / "library" / ".console-training").iterdir())
    assert logic.evaluate(tmp_path / "cases.csv", model=again).cases[2].name == "2"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"classes": {"nothing": "Nothing"}}, "has a segment nothing"),
        ({"base": "no-such-model"}, "no model no-such-model"),
        ({"patch": (0, 1)}, "three sizes"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(logic: Any, change: dict[str, Any], sentence: str) -> None:
    facts = {"base": "tiny", "name": "Mine", **SHORT, **change}
    before = logic.models()
    with pytest.raises(AHNetSegmentError, match=sentence):
        logic.finetune([pair(0, {1: "Left"})], **facts)
    assert logic.models() == before
    with pytest.raises(TypeError, match="colour"):
        logic.finetune([pair(0, {1: "Left"})], "tiny", "Mine", colour=1)


def test_evaluation_asks_for_classes_that_the_model_has(logic: Any) -> None:
    with pytest.raises(AHNetSegmentError, match="has no class Liver"):
        logic.evaluate([pair(0, {1: "Left"})], model="tiny", classes={"left": "Liver"})
    with pytest.raises(AHNetSegmentError, match="none of the segments"):
        logic.evaluate([pair(0, {1: "Left"})], model="tiny")
    assert SHAPE == blob(0).labels.shape

"""Pieces of a structure are kept by mass and place; none is dropped that is not small beside the best, none unsaid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from AHNetSegmentLib.engine.card import ModelCard
from AHNetSegmentLib.engine.inference import InferenceSettings, segment
from AHNetSegmentLib.engine.orientation import Orientation, network_orientation
from AHNetSegmentLib.engine.pieces import Certainty, keep_best_pieces, measure_places, words
from AHNetSegmentLib.engine.report import segmentation_report
from AHNetSegmentLib.engine.volume import Geometry, Volume
from engine_helpers import brightness_model, card, classes

SPLEEN, *REST = classes(4)
GRID = Geometry((60, 40, 30), (2.0, 2.0, 3.0), (-40.0, 10.0, 500.0))


def organs() -> np.ndarray:
    """Three organs that were found well, labels 2 to 4."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[10:20, 10:20, 5:15] = 2
    labels[5:10, 25:30, 25:35] = 3
    labels[20:25, 5:15, 40:50] = 4
    return labels


def case(*shift: int) -> np.ndarray:
    """The organs and, with label 1, an organ at the right edge, all of it shifted along (k, j, i)."""
    labels = organs()
    labels[15:20, 28:36, 48:56] = 1
    return np.roll(labels, shift or (0, 0, 0), (0, 1, 2))


@pytest.fixture
def places() -> dict[str, list[float]]:
    found = measure_places([(case(), GRID), (case(1, 2, -2), GRID), (case(-2, 1, 1), GRID)], classes(4))
    assert sorted(found) == ["1", "2", "3", "4"]
    return found


def certainty(values: np.ndarray) -> Certainty:
    whole = tuple(slice(0, length) for length in GRID.shape)
    return Certainty(values, network_orientation(GRID, "axial"), whole)


def test_a_false_piece_in_another_place_does_not_cost_the_true_one(places: dict[str, list[float]]) -> None:
    labels = case()
    true = labels == 1
    labels[2:12, 2:10, 45:58] = 1
    false = (labels == 1) & ~true
    assert false.sum() > 3 * true.sum()
    (told,) = keep_best_pieces(labels, GRID, [SPLEEN], places, None, classes(4)).values()
    assert (labels[true] == 1).all()
    assert [piece.kept for piece in told] == [True, True]
    assert told[0].ml == pytest.approx(true.sum() * 12e-3)
    assert told[0].away_mm is not None
    assert told[0].away_mm < 10


def test_what_the_network_is_sure_of_outweighs_what_is_large() -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[:10, 4:12, 4:12] = 1
    labels[20:30, 4:12, 4:18] = 1
    sure = np.full((15, 20, 30), 30, np.uint8)
    sure[:7] = 250
    (told,) = keep_best_pieces(labels, GRID, [SPLEEN], {}, certainty(sure), classes(4)).values()
    assert [round(piece.probability, 2) for piece in told] == [0.98, 0.12]
    assert [piece.kept for piece in told] == [True, True]
    sure[8:] = 20
    (told,) = keep_best_pieces(labels, GRID, [SPLEEN], {}, certainty(sure), classes(4)).values()
    assert [piece.kept for piece in told] == [True, False]
    assert (labels[:10] == 1).any()
    assert not labels[20:].any()


def test_what_is_small_beside_the_best_is_dropped_and_said() -> None:
    labels = case()
    labels[0, 0, 0], labels[29, 39, 0] = 1, 1
    labels[0, 10, 10] = 2
    found = keep_best_pieces(labels, GRID, [SPLEEN], {}, None, classes(4))
    np.testing.assert_array_equal(labels == 1, case() == 1)
    assert labels[0, 10, 10] == 2, "other structures are left alone"
    assert words(SPLEEN, found[1]) == (
        "Anterior: 1 of 3 pieces kept (3.84 mL, mean probability 1.00; 2 dropped, together 0.024 mL)."
    )


def test_a_structure_in_one_piece_or_none_has_nothing_to_tell(places: dict[str, list[float]]) -> None:
    labels = case()
    assert keep_best_pieces(labels, GRID, classes(4), places, None, classes(4)) == {}
    np.testing.assert_array_equal(labels, case())
    nothing = np.zeros(GRID.shape, np.uint8)
    assert keep_best_pieces(nothing, GRID, classes(4), places, None, classes(4)) == {}


def test_places_are_those_of_structures_that_were_found_wherever_the_patient_lies(
    places: dict[str, list[float]],
) -> None:
    for geometry in (GRID, replace(GRID, origin=(900.0, -300.0, 40.0))):
        labels = case(0, 2, -1)
        labels[25:28, 2:4, 2:4] = 1
        (told,) = keep_best_pieces(labels, geometry, [SPLEEN], places, None, classes(4)).values()
        assert told[0].away_mm == pytest.approx(0, abs=6)
        assert told[1].away_mm is not None
        assert told[1].away_mm > 60
    few = np.where(labels > 2, 0, labels).astype(np.uint8)
    few[28:, 30:, 30:] = 1
    (told,) = keep_best_pieces(few, GRID, [SPLEEN], places, None, classes(4)).values()
    assert {piece.away_mm for piece in told} == {None}, "two structures do not say where a third one is"


def test_sums_of_probabilities_follow_the_network_s_order_of_axes() -> None:
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (6, 8, 10)).astype(np.uint8)
    pieces = rng.integers(0, 4, (6, 8, 10))
    turned = Orientation((2, 0, 1), (True, False, True))
    inner = (slice(2, 9), slice(0, 6), slice(1, 7))
    found = Certainty(turned.apply(fine)[inner], turned, inner).sums(pieces, 3)
    shown = turned.undo(turned.apply(np.zeros_like(fine)))
    assert not shown.any()
    part = turned.apply(pieces)[inner]
    expected = [turned.apply(fine)[inner][part == number].sum() / 255 for number in range(4)]
    np.testing.assert_allclose(found[1:], expected[1:])


def test_places_need_several_structures_in_every_map() -> None:
    assert measure_places([(case(), GRID)], classes(2)) == {}
    assert measure_places([], classes(4)) == {}
    lonely = np.where(case() == 1, 1, 0).astype(np.uint8)
    assert measure_places([(case(), GRID), (lonely, GRID)], classes(4)) == {}


def test_a_run_reports_what_was_kept_and_the_whole_pipeline_weighs_it() -> None:
    array = np.zeros((12, 40, 44), np.float32)
    array[2:9, 5:15, 5:15] = 60
    array[3:8, 25:33, 25:35] = 60
    array[10, 38, 40] = 60
    volume = Volume(array, Geometry((44, 40, 12), (1.0, 1.0, 2.0)))
    settings = InferenceSettings(device="cpu", precision="float32")
    found = segment(volume, brightness_model(one_piece=(1,)), settings)
    assert (found.labels == 1).sum() == 7 * 10 * 10 + 5 * 8 * 10
    (sentence,) = found.pieces
    assert sentence.startswith("Anterior: 2 of 3 pieces kept (1.4 mL, mean probability 1.00; 0.8 mL")
    (run,) = segmentation_report(found, card(one_piece=(1,)), "volume")["runs"]
    assert run["pieces"] == [sentence]
    largest = segment(volume, brightness_model(one_piece=(1,)), replace(settings, keep_largest=True))
    assert (largest.labels == 1).sum() == 700
    assert segment(volume, brightness_model(one_piece=(1,)), replace(settings, keep_largest=False)).pieces == []


@pytest.mark.parametrize("places", [[], {"1": [1, 2, 3]}, {"1": [1, 2, 3, -1]}, {"1": [1, 2, "x", 1]}])
def test_places_in_a_card_are_checked(places: Any) -> None:
    with pytest.raises(ValueError, match="'places' in 'known' must hold four numbers each"):
        ModelCard(**{**vars(card()), "known": {"places": places}})

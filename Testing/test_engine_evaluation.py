"""Dice, surface distances and volumes of predicted label maps; their summaries, table and CSV."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AHNetSegmentLib.engine.card import ClassCard, Code, Terminology
from AHNetSegmentLib.engine.errors import OutputError, VolumeError
from AHNetSegmentLib.engine.evaluation import (
    CaseMeasures,
    ClassMeasures,
    Evaluation,
    LabelPair,
    evaluate_case,
    evaluate_cases,
)
from AHNetSegmentLib.engine.surface import surface_distances, surface_voxels
from AHNetSegmentLib.engine.volume import Geometry

Array = np.ndarray[Any, np.dtype[Any]]

TERM = Code("SCT", "91723000", "Anatomical Structure")
LIVER, SPLEEN = (
    ClassCard(label, name, (200, 100, 50), Terminology(TERM, TERM)) for label, name in ((1, "liver"), (2, "spleen"))
)
ANISOTROPIC = (0.8, 1.5, 4.0)


def grid_of(array: Array, spacing: tuple[float, float, float] = ANISOTROPIC) -> Geometry:
    k, j, i = array.shape
    return Geometry((i, j, k), spacing)


def labels(shape: tuple[int, int, int] = (6, 8, 10), **boxes: tuple[slice, slice, slice]) -> Array:
    """A label map with the boxes ``liver``, ``spleen`` and ``ignored``."""
    array = np.zeros(shape, np.uint8)
    for name, box in boxes.items():
        array[box] = {"liver": 1, "spleen": 2, "ignored": 255}[name]
    return array


def box(k: tuple[int, int], j: tuple[int, int], i: tuple[int, int]) -> tuple[slice, slice, slice]:
    return (slice(*k), slice(*j), slice(*i))


def liver_of(
    predicted: Array, reference: Array, spacing: tuple[float, float, float] = ANISOTROPIC, **options: Any
) -> ClassMeasures:
    return evaluate_case(predicted, reference, grid_of(reference, spacing), (LIVER,), **options).classes[0]


def surface_points(mask: Array, spacing: tuple[float, float, float]) -> Array:
    """Voxels with a 6-neighbour outside, one by one; mm (k, j, i)."""
    points = []
    for place in np.argwhere(mask):
        for axis in range(3):
            for step in (-1, 1):
                neighbour = place.copy()
                neighbour[axis] += step
                if neighbour.min() < 0 or (neighbour >= mask.shape).any() or not mask[tuple(neighbour)]:
                    points.append(tuple(place * np.array(spacing[::-1])))
    return np.array(sorted(set(points)))


def distances_of_all_pairs(first: Array, second: Array, spacing: tuple[float, float, float]) -> tuple[Array, Array]:
    one, other = surface_points(first, spacing), surface_points(second, spacing)
    pairs = np.linalg.norm(one[:, None] - other[None], axis=-1)
    return pairs.min(axis=1), pairs.min(axis=0)


def blob(seed: int, shape: tuple[int, int, int] = (9, 14, 12)) -> Array:
    """A ragged object that touches some borders of its grid."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = sum(np.roll(noise, step, axis) for axis in range(3) for step in (-1, 0, 1))
    return np.asarray(smooth > 0.4)


class TestDice:
    def test_it_is_twice_the_overlap_over_the_sum(self) -> None:
        reference = labels(liver=box((0, 2), (0, 2), (0, 2)))
        predicted = labels(liver=box((0, 2), (0, 2), (1, 4)))
        assert liver_of(predicted, reference).dice == pytest.approx(2 * 4 / (12 + 8))

    def test_it_is_that_of_monai(self) -> None:
        torch = pytest.importorskip("torch")
        metrics = pytest.importorskip("monai.metrics")
        for seed in range(3):
            first, second = blob(seed), blob(seed + 10)
            one_case = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (first, second)]
            ours = liver_of(first.astype(np.uint8), second.astype(np.uint8), distances=False).dice
            assert ours == pytest.approx(float(metrics.compute_dice(*one_case)), abs=1e-6)

    def test_it_is_one_for_equal_and_zero_for_disjoint_objects(self) -> None:
        here, there = labels(liver=box((0, 2), (0, 2), (0, 2))), labels(liver=box((3, 5), (0, 2), (0, 2)))
        assert liver_of(here, here).dice == 1
        assert liver_of(there, here).dice == 0


class TestSurface:
    def test_it_has_the_voxels_with_a_neighbour_outside(self) -> None:
        mask = np.zeros((5, 6, 7), bool)
        mask[1:4, 1:5, 1:6] = True
        surface = surface_voxels(mask)
        assert surface.sum() == 3 * 4 * 5 - 1 * 2 * 3
        assert not surface[2, 2:4, 2:5].any()

    def test_beyond_the_grid_is_outside(self) -> None:
        assert surface_voxels(np.ones((3, 3, 3), bool)).sum() == 26

    def test_a_neighbour_across_an_edge_does_not_count(self) -> None:
        mask = np.ones((5, 5, 5), bool)
        mask[1, 1, 2] = False
        assert not surface_voxels(mask)[2, 2, 2]

    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), ANISOTROPIC, (0.5, 7.0, 2.0)])
    @pytest.mark.parametrize("seed", range(4))
    def test_distances_are_those_of_all_pairs_of_surface_voxels(
        self, seed: int, spacing: tuple[float, float, float]
    ) -> None:
        first, second = blob(seed), blob(seed + 10)
        found = surface_distances(first, second, spacing)
        for ours, brute_force in zip(found, distances_of_all_pairs(first, second, spacing), strict=True):
            np.testing.assert_allclose(np.sort(ours), np.sort(brute_force), atol=1e-4)

    def test_the_size_of_the_grid_around_the_objects_does_not_matter(self) -> None:
        first, second = np.zeros((2, 20, 30, 25), bool)
        first[4:8, 9:15, 11:16], second[6:9, 8:20, 3:12] = True, True
        far = surface_distances(first, second, ANISOTROPIC)
        near = surface_distances(first[4:9, 8:20, 3:16], second[4:9, 8:20, 3:16], ANISOTROPIC)
        np.testing.assert_array_equal(far[0], near[0])
        np.testing.assert_array_equal(far[1], near[1])


class TestDistances:
    @pytest.mark.parametrize(
        ("to", "millimetres"),
        [(box((3, 4), (2, 3), (2, 3)), 8.0), (box((1, 2), (5, 6), (2, 3)), 4.5), (box((1, 2), (2, 3), (7, 8)), 4.0)],
        ids=["slices", "rows", "columns"],
    )
    def test_two_voxels_are_as_far_apart_as_their_spacing_says(
        self, to: tuple[slice, slice, slice], millimetres: float
    ) -> None:
        found = liver_of(labels(liver=to), labels(liver=box((1, 2), (2, 3), (2, 3))))
        assert found.hausdorff95_mm == pytest.approx(millimetres, abs=1e-5)
        assert found.surface_distance_mm == pytest.approx(millimetres, abs=1e-5)

    def test_equal_objects_are_no_distance_apart(self) -> None:
        one = blob(1).astype(np.uint8)
        found = liver_of(one, one)
        assert (found.hausdorff95_mm, found.surface_distance_mm) == (0, 0)

    def test_an_object_inside_another_is_as_far_as_its_surface(self) -> None:
        outer = labels((7, 7, 7), liver=box((0, 7), (0, 7), (0, 7)))
        inner = labels((7, 7, 7), liver=box((3, 4), (3, 4), (3, 4)))
        there, back = distances_of_all_pairs(inner == 1, outer == 1, (1.0, 1.0, 1.0))
        assert there.tolist() == [3.0]
        found = liver_of(inner, outer, (1.0, 1.0, 1.0))
        assert found.hausdorff95_mm == pytest.approx(np.percentile(back, 95), abs=1e-5)
        assert found.surface_distance_mm == pytest.approx((3.0 + back.sum()) / (1 + len(back)), abs=1e-5)

    @pytest.mark.parametrize("seed", range(3))
    def test_both_measures_are_those_of_all_pairs_of_surface_voxels(self, seed: int) -> None:
        first, second = blob(seed), blob(seed + 10)
        there, back = distances_of_all_pairs(first, second, ANISOTROPIC)
        found = liver_of(first.astype(np.uint8), second.astype(np.uint8))
        assert found.hausdorff95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-4)
        assert found.surface_distance_mm == pytest.approx(np.concatenate([there, back]).mean(), abs=1e-4)

    def test_the_95th_percentile_leaves_out_one_stray_voxel_in_fifty(self) -> None:
        reference = labels((6, 60, 10), liver=box((2, 3), (0, 50), (4, 5)))
        predicted = reference.copy()
        predicted[2, 59, 4] = 1
        found = liver_of(predicted, reference)
        assert found.hausdorff95_mm == 0
        assert found.surface_distance_mm == pytest.approx(10 * 1.5 / (51 + 50))

    def test_they_are_the_same_in_both_directions(self) -> None:
        first, second = blob(0).astype(np.uint8), blob(10).astype(np.uint8)
        there, back = liver_of(first, second), liver_of(second, first)
        assert there.hausdorff95_mm == back.hausdorff95_mm
        assert there.surface_distance_mm == pytest.approx(back.surface_distance_mm)

    def test_neither_position_nor_direction_of_the_grid_matters(self) -> None:
        first, second = blob(0).astype(np.uint8), blob(10).astype(np.uint8)
        straight = grid_of(first)
        turned = replace(straight, origin=(9.0, 8.0, 7.0), direction=(0.0, -0.6, 0.8, 0.0, 0.8, 0.6, -1.0, 0.0, 0.0))
        assert evaluate_case(first, second, straight, (LIVER,)) == evaluate_case(first, second, turned, (LIVER,))

    def test_on_a_sheared_grid_they_are_not_measured_but_volumes_are(self) -> None:
        matrix = np.eye(4)
        matrix[0, 1] = 0.5
        first, second = blob(0).astype(np.uint8), blob(10).astype(np.uint8)
        sheared = Geometry.from_matrix(matrix, grid_of(first).size)
        found = evaluate_case(first, second, sheared, (LIVER,)).classes[0]
        assert math.isnan(found.hausdorff95_mm)
        assert math.isnan(found.surface_distance_mm)
        assert found.dice > 0
        assert found.reference_ml == pytest.approx(second.sum() / 1000)

    def test_they_can_be_left_out(self) -> None:
        one = blob(0).astype(np.uint8)
        found = liver_of(one, one, distances=False)
        assert math.isnan(found.hausdorff95_mm)
        assert found.dice == 1


class TestVolumes:
    def test_they_are_in_millilitres_and_their_error_also_in_percent(self) -> None:
        reference = labels(liver=box((0, 2), (0, 5), (0, 10)))
        predicted = labels(liver=box((0, 3), (0, 5), (0, 10)))
        found = liver_of(predicted, reference)
        assert found.reference_ml == pytest.approx(100 * 0.8 * 1.5 * 4 / 1000)
        assert found.predicted_ml == pytest.approx(0.72)
        assert found.volume_error_ml == pytest.approx(0.24)
        assert found.volume_error_percent == pytest.approx(50)

    def test_too_small_is_negative(self) -> None:
        reference = labels(liver=box((0, 2), (0, 5), (0, 10)))
        predicted = labels(liver=box((0, 1), (0, 5), (0, 10)))
        assert liver_of(predicted, reference).volume_error_percent == pytest.approx(-50)


class TestEmpty:
    something, nothing = labels(liver=box((1, 3), (1, 3), (1, 3))), labels()

    def test_a_class_in_neither_counts_nowhere(self) -> None:
        found = liver_of(self.nothing, self.nothing)
        undefined = (found.dice, found.hausdorff95_mm, found.surface_distance_mm, found.volume_error_percent)
        assert all(math.isnan(value) for value in undefined)
        assert (found.reference_ml, found.predicted_ml, found.volume_error_ml) == (0, 0, 0)
        assert not found.missed
        assert not found.invented

    def test_a_class_only_in_the_reference_is_missed(self) -> None:
        found = liver_of(self.nothing, self.something)
        assert found.missed
        assert not found.invented
        assert found.dice == 0
        assert found.volume_error_percent == pytest.approx(-100)
        assert math.isnan(found.hausdorff95_mm)
        assert math.isnan(found.surface_distance_mm)

    def test_a_class_only_in_the_prediction_is_invented(self) -> None:
        found = liver_of(self.something, self.nothing)
        assert found.invented
        assert not found.missed
        assert found.dice == 0
        assert found.volume_error_ml == pytest.approx(8 * 0.0048)
        assert math.isnan(found.volume_error_percent)
        assert math.isnan(found.hausdorff95_mm)

    def test_it_is_none_in_json(self) -> None:
        assert liver_of(self.nothing, self.nothing).to_dict()["dice"] is None


class TestIgnored:
    def test_ignored_voxels_are_left_out_of_everything(self) -> None:
        reference = labels(liver=box((1, 3), (1, 3), (1, 3)), ignored=box((0, 6), (0, 8), (6, 10)))
        predicted = labels(liver=box((1, 3), (1, 3), (1, 3)))
        predicted[:, :, 6:] = 1
        found = liver_of(predicted, reference)
        assert (found.dice, found.hausdorff95_mm, found.surface_distance_mm, found.volume_error_ml) == (1, 0, 0, 0)
        assert found.predicted_ml == pytest.approx(8 * 0.0048)

    def test_they_are_as_good_as_a_smaller_grid(self) -> None:
        predicted, reference = blob(0).astype(np.uint8), blob(10).astype(np.uint8)
        hidden = reference.copy()
        hidden[:, :, 7:] = 255
        small = liver_of(predicted[:, :, :7], reference[:, :, :7])
        assert liver_of(predicted, hidden) == small

    def test_a_class_that_is_predicted_only_there_is_in_neither(self) -> None:
        reference = labels(ignored=box((0, 6), (0, 8), (6, 10)))
        predicted = labels(liver=box((0, 2), (0, 2), (7, 9)))
        assert math.isnan(liver_of(predicted, reference).dice)

    def test_another_label_or_none_can_be_ignored(self) -> None:
        reference = labels(liver=box((0, 1), (0, 1), (0, 2)), ignored=box((0, 1), (0, 1), (2, 4)))
        predicted = labels(liver=box((0, 1), (0, 1), (0, 4)))
        assert liver_of(predicted, reference).dice == 1
        assert liver_of(predicted, reference, ignore_label=None).dice == pytest.approx(2 * 2 / 6)
        reference[reference == 255] = 7
        assert liver_of(predicted, reference, ignore_label=7).dice == 1


class TestCases:
    def test_each_class_is_measured_by_itself(self) -> None:
        reference = labels(liver=box((0, 2), (0, 4), (0, 4)), spleen=box((3, 5), (0, 4), (0, 4)))
        predicted = labels(liver=box((0, 2), (0, 4), (0, 4)), spleen=box((3, 4), (0, 4), (0, 4)))
        case = evaluate_case(predicted, reference, grid_of(reference), (LIVER, SPLEEN), name="case 1")
        assert case.name == "case 1"
        assert [(item.label, item.name) for item in case.classes] == [(1, "liver"), (2, "spleen")]
        assert [item.dice for item in case.classes] == [1, pytest.approx(2 / 3)]
        assert case.mean_dice == pytest.approx(5 / 6)

    def test_a_class_in_neither_does_not_count_for_the_mean(self) -> None:
        one = labels(liver=box((0, 2), (0, 4), (0, 4)))
        assert evaluate_case(one, one, grid_of(one), (LIVER, SPLEEN)).mean_dice == 1

    @pytest.mark.parametrize("which", ["predicted", "reference"])
    def test_label_maps_of_another_size_are_refused_by_name(self, which: str) -> None:
        maps = {"predicted": labels(), "reference": labels()}
        maps[which] = labels((6, 8, 9))
        with pytest.raises(VolumeError, match=r"^case 1 has .* compare label maps on one grid\.$"):
            evaluate_case(**maps, geometry=grid_of(labels()), classes=(LIVER,), name="case 1")


def measures(dice: float, hausdorff95: float = math.nan, reference_ml: float = 1.0, predicted_ml: float = 1.0) -> Any:
    return ClassMeasures(1, "liver", dice, hausdorff95, hausdorff95 / 2, reference_ml, predicted_ml)


def spleen(dice: float) -> ClassMeasures:
    return ClassMeasures(2, "spleen", dice, math.nan, math.nan, 0.0 if math.isnan(dice) else 1.0, 0.0)


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        (
            CaseMeasures("a", (measures(0.9, 2.0, 10.0, 11.0), spleen(0.5))),
            CaseMeasures("b", (measures(0.6, 6.0, 10.0, 7.0), spleen(math.nan))),
            CaseMeasures("c", (measures(0.0, math.nan, 5.0, 0.0), spleen(math.nan))),
            CaseMeasures("d", (measures(0.0, math.nan, 0.0, 0.5), spleen(math.nan))),
        )
    )


class TestSummary:
    def test_it_has_mean_median_and_deviation_of_the_sample(self, evaluation: Evaluation) -> None:
        dice = evaluation.classes[0].dice
        assert dice.count == 4
        assert dice.mean == pytest.approx(0.375)
        assert dice.median == pytest.approx(0.3)
        assert dice.standard_deviation == pytest.approx(np.std([0.9, 0.6, 0, 0], ddof=1))

    def test_cases_without_a_distance_do_not_count_for_distances(self, evaluation: Evaluation) -> None:
        liver = evaluation.classes[0]
        assert (liver.hausdorff95_mm.count, liver.hausdorff95_mm.mean) == (2, 4)
        assert liver.surface_distance_mm.mean == 2
        assert (liver.present, liver.missed, liver.invented) == (3, 1, 1)

    def test_the_worst_case_has_the_lowest_dice_or_the_largest_distance_or_error(self, evaluation: Evaluation) -> None:
        liver = evaluation.classes[0]
        assert (liver.dice.worst, liver.dice.worst_case) == (0, "c")
        assert (liver.hausdorff95_mm.worst, liver.hausdorff95_mm.worst_case) == (6, "b")
        assert (liver.volume_error_ml.worst, liver.volume_error_ml.worst_case) == (-5, "c")
        assert liver.volume_error_percent.count == 3
        assert liver.volume_error_percent.mean == pytest.approx((10 - 30 - 100) / 3)

    def test_one_case_has_no_deviation_and_none_has_nothing(self, evaluation: Evaluation) -> None:
        spleen_dice = evaluation.classes[1].dice
        assert (spleen_dice.count, spleen_dice.mean, spleen_dice.worst_case) == (1, 0.5, "a")
        assert math.isnan(spleen_dice.standard_deviation)
        nowhere = Evaluation((CaseMeasures("b", (spleen(math.nan),)),)).classes[0].dice
        assert nowhere.count == 0
        assert math.isnan(nowhere.mean)
        assert nowhere.worst_case == ""

    def test_every_class_weighs_the_same_in_the_mean_dice(self, evaluation: Evaluation) -> None:
        assert evaluation.mean_dice == pytest.approx((0.375 + 0.5) / 2)

    def test_no_case_is_no_mean(self) -> None:
        assert math.isnan(Evaluation(()).mean_dice)
        assert Evaluation(()).classes == ()

    def test_cases_may_come_one_by_one(self) -> None:
        one = labels(liver=box((0, 2), (0, 4), (0, 4)))
        pairs = (LabelPair(name, one, one, grid_of(one)) for name in "ab")
        evaluation = evaluate_cases(pairs, (LIVER,), distances=False)
        assert [case.name for case in evaluation.cases] == ["a", "b"]
        assert evaluation.mean_dice == 1
        assert evaluation.classes[0].hausdorff95_mm.count == 0


class TestWriting:
    def test_the_table_can_be_read(self, evaluation: Evaluation) -> None:
        assert evaluation.table().splitlines() == [
            "class   cases      Dice ± SD  median  worst  HD95 mm  ASD mm         volume error  worst case",
            "------  -----  -------------  ------  -----  -------  ------  -------------------  ----------",
            "liver       4  0.375 ± 0.450   0.300  0.000     4.00    2.00   -1.62 mL (-40.0 %)  c",
            "spleen      1          0.500   0.500  0.500        –       –  -0.25 mL (-100.0 %)  a",
            "",
            "Mean Dice 0.438 over 2 classes and 4 cases.",
            "liver: not found in 1 of 3 cases that have it.",
            "liver: found in 1 of 1 cases that do not have it.",
            "spleen: not found in 1 of 1 cases that have it.",
        ]

    def test_the_table_of_no_case_says_so(self) -> None:
        assert Evaluation(()).table().endswith("Mean Dice – over 0 classes and 0 cases.")

    def test_the_dictionary_is_strict_json(self, evaluation: Evaluation) -> None:
        written = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
        assert written["mean_dice"] == pytest.approx(0.4375)
        assert written["classes"][0]["dice"]["worst_case"] == "c"
        assert written["classes"][0]["missed"] == 1
        assert written["cases"][1]["classes"][1]["dice"] is None
        assert written["cases"][1]["mean_dice"] == pytest.approx(0.6)
        assert written["cases"][0]["classes"][0]["volume_error_ml"] == pytest.approx(1)

    def test_the_csv_file_has_one_row_per_case_and_class(self, evaluation: Evaluation, tmp_path: Path) -> None:
        evaluation.write_csv(tmp_path / "cases.csv")
        with (tmp_path / "cases.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["case"], row["label"], row["class"]) for row in rows[:3]] == [
            ("a", "1", "liver"),
            ("a", "2", "spleen"),
            ("b", "1", "liver"),
        ]
        assert len(rows) == 8
        assert float(rows[0]["dice"]) == 0.9
        assert float(rows[0]["volume_error_percent"]) == pytest.approx(10)
        assert rows[3]["dice"] == ""

    def test_names_with_commas_stay_whole_in_the_csv_file(self, tmp_path: Path) -> None:
        name = 'case 1, "left"'
        Evaluation((CaseMeasures(name, (measures(1.0),)),)).write_csv(tmp_path / "cases.csv")
        with (tmp_path / "cases.csv").open(encoding="utf-8", newline="") as file:
            assert next(iter(csv.DictReader(file)))["case"] == name

    def test_a_csv_file_that_cannot_be_written_is_named(self, evaluation: Evaluation, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("old")
        with pytest.raises(OutputError, match=r"cases\.csv could not be written"):
            evaluation.write_csv(tmp_path / "file" / "cases.csv")

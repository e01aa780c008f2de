"""Smoothing takes the steps out of borders: nothing moves, neighbours stay neighbours, nothing vanishes unsaid."""

from __future__ import annotations

import numpy as np
import pytest

from AHNetSegmentLib.engine import smoothing
from AHNetSegmentLib.engine.errors import ModelError
from AHNetSegmentLib.engine.inference import InferenceSettings, class_labels, segment
from AHNetSegmentLib.engine.smoothing import smooth_labels
from AHNetSegmentLib.engine.volume import Geometry, Region, Volume
from engine_helpers import OBLIQUE, all_48, brightness_model, card, expected_labels, noise_volume, random_model


def settings(**changes: object) -> InferenceSettings:
    return InferenceSettings(device="cpu", precision="float32", **changes)  # type: ignore[arg-type]


def blocks() -> np.ndarray:
    """Two blocks that share a face, one of them longer, with a rough border of class 1; (k, j, i)."""
    labels = np.zeros((16, 30, 34), np.uint8)
    labels[3:12, 5:24, 4:16] = 1
    labels[3:12, 9:20, 16:29] = 2
    rough = np.random.default_rng(1).random(labels.shape) < 0.15
    labels[:, 3:5, 4:16][rough[:, 3:5, 4:16]] = 1
    return labels


def test_straight_borders_stay_where_they_are() -> None:
    labels = np.zeros((20, 24, 28), np.uint8)
    labels[:, :11] = 1
    labels[:, 11:, :9] = 2
    smoothed, kept = smooth_labels(labels, (1.0, 1.0, 2.5), 3.0)
    away = np.ones(labels.shape, bool)
    away[:, 4:20, 2:18] = False
    np.testing.assert_array_equal(smoothed[away], labels[away])
    assert kept == ()


def test_single_voxels_and_holes_go_and_the_input_stays_as_it_was() -> None:
    labels = np.zeros((9, 20, 22), np.uint8)
    labels[2:7, 4:16, 5:18] = 1
    clean = labels.copy()
    labels[4, 9, 9] = 0
    labels[4, 12, 13] = 2
    labels[1:3, 18, 20] = 2
    labels[3:6, 1:3, 18:21] = 2
    before = labels.copy()
    smoothed, _ = smooth_labels(labels, (1.0, 1.0, 3.0), 1.0)
    np.testing.assert_array_equal(labels, before)
    assert smoothed[4, 9, 9] == 1
    assert smoothed[4, 12, 13] == 1
    inside = clean[:, 6:14, 7:16]
    np.testing.assert_array_equal(smoothed[:, 6:14, 7:16], inside)


def test_neighbours_keep_a_common_border_without_gap_or_overlap() -> None:
    smoothed, _ = smooth_labels(blocks(), (1.0, 1.0, 2.0), 2.0)
    middle = smoothed[5:10, 11:18]
    assert (middle[:, :, 6:26] > 0).all()
    np.testing.assert_array_equal(middle[:, :, 15:17], np.broadcast_to([1, 2], (5, 7, 2)))


def test_rough_borders_become_smoother_and_volumes_stay() -> None:
    place = np.stack(np.meshgrid(np.arange(24), np.arange(50), np.arange(46), indexing="ij"), axis=-1)
    distance = np.sqrt((((place - (11.0, 22.0, 24.0)) * (2.0, 1.0, 1.0)) ** 2).sum(axis=-1))
    ball = (distance < 16).astype(np.uint8)
    noise = np.random.default_rng(2).normal(0, 1.5, ball.shape)
    rough = (distance + noise < 16).astype(np.uint8)
    smoothed, _ = smooth_labels(rough, (1.0, 1.0, 2.0), 2.0)
    assert (smoothed != ball).sum() < 0.35 * (rough != ball).sum()
    assert smoothed.sum() == pytest.approx(ball.sum(), rel=0.05)
    offset = np.argwhere(smoothed).mean(axis=0) - np.argwhere(ball).mean(axis=0)
    assert np.abs(offset).max() < 0.1


def test_millimetres_count_and_not_voxels() -> None:
    """A bar two voxels wide is 2 mm in plane and 10 mm across slices: only the one in plane is thin for 2 mm."""
    labels = np.zeros((14, 40, 40), np.uint8)
    labels[2:12, 5:35, 6:8] = 1
    labels[6:8, 5:35, 16:34] = 2
    smoothed, kept = smooth_labels(labels, (1.0, 1.0, 5.0), 2.0)
    assert kept == (1,)
    assert (smoothed == 2).sum() > 0.9 * (labels == 2).sum()
    upright, kept = smooth_labels(labels.transpose(2, 1, 0), (5.0, 1.0, 1.0), 2.0)
    assert kept == (1,)
    np.testing.assert_array_equal(upright, smoothed.transpose(2, 1, 0))


def test_structures_that_are_cut_off_by_the_edge_are_not_rounded_there() -> None:
    labels = np.zeros((12, 20, 20), np.uint8)
    labels[:7, 4:, 3:15] = 1
    smoothed, _ = smooth_labels(labels, (1.0, 1.0, 1.5), 1.5)
    np.testing.assert_array_equal(smoothed[0, -1], labels[0, -1])
    np.testing.assert_array_equal(smoothed[0, :, 8], labels[0, :, 8])


def test_a_class_that_would_vanish_keeps_its_voxels() -> None:
    labels = np.zeros((10, 30, 30), np.uint8)
    labels[1:9, 4:26, 4:26] = 3
    labels[5, 14, 14:17] = 7
    labels[5, 15, 14:17] = 5
    smoothed, kept = smooth_labels(labels, (1.0, 1.0, 1.0), 3.0)
    assert kept == (5, 7)
    for label in kept:
        np.testing.assert_array_equal(smoothed == label, labels == label)
    assert (smoothed == 3).sum() > 1000


@pytest.mark.parametrize("shape", [(1, 20, 24), (3, 2, 25), (1, 1, 1), (2, 30, 1)])
def test_few_voxels_along_an_axis_are_enough(shape: tuple[int, int, int]) -> None:
    labels = np.zeros(shape, np.uint8)
    labels[:, : shape[1] // 2 + 1, : shape[2] // 2 + 1] = 1
    smoothed, _ = smooth_labels(labels, (1.0, 1.0, 4.0), 2.0)
    assert smoothed.shape == shape
    assert (smoothed != labels).mean() < 0.1


@pytest.mark.parametrize("millimetres", [0.7, 2.0, 6.0])
def test_slabs_give_what_the_whole_gives(millimetres: float, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.concatenate([blocks(), blocks()[::-1], blocks()])
    whole, _ = smooth_labels(labels, (1.0, 0.9, 2.2), millimetres)
    monkeypatch.setattr(smoothing, "SLAB_VOXELS", 1)
    slabs, _ = smooth_labels(labels, (1.0, 0.9, 2.2), millimetres)
    assert (slabs != whole).mean() < 1e-3


def test_nothing_found_is_nothing_smoothed() -> None:
    smoothed, kept = smooth_labels(np.zeros((4, 5, 6), np.uint8), (1.0, 1.0, 1.0), 5.0)
    assert not smoothed.any()
    assert kept == ()


def scene_volume() -> Volume:
    """Oblique; a block of class 1 with a tip of class 2 and a stray voxel of each."""
    array = np.zeros((10, 26, 30), np.float32)
    array[2:8, 4:20, 5:18] = 60
    array[2:6, 8:16, 18:26] = 90
    array[8, 22, 27] = 60
    array[1, 2, 2] = 90
    return Volume(array, Geometry((30, 26, 10), (1.0, 1.1, 2.4), (12.0, -5.0, 30.0), OBLIQUE), "oblique")


def test_segment_smooths_after_the_largest_piece_was_kept() -> None:
    volume = scene_volume()
    result = segment(volume, brightness_model(), settings(keep_largest=True, smoothing=1.5))
    pieces = expected_labels(volume)
    pieces[8, 22, 27] = pieces[1, 2, 2] = 0
    wanted, _ = smooth_labels(pieces, volume.geometry.spacing, 1.5)
    np.testing.assert_array_equal(result.labels, wanted)
    assert (wanted != pieces).sum() > 20
    assert result.warnings == []


def test_smoothing_stays_inside_the_region() -> None:
    volume = scene_volume()
    region = Region((8, 6, 2), (24, 18, 7))
    result = segment(volume, brightness_model(), settings(region=region, smoothing=2.0))
    wanted, _ = smooth_labels(expected_labels(volume)[region.slices], volume.geometry.spacing, 2.0)
    np.testing.assert_array_equal(result.labels[region.slices], wanted)
    result.labels[region.slices] = 0
    assert not result.labels.any()


def test_smoothing_is_the_same_in_all_48_axis_orders_and_flips() -> None:
    original = Volume(scene_volume().array, Geometry((30, 26, 10), (1.0, 1.1, 2.4)), "block")
    counts = {
        tuple(np.bincount(segment(volume, brightness_model(), settings(smoothing=1.5)).labels.ravel()).tolist())
        for volume in all_48(original)[::5]
    }
    assert len(counts) == 1


def test_what_is_too_small_to_be_smoothed_is_said() -> None:
    volume = scene_volume()
    volume.array[volume.array > 80] = 60
    volume.array[4, 10, 10] = 90
    result = segment(volume, brightness_model(), settings(smoothing=3.0))
    assert result.warnings == ["Too small to be smoothed by 3 mm and left as found: Posterior."]
    assert (result.labels == 2).sum() == 1


@pytest.mark.parametrize("millimetres", [-0.1, 20.5, float("nan"), float("inf")])
def test_a_smoothing_that_is_not_offered_is_refused(millimetres: float) -> None:
    with pytest.raises(ModelError, match="cannot be smoothed by .* mm; choose 0 to 20 mm"):
        segment(noise_volume((5, 6, 7)), brightness_model(), settings(smoothing=millimetres))


def test_only_the_wanted_classes_are_kept() -> None:
    volume = scene_volume()
    result = segment(volume, brightness_model(), settings(classes=(2,)))
    np.testing.assert_array_equal(result.labels, 2 * (expected_labels(volume) == 2))
    assert [item.label for item in result.classes] == [2]
    everything = segment(volume, brightness_model(), settings(classes=(2, 1)))
    np.testing.assert_array_equal(everything.labels, expected_labels(volume))
    assert [item.label for item in everything.classes] == [1, 2]


def test_classes_go_before_the_rest_is_smoothed() -> None:
    volume = scene_volume()
    result = segment(volume, brightness_model(), settings(classes=(2,), keep_largest=True, smoothing=1.5))
    only = 2 * (expected_labels(volume) == 2).astype(np.uint8)
    only[1, 2, 2] = 0
    np.testing.assert_array_equal(result.labels, smooth_labels(only, volume.geometry.spacing, 1.5)[0])


def test_probabilities_are_those_of_the_kept_classes() -> None:
    volume = noise_volume((8, 21, 18), spacing=(1.0, 1.1, 2.5), direction=OBLIQUE)
    model = random_model()
    region = Region((2, 3, 1), (16, 20, 8))
    every = segment(volume, model, settings(probabilities=True, region=region))
    one = segment(volume, model, settings(probabilities=True, region=region, classes=(2,)))
    assert every.probabilities is not None
    assert one.probabilities is not None
    assert one.probabilities.any()
    np.testing.assert_array_equal(one.probabilities, every.probabilities[1:])


def test_classes_are_found_by_name_or_label() -> None:
    made = card()
    assert class_labels(made, ["posterior"]) == (2,)
    assert class_labels(made, [" ANTERIOR ", "2"]) == (1, 2)
    assert class_labels(made, [2, 2]) == (2,)


@pytest.mark.parametrize(
    ("wanted", "said"), [((3,), "has no class 3"), ((0,), "has no class 0"), ((), "choose at least one")]
)
def test_unknown_classes_are_answered_with_the_known_ones(wanted: tuple[int, ...], said: str) -> None:
    with pytest.raises(ModelError, match=said) as refusal:
        segment(noise_volume((5, 6, 7)), brightness_model(), settings(classes=wanted))
    assert str(refusal.value).endswith("1 Anterior, 2 Posterior.")

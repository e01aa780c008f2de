"""What is said of the segments of a label map, found in boxes around them."""

from __future__ import annotations

import numpy as np
import pytest

from AHNetSegmentLib.engine.card import ClassCard, Code, Terminology
from AHNetSegmentLib.engine.inference import keep_largest_pieces
from AHNetSegmentLib.engine.segments import connected_pieces, describe_segments, label_boxes, piece_sizes
from AHNetSegmentLib.engine.volume import Array, Geometry, Region


def random_labels(seed: int, shape: tuple[int, int, int] = (7, 9, 11), share: float = 0.05) -> Array:
    """A few labels, far from each other, in few voxels; also the largest label that there can be."""
    random = np.random.default_rng(seed)
    labels = random.choice(np.array([1, 2, 7, 255], np.uint8), shape)
    labels[random.random(shape) > share] = 0
    return labels


@pytest.mark.parametrize("seed", range(20))
def test_a_box_touches_its_label_on_all_six_sides(seed: int) -> None:
    labels = random_labels(seed)
    boxes = label_boxes(labels)
    assert list(boxes) == [label for label in (1, 2, 7, 255) if (labels == label).any()]
    for label, box in boxes.items():
        places = np.argwhere(labels == label)[:, ::-1]
        assert box == Region(tuple(places.min(axis=0).tolist()), tuple((places.max(axis=0) + 1).tolist()))


def test_nothing_has_no_box() -> None:
    assert label_boxes(np.zeros((3, 4, 5), np.uint8)) == {}


def test_boxes_are_found_in_turned_views_too() -> None:
    labels = random_labels(3)
    turned = labels.transpose(2, 0, 1)[::-1]
    assert label_boxes(turned) == label_boxes(np.ascontiguousarray(turned))


def item(label: int) -> ClassCard:
    code = Code("SCT", "1", "Part")
    return ClassCard(label, f"class {label}", (1, 2, 3), Terminology(code, code))


@pytest.mark.parametrize("seed", range(10))
def test_a_segment_measured_in_its_box_is_the_one_of_the_whole_map(seed: int) -> None:
    labels = random_labels(seed, share=0.2)
    geometry = Geometry((11, 9, 7), (0.5, 0.75, 2.0), (10.0, 20.0, -30.0))
    found = describe_segments(labels, geometry, [item(2), item(100)], Region((0, 0, 0), geometry.size))
    places = np.argwhere(labels == 2)[:, ::-1]
    sizes = piece_sizes(connected_pieces(labels == 2))
    assert (found[0].voxels, found[0].pieces) == (len(places), len(sizes))
    assert found[0].largest_piece_percent == pytest.approx(100 * sizes.max() / len(places))
    centre = places.mean(axis=0) * geometry.spacing + geometry.origin
    assert found[0].centroid_lps == pytest.approx(tuple(centre))
    assert (found[1].voxels, found[1].extent) == (0, None)


@pytest.mark.parametrize("seed", range(10))
def test_only_the_largest_piece_of_each_wanted_class_stays(seed: int) -> None:
    labels = random_labels(seed, share=0.2)
    expected = labels.copy()
    for label in (1, 7):
        pieces = connected_pieces(labels == label)
        expected[(labels == label) & (pieces != 1 + piece_sizes(pieces).argmax())] = 0
    keep_largest_pieces(labels, [item(1), item(7), item(100)])
    np.testing.assert_array_equal(labels, expected)

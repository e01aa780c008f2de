"""Images that look like MR are made of labelled CT as the tables say, on grids that their labels lie on."""

from __future__ import annotations

import numpy as np
import pytest

from AHNetSegmentLib.engine.cases import ArrayCase
from AHNetSegmentLib.engine.volume import Geometry, Volume
from pseudo_mr import HU, SEQUENCES, PseudoCase, sliced


def trunk() -> ArrayCase:
    """Air, fat, muscle, and in it spleen and liver, 3 x 2 x 2 mm."""
    image = np.full((20, 30, 32), -125, np.int16)
    image[:, 3:27, 3:29] = -90
    image[:, 6:24, 6:26] = 50
    labels = np.zeros(image.shape, np.uint8)
    labels[4:16, 9:21, 8:14], labels[4:16, 9:21, 16:24] = 1, 6
    image[labels > 0] = 110
    return ArrayCase("trunk", Volume(image, Geometry((32, 30, 20), (2.0, 2.0, 3.0), (5.0, 6.0, 7.0)), "Trunk"), labels)


@pytest.mark.parametrize("name", ["T1 in phase", "T2, fat suppressed"])
def test_organs_and_tissues_are_as_bright_as_the_table_says(name: str) -> None:
    case, sequence = trunk(), SEQUENCES[name]
    shown = PseudoCase("trunk", case, sequence).read_image()
    assert shown.geometry == case.image.geometry
    assert shown.modality == "MR"
    inner = {label: shown.array[8:12, 12:18, part].mean() for label, part in ((1, slice(10, 12)), (6, slice(18, 22)))}
    assert inner[1] / inner[6] == pytest.approx(sequence.organs[1] / sequence.organs[6], rel=0.15)
    fat, air = shown.array[:, 4, 8:24].mean(), shown.array[:, 0].mean()
    assert fat / inner[6] == pytest.approx(np.interp(-90, HU, sequence.rest) / sequence.organs[6], rel=0.6)
    assert air < 0.2 * inner[6]
    np.testing.assert_array_equal(PseudoCase("trunk", case, sequence).read_image().array, shown.array)


def test_thick_slices_are_means_and_labels_lie_on_them() -> None:
    case = PseudoCase("trunk", trunk(), SEQUENCES["T2, 7.7 mm"])
    shown = case.read_image()
    assert shown.geometry.spacing == (2.0, 2.0, 7.7)
    assert shown.geometry.size == (32, 30, 7)
    # The first thick slice begins where the first thin one does.
    assert shown.geometry.origin == pytest.approx((5.0, 6.0, 7.0 - 1.5 + 3.85))
    labels = case.read_labels(shown, range(256))
    assert labels.shape == shown.array.shape
    assert (np.unique(labels) == (0, 1, 6)).all()
    ramp = Volume(np.arange(20.0)[:, None, None] * np.ones((1, 2, 2)), Geometry((2, 2, 20), (1.0, 1.0, 3.0)))
    found = sliced(ramp, 6.0)
    np.testing.assert_allclose(found.array[:, 0, 0], np.arange(10) * 2 + 0.5)
    assert sliced(ramp, 2.0) is ramp

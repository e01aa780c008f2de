"""What is a slice: decided by the model's plane and by how a scan lies in space, not by how its file stores it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from AHNetSegmentLib.engine.errors import RecipeError
from AHNetSegmentLib.engine.orientation import (
    ANATOMICAL,
    PLANES,
    Orientation,
    check_plane,
    is_resliced,
    network_orientation,
    slice_plane,
    tilt_degrees,
    training_plane,
)
from AHNetSegmentLib.engine.volume import Geometry, Volume
from engine_helpers import all_48, noise_volume

SPACINGS = {
    "axial": (1.0, 1.2, 3.0),
    "coronal": (1.0, 3.0, 1.2),
    "sagittal": (3.0, 1.0, 1.2),
    "none": (1.0, 1.1, 1.2),
}
"""mm towards left, posterior and superior, of scans with slices of their own and of one without."""
ORDER = {
    "axial": ("superior", "posterior", "left"),
    "coronal": ("posterior", "superior", "left"),
    "sagittal": ("left", "superior", "posterior"),
}
"""What slices, rows and columns follow each other towards."""
LPS_AXES = {"left": 0, "posterior": 1, "superior": 2}


def turned(degrees: tuple[float, float, float], spacing: tuple[float, float, float] = (1.0, 1.1, 1.2)) -> Geometry:
    """A grid turned about left, posterior and superior, one after the other."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return Geometry((5, 6, 7), spacing, (3.0, -4.0, 5.0), tuple(float(value) for value in matrix.ravel()))


def stored_in_all_ways(geometry: Geometry) -> list[Volume]:
    return all_48(replace(noise_volume(geometry.shape), geometry=geometry))


def seen(volume: Volume, plane: str) -> np.ndarray:
    return network_orientation(volume.geometry, plane).apply(volume.array)


@pytest.mark.parametrize("degrees", [(0.0, 0.0, 0.0), (15.0, -10.0, 20.0), (-25.0, 18.0, 12.0)], ids=str)
@pytest.mark.parametrize("scan", SPACINGS)
@pytest.mark.parametrize("plane", PLANES)
def test_a_network_sees_one_object_alike_in_all_48_axis_orders_and_flips(
    plane: str, scan: str, degrees: tuple[float, float, float]
) -> None:
    shown = plane if plane != "any" else scan if scan != "none" else "axial"
    volumes = stored_in_all_ways(turned(degrees, SPACINGS[scan]))
    # The first one has the array axes (superior, posterior, left), all forwards.
    axes = [2 - LPS_AXES[name] for name in ORDER[shown]]
    expected = volumes[0].array.transpose(axes)
    for volume in volumes:
        orientation = network_orientation(volume.geometry, plane)
        np.testing.assert_array_equal(orientation.apply(volume.array), expected)
        np.testing.assert_array_equal(orientation.undo(orientation.apply(volume.array)), volume.array)
        spacing = [SPACINGS[scan][LPS_AXES[name]] for name in ORDER[shown]]
        assert orientation.spacing(volume.geometry) == pytest.approx(spacing)
        assert orientation.shape(volume.geometry) == expected.shape


@pytest.mark.parametrize(
    "degrees",
    [
        (45.0, 0.0, 0.0),
        (0.0, 45.0, 0.0),
        (0.0, 0.0, 45.0),
        (45.0, 45.0, 0.0),
        (45.0, 45.0, 45.0),
        (-45.0, 0.0, 45.0),
        (54.7356103, 0.0, 45.0),
        (45.0, -35.2643897, 45.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("scan", SPACINGS)
@pytest.mark.parametrize("plane", PLANES)
def test_a_turn_by_just_45_degrees_is_not_decided_by_the_order_of_a_file(
    plane: str, scan: str, degrees: tuple[float, float, float]
) -> None:
    volumes = stored_in_all_ways(turned(degrees, SPACINGS[scan]))
    rng = np.random.default_rng(0)
    for volume in volumes:
        np.testing.assert_array_equal(seen(volume, plane), seen(volumes[0], plane))
        rounded = np.asarray(volume.geometry.direction) + rng.uniform(-1, 1, 9) * 3e-5
        geometry = replace(volume.geometry, direction=tuple(rounded.tolist()))
        np.testing.assert_array_equal(seen(replace(volume, geometry=geometry), plane), seen(volumes[0], plane))


@pytest.mark.parametrize("plane", ["axial", "coronal"])
@pytest.mark.parametrize("scan", ["axial", "coronal"])
def test_of_two_axes_that_are_equally_near_the_one_with_the_thick_slices_is_across(plane: str, scan: str) -> None:
    geometry = turned((45.0, 0.0, 0.0), SPACINGS[scan])
    assert network_orientation(geometry, plane).spacing(geometry)[0] == 3.0


def test_slices_that_are_turned_by_less_than_45_degrees_stay_in_their_plane() -> None:
    for scan in ANATOMICAL:
        for degrees in [(44.0, 0.0, 0.0), (0.0, -44.0, 0.0), (0.0, 0.0, 44.0)]:
            assert slice_plane(turned(degrees, SPACINGS[scan])) == scan


@pytest.mark.parametrize(
    ("spacing", "axes"),
    [
        pytest.param((1.0, 1.0, 4.0), (0, 1, 2), id="axial: superior, posterior, left"),
        pytest.param((1.0, 4.0, 1.0), (1, 0, 2), id="coronal: posterior, superior, left"),
        pytest.param((4.0, 1.0, 1.0), (2, 0, 1), id="sagittal: left, superior, posterior"),
        pytest.param((1.0, 2.0, 1.4), (0, 1, 2), id="no spacing stands out: superior first"),
        pytest.param((1.0, 2.1, 1.4), (1, 0, 2), id="one and a half times the second largest stands out"),
        pytest.param((1.0, 3.0, 3.0), (0, 1, 2), id="two alike: neither stands out"),
    ],
)
@pytest.mark.parametrize("plane", ["any", ""])
def test_a_model_of_any_plane_sees_the_slices_that_the_scan_has(
    plane: str, spacing: tuple[float, float, float], axes: tuple[int, int, int]
) -> None:
    assert network_orientation(Geometry((8, 8, 8), spacing), plane) == Orientation(axes, (False, False, False))


def test_axes_that_run_towards_right_anterior_inferior_are_flipped() -> None:
    towards_ras = Geometry((8, 8, 8), direction=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0))
    for plane in PLANES:
        assert network_orientation(towards_ras, plane).flips == (True, True, True)


def test_undo_follows_the_array_that_it_is_given() -> None:
    orientation = Orientation((1, 2, 0), (True, False, True))
    array = np.arange(24).reshape(2, 3, 4)
    assert orientation.apply(array).shape == (3, 4, 2)
    np.testing.assert_array_equal(orientation.undo(orientation.apply(array) * 10), array * 10)


@pytest.mark.parametrize("scan", SPACINGS)
@pytest.mark.parametrize("degrees", [(0.0, 0.0, 0.0), (15.0, -10.0, 20.0), (0.0, 0.0, 45.0)], ids=str)
def test_columns_cross_left_and_right_but_for_sagittal_slices(scan: str, degrees: tuple[float, float, float]) -> None:
    for volume in stored_in_all_ways(turned(degrees, SPACINGS[scan])):
        for plane in ("axial", "coronal"):
            assert network_orientation(volume.geometry, plane).columns_cross_sides(volume.geometry)
        if degrees[2] != 45.0:
            assert not network_orientation(volume.geometry, "sagittal").columns_cross_sides(volume.geometry)


def test_the_plane_of_a_scan_is_that_of_its_thick_slices() -> None:
    assert [slice_plane(turned((10.0, -5.0, 8.0), mm)) for mm in SPACINGS.values()] == [*ANATOMICAL, None]
    assert tilt_degrees(turned((20.0, 0.0, 0.0), SPACINGS["axial"])) == pytest.approx(20.0)
    assert tilt_degrees(turned((20.0, 0.0, 0.0), SPACINGS["none"])) == 0.0


def test_a_scan_is_resliced_where_its_slices_are_not_the_model_s() -> None:
    for scan, spacing in SPACINGS.items():
        for plane in ANATOMICAL:
            assert is_resliced(turned((5.0, 0.0, 0.0), spacing), plane) == (scan not in ("none", plane))
        assert not is_resliced(turned((5.0, 0.0, 0.0), spacing), "any")


class TestTrainingPlane:
    """One plane for all cases, or a refusal that names two of them."""

    @staticmethod
    def scans(*kinds: str, tilt: float = 0.0) -> list[tuple[str, Geometry]]:
        return [(f"{kind} {n}", turned((tilt, 0.0, 0.0), SPACINGS[kind])) for n, kind in enumerate(kinds)]

    @pytest.mark.parametrize("plane", ANATOMICAL)
    def test_it_is_that_of_the_slices_and_scans_without_any_suit_it(self, plane: str) -> None:
        assert training_plane(self.scans("none", plane, plane, "none", tilt=25.0)) == plane

    def test_scans_without_slices_of_their_own_are_seen_axially_or_as_before(self) -> None:
        assert training_plane(self.scans("none", "none")) == "axial"
        assert training_plane(self.scans("none", "none"), "sagittal") == "sagittal"

    def test_slices_in_two_planes_are_refused_with_a_case_of_each(self) -> None:
        with pytest.raises(
            RecipeError, match=r"^axial 0 has axial slices, coronal 2 has coronal ones; train a model on "
        ):
            training_plane(self.scans("axial", "axial", "coronal", "sagittal"))

    def test_slices_along_an_organ_s_own_axis_suit_any_plane(self) -> None:
        assert training_plane(self.scans("coronal", "coronal", tilt=40.0)) == "any"
        assert training_plane(self.scans("coronal", "axial", "sagittal", tilt=40.0)) == "any"


def test_an_unknown_plane_is_named() -> None:
    with pytest.raises(ValueError, match="'diagonal'; known are axial, coronal, sagittal, any"):
        check_plane("diagonal")
    for plane in ("", *PLANES):
        check_plane(plane)

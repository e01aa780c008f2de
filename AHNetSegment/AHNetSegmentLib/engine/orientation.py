"""In which plane a scan lies and in which a model sees it: the one place where what is a slice is decided.

Arrays have the axis order (k, j, i), networks see (slices, rows, columns). Geometry is in LPS.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from .errors import RecipeError
from .volume import Array, Geometry

AXIAL, CORONAL, SAGITTAL, ANY = "axial", "coronal", "sagittal", "any"
ANATOMICAL = (AXIAL, CORONAL, SAGITTAL)
"""Planes across superior-inferior, posterior-anterior and left-right."""
PLANES = (*ANATOMICAL, ANY)
"""What a model's card may say; ``any``: the scan's own slices, whatever plane they lie in."""

THICK_SLICE_RATIO = 1.5
"""From this ratio of the largest to the second largest spacing on, a scan has slices of its own, across that axis."""

OBLIQUE_DEGREES = 30.0
"""Slices tilted further than this from every anatomical plane follow an organ's own axis, as the heart's short axis: in
another patient the nearest plane may be another one. Tilts of the head and of the prostate are smaller."""

TIE = 1e-3
"""Directions whose cosines differ by less are equally near: a file's rounding must not decide between them."""

_LPS_AXES = (2, 1, 0)
"""Superior, posterior, left: the axes of LPS that axial, coronal and sagittal planes lie across."""


@dataclass(frozen=True)
class Orientation:
    """How an array's axes are reordered and flipped so that the slice axis comes first.

    Attributes:
        axes: which array axis (k=0, j=1, i=2) becomes axis 0, 1, 2.
        flips: whether the new axes 0, 1, 2 run backwards through the old ones.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    _step: tuple[slice, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_step", tuple(slice(None, None, -1 if flip else 1) for flip in self.flips))

    def apply(self, array: Array) -> Array:
        """A view of ``array`` (k, j, i) with the axes (slices, rows, columns) of the network."""
        return array.transpose(self.axes)[self._step]

    def undo(self, array: Array) -> Array:
        """A view of an array with the network's axes, in the order (k, j, i) again."""
        inverse = [0, 0, 0]
        for new, old in enumerate(self.axes):
            inverse[old] = new
        return array[self._step].transpose(inverse)

    def shape(self, geometry: Geometry) -> tuple[int, int, int]:
        """Voxels along (slices, rows, columns)."""
        first, second, third = (geometry.shape[axis] for axis in self.axes)
        return first, second, third

    def spacing(self, geometry: Geometry) -> tuple[float, float, float]:
        """Spacing along (slices, rows, columns) in mm."""
        by_axis = geometry.spacing[::-1]
        return (by_axis[self.axes[0]], by_axis[self.axes[1]], by_axis[self.axes[2]])

    def columns_cross_sides(self, geometry: Geometry) -> bool:
        """Whether columns run from one side of the body to the other, so that mirrored rows exchange left and right."""
        along_columns = np.abs(_directions(geometry)[:, self.axes[2]])
        return bool(along_columns[0] >= along_columns.max() - TIE)


def network_orientation(geometry: Geometry, plane: str) -> Orientation:
    """The orientation in which a model of a plane sees a grid: slices first, axes towards superior, posterior and left.

    Each axis of the grid stands for the anatomical one that it is nearest to, and the slice axis is the one that the
    plane lies across. The other two follow in the order superior, posterior, left: an axial model gets rows towards
    posterior and columns towards left.

    Args:
        geometry: of the grid.
        plane: of the model, one of ``PLANES``. With ``any``, or empty (a card that does not say it), the slices are
            those that the scan has (see :func:`slice_plane`), or axial ones where its voxels are about as thick as
            wide.
    """
    directions = _directions(geometry)
    if plane in ANATOMICAL:
        across = ANATOMICAL.index(plane)
        anatomical = _anatomical_axes(geometry, across)
        slice_axis = anatomical[across]
    else:
        own = _own_slice_axis(geometry)
        anatomical = _anatomical_axes(geometry, 0)
        slice_axis = anatomical[0] if own is None else own
    rest = [axis for axis in anatomical if axis != slice_axis]
    axes = (slice_axis, rest[0], rest[1])
    towards = {axis: _LPS_AXES[n] for n, axis in enumerate(anatomical)}
    flips = [bool(directions[towards[axis], axis] < 0) for axis in axes]
    return Orientation(axes, (flips[0], flips[1], flips[2]))


def slice_plane(geometry: Geometry) -> str | None:
    """The anatomical plane that a scan's slices are nearest to; None where its voxels are about as thick as wide.

    A scan has slices where its largest spacing is at least ``THICK_SLICE_RATIO`` times the second largest.
    """
    own = _own_slice_axis(geometry)
    return None if own is None else ANATOMICAL[_anatomical_axes(geometry, 0).index(own)]


def is_resliced(geometry: Geometry, plane: str) -> bool:
    """Whether a scan has slices of its own and a model of a plane sees it in others."""
    return _own_slice_axis(geometry) not in (None, network_orientation(geometry, plane).axes[0])


def tilt_degrees(geometry: Geometry) -> float:
    """The angle between a scan's slices and the nearest anatomical plane; 0 where it has no slices of its own."""
    own = _own_slice_axis(geometry)
    if own is None:
        return 0.0
    across = _directions(geometry)[:, own]
    return math.degrees(math.acos(min(1.0, float(np.abs(across).max() / np.linalg.norm(across)))))


def training_plane(scans: Sequence[tuple[str, Geometry]], otherwise: str = AXIAL) -> str:
    """The plane of a model that is trained on some scans: that of their slices.

    Args:
        scans: name and geometry of each.
        otherwise: the plane where no scan has slices of its own; such scans suit any plane.

    Returns:
        One of ``PLANES``; ``any`` where the slices follow an organ's axis rather than the body's.

    Raises:
        RecipeError: the slices lie in different planes of the body.
    """
    found: dict[str, str] = {}
    tilts = []
    for name, geometry in scans:
        plane = slice_plane(geometry)
        if plane is not None:
            found.setdefault(plane, name)
            tilts.append(tilt_degrees(geometry))
    if not found:
        return otherwise
    if statistics.median(tilts) > OBLIQUE_DEGREES:
        return ANY
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise RecipeError(
            f"{first} has {one} slices, {second} has {other} ones; train a model on slices of one plane, or name the "
            "plane that all cases are resampled to."
        )
    return next(iter(found))


def check_plane(plane: str) -> None:
    """Raises ValueError unless a model may be of that plane; empty: it is not known."""
    if plane and plane not in PLANES:
        raise ValueError(f"the plane is {plane!r}; known are {', '.join(PLANES)}")


def _directions(geometry: Geometry) -> Array:
    """3x3: the columns are the LPS directions of the array axes (k, j, i)."""
    directions: Array = np.reshape(geometry.direction, (3, 3)).astype(float)[:, ::-1]
    return directions


def _own_slice_axis(geometry: Geometry) -> int | None:
    """The array axis across the scan's slices; None where no spacing stands out."""
    spacing = geometry.spacing[::-1]
    thickest = sorted(range(3), key=lambda axis: -spacing[axis])
    return thickest[0] if spacing[thickest[0]] >= THICK_SLICE_RATIO * spacing[thickest[1]] else None


def _anatomical_axes(geometry: Geometry, across: int) -> tuple[int, ...]:
    """The array axes nearest to superior-inferior, posterior-anterior and left-right.

    Where a grid is turned by just 45°, two ways are equally near. Then the one counts that resamples least, in which
    the largest spacing lies across the plane, and after that what only depends on how the grid lies in space: the order
    in which a file stores its axes must not decide.

    Args:
        geometry: of the grid.
        across: number of the anatomical axis that the plane lies across.
    """
    directions = _directions(geometry)
    spacing = geometry.spacing[::-1]
    ways = list(permutations(range(3)))
    ways = _largest(ways, [sum(abs(directions[_LPS_AXES[n], axis]) for n, axis in enumerate(way)) for way in ways], TIE)
    ways = _largest(ways, [spacing[way[across]] for way in ways], TIE * max(spacing))
    for n, component in np.ndindex(3, 3):
        ways = _largest(ways, [float(_towards(directions, way[n], _LPS_AXES[n])[component]) for way in ways], 2 * TIE)
    return ways[0]


def _largest(ways: list[tuple[int, ...]], values: Sequence[float], margin: float) -> list[tuple[int, ...]]:
    """The ways whose values are the largest, but for a margin."""
    return [way for way, value in zip(ways, values, strict=True) if value >= max(values) - margin]


def _towards(directions: Array, axis: int, lps_axis: int) -> Array:
    """The direction of an array axis, reversed if need be, so that it runs towards an axis of LPS."""
    along: Array = directions[:, axis]
    return -along if along[lps_axis] < 0 else along

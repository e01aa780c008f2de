"""Which connected pieces of a structure are kept: by how sure the network is of them, and by where they lie.

A structure of one piece often comes out in several. The largest of them may be a false one, so each piece is weighed
by its mass (mL times the mean probability of its voxels) and by its place among the other structures. The best one is
kept, and so are others that are not small beside it: to lose an organ is worse than a stray piece, which is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .card import ClassCard
from .orientation import Orientation
from .segments import connected_pieces
from .volume import Array, Geometry

SMALL = 0.2
"""Pieces that weigh less than this share of the best one's weight are dropped."""
FAR = 3.0
"""Standard deviations from a structure's usual place at which the mass of a piece counts half."""
FEWEST = 3
"""Other structures that must have been found to say where a structure is usually to be."""
HARDEST_MM = 8.0
"""A usual place is known no better than this: cases of one training are few."""

Places = Mapping[str, Sequence[float]]
"""By label: mean place of a structure's centre (LPS, mm) relative to the middle of all structures' centres, and its
standard deviation over the cases of the training (root mean square over the three axes)."""


@dataclass(frozen=True)
class Piece:
    """A connected piece of a structure.

    Attributes:
        ml: its volume.
        probability: mean over its voxels; 1 where it is not known.
        away_mm: from the structure's usual place; None where that is not known.
        weight: what it is compared by.
        kept: whether it was kept.
    """

    ml: float
    probability: float
    away_mm: float | None
    weight: float
    kept: bool

    @property
    def words(self) -> str:
        """For a report."""
        said = [f"{self.ml:.3g} mL", f"mean probability {self.probability:.2f}"]
        if self.away_mm is not None:
            said.append(f"{self.away_mm:.0f} mm from its usual place")
        return ", ".join(said)


@dataclass(frozen=True)
class Certainty:
    """How sure the network is of the label of each voxel, on a coarse grid over the same field of view.

    Attributes:
        values: (D, H, W) uint8, 255 for certain; in the network's order of axes.
        orientation: turns an array (k, j, i) into that order.
        box: of voxels, in that order, that the grid covers; beyond it no piece lies.
    """

    values: Array
    orientation: Orientation
    box: tuple[slice, ...]

    def sums(self, pieces: Array, count: int) -> Array:
        """The sum of the probabilities of the voxels of each piece, 0 to ``count``, of pieces (k, j, i)."""
        pieces = self.orientation.apply(pieces)[self.box]
        totals = np.zeros(count + 1)
        planes, rows, columns = (
            np.minimum(np.arange(fine) * coarse // fine, coarse - 1)
            for fine, coarse in zip(pieces.shape, self.values.shape, strict=True)
        )
        for number, plane in zip(planes, pieces, strict=True):
            if plane.any():
                weights = self.values[number][np.ix_(rows, columns)]
                totals += np.bincount(plane.ravel(), weights=weights.ravel(), minlength=count + 1)
        return totals / 255


def measure_places(maps: Iterable[tuple[Array, Geometry]], classes: Sequence[ClassCard]) -> dict[str, list[float]]:
    """Where structures lie among each other, from label maps (k, j, i): see :data:`Places`.

    Structures that are missing in one of the maps say nothing of their place in it. Empty where fewer than ``FEWEST``
    structures are to be found in all.
    """
    found = [_centres(labels, geometry, classes) for labels, geometry in maps]
    common = [item.label for item in classes if found and all(item.label in centres for centres in found)]
    if len(common) <= FEWEST:
        return {}
    relative = [
        {label: centre - np.mean([centres[one] for one in common], axis=0) for label, centre in centres.items()}
        for centres in found
    ]
    places = {}
    for item in classes:
        known = np.array([centres[item.label] for centres in relative if item.label in centres])
        if len(known) > 1:
            spread = float(np.sqrt(known.var(axis=0, ddof=1).mean()))
            places[str(item.label)] = [round(float(value), 1) for value in (*known.mean(axis=0), spread)]
    return places


def keep_best_pieces(
    labels: Array,
    geometry: Geometry,
    classes: Sequence[ClassCard],
    places: Places,
    certainty: Certainty | None,
    others: Sequence[ClassCard],
) -> dict[int, list[Piece]]:
    """Removes, in place, the pieces (26 neighbours) of structures that are small beside their best one.

    Args:
        labels: uint8 (k, j, i).
        geometry: of the labels.
        classes: whose pieces are weighed.
        places: where they usually lie; empty: that does not count.
        certainty: of the labels; None: all count alike.
        others: all classes of the model; where they lie says where a structure is to be looked for.

    Returns:
        For each class of several pieces what they are, the best one first.
    """
    found: dict[int, list[Piece]] = {}
    centres = _centres(labels, geometry, others) if places else {}
    for item in classes:
        mask = labels == item.label
        if not mask.any():
            continue
        pieces = connected_pieces(mask)
        sizes = np.bincount(pieces.ravel())
        if len(sizes) == 2:
            continue
        sums = sizes if certainty is None else certainty.sums(pieces, len(sizes) - 1)
        usual = _usual_place(item, centres, places)
        inside = _centres_of(pieces, geometry)
        told = [
            _weigh(sizes[number] * geometry.voxel_ml, sums[number] / sizes[number], inside[number], usual)
            for number in range(1, len(sizes))
        ]
        best = max(piece.weight for piece in told)
        told = [Piece(one.ml, one.probability, one.away_mm, one.weight, one.weight >= SMALL * best) for one in told]
        kept = np.array([False, *(piece.kept for piece in told)])
        labels[mask & ~kept[pieces]] = 0
        found[item.label] = sorted(told, key=lambda piece: -piece.weight)
    return found


def words(item: ClassCard, pieces: Sequence[Piece]) -> str:
    """One sentence: which pieces of a structure were kept, and how many were dropped."""
    kept = [piece for piece in pieces if piece.kept]
    dropped = sum(piece.ml for piece in pieces if not piece.kept)
    said = "; ".join(piece.words for piece in kept)
    rest = f"; {len(pieces) - len(kept)} dropped, together {dropped:.3g} mL" if len(kept) < len(pieces) else ""
    return f"{item.name}: {len(kept)} of {len(pieces)} pieces kept ({said}{rest})."


def _weigh(ml: float, probability: float, centre: Array, usual: tuple[Array, float] | None) -> Piece:
    ml, probability = float(ml), float(probability)
    if usual is None:
        return Piece(ml, probability, None, ml * probability, True)
    place, spread = usual
    away = float(np.linalg.norm(centre - place))
    return Piece(ml, probability, away, ml * probability / (1 + (away / (FAR * spread)) ** 2), True)


def _usual_place(item: ClassCard, centres: Mapping[int, Array], places: Places) -> tuple[Array, float] | None:
    """Where a structure is to be looked for (LPS, mm), from where the others were found, and how exactly (mm)."""
    own = places.get(str(item.label))
    shifts = [
        centre - np.array(places[str(label)][:3])
        for label, centre in centres.items()
        if label != item.label and str(label) in places
    ]
    if own is None or len(shifts) < FEWEST:
        return None
    # The median: some of the others may lie at a false place themselves.
    return np.median(shifts, axis=0) + np.array(own[:3]), max(own[3], HARDEST_MM)


def _centres(labels: Array, geometry: Geometry, classes: Sequence[ClassCard]) -> dict[int, Array]:
    """Centre (LPS, mm) of each class that occurs."""
    all_centres = _centres_of(labels, geometry)
    present = np.bincount(labels.ravel(), minlength=256)
    return {item.label: all_centres[item.label] for item in classes if present[item.label]}


def _centres_of(numbers: Array, geometry: Geometry) -> Array:
    """Centre (n, 3) (LPS, mm) of the voxels of each number in an array (k, j, i), 0 for those that do not occur."""
    count = int(numbers.max()) + 1
    sums, sizes = np.zeros((count, 3)), np.zeros(count)
    along = [np.arange(length, dtype=float) for length in numbers.shape]
    for k, plane in enumerate(numbers):
        if not plane.any():
            continue
        held = np.bincount(plane.ravel(), minlength=count)
        sizes += held
        sums[:, 2] += k * held
        rows, columns = np.nonzero(plane)
        chosen = plane[rows, columns]
        sums[:, 1] += np.bincount(chosen, weights=along[1][rows], minlength=count)
        sums[:, 0] += np.bincount(chosen, weights=along[2][columns], minlength=count)
    means = sums / np.maximum(sizes, 1)[:, None]
    matrix = geometry.ijk_to_lps()
    centres: Array = means @ matrix[:3, :3].T + matrix[:3, 3]
    return centres

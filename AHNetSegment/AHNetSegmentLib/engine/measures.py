"""How well one predicted label map agrees with its reference: Dice, surface distances in mm, volumes in mL.

Arrays are uint8 (k, j, i) on one grid. What is undefined is ``nan`` and counts nowhere:

=====================  =====  ============================  ==============
the class is in        Dice   surface distances             volume error %
=====================  =====  ============================  ==============
both                   0..1   mm                            a number
the reference only     0      nan, counted as *missed*      -100
the prediction only    0      nan, counted as *invented*    nan
neither                nan    nan                           nan
not labelled           nan    nan                           nan
=====================  =====  ============================  ==============

Definitions as in Maier-Hein, Reinke et al., "Metrics reloaded", Nature Methods 21, 2024: the 95 % Hausdorff distance is
the larger one of both directed 95th percentiles, the average symmetric surface distance is the mean over the voxels
of both surfaces together. For what a surface is, see :mod:`.surface`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network.settings import IGNORE_LABEL
from .card import ClassCard
from .errors import VolumeError
from .surface import surface_distances
from .volume import Array, Geometry

MEASURES = (
    "dice",
    "hausdorff95_mm",
    "surface_distance_mm",
    "reference_ml",
    "predicted_ml",
    "volume_error_ml",
    "volume_error_percent",
)
"""The attributes of :class:`ClassMeasures` that are measures."""


@dataclass(frozen=True)
class ClassMeasures:
    """One class of one case.

    Attributes:
        label: of the class.
        name: of the class.
        dice: 2 |A ∩ B| / (|A| + |B|).
        hausdorff95_mm: 95 % Hausdorff distance.
        surface_distance_mm: average symmetric surface distance.
        reference_ml: volume in the reference.
        predicted_ml: volume in the prediction.
    """

    label: int
    name: str
    dice: float
    hausdorff95_mm: float
    surface_distance_mm: float
    reference_ml: float
    predicted_ml: float

    @property
    def volume_error_ml(self) -> float:
        """Predicted minus reference volume."""
        return self.predicted_ml - self.reference_ml

    @property
    def volume_error_percent(self) -> float:
        """Volume error in percent of the reference volume; nan without one."""
        return 100.0 * self.volume_error_ml / self.reference_ml if self.reference_ml > 0 else math.nan

    @property
    def missed(self) -> bool:
        """Whether only the reference has the class."""
        return self.reference_ml > 0 and self.predicted_ml == 0

    @property
    def invented(self) -> bool:
        """Whether only the prediction has the class."""
        return self.predicted_ml > 0 and self.reference_ml == 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON: None where undefined."""
        return {
            "label": self.label,
            "class": self.name,
            **{measure: none_if_undefined(getattr(self, measure)) for measure in MEASURES},
        }


@dataclass(frozen=True)
class CaseMeasures:
    """All classes of one case."""

    name: str
    classes: tuple[ClassMeasures, ...]

    @property
    def mean_dice(self) -> float:
        """Mean over the classes that the reference or the prediction has; nan without one."""
        return mean_of_defined([item.dice for item in self.classes])

    def to_dict(self) -> dict[str, Any]:
        """For JSON: None where undefined."""
        return {
            "case": self.name,
            "mean_dice": none_if_undefined(self.mean_dice),
            "classes": [item.to_dict() for item in self.classes],
        }


def evaluate_case(
    predicted: Array,
    reference: Array,
    geometry: Geometry,
    classes: Sequence[ClassCard],
    *,
    name: str = "case",
    ignore_label: int | None = IGNORE_LABEL,
    distances: bool = True,
    labelled: Sequence[int] | None = None,
) -> CaseMeasures:
    """Compares a predicted with a reference label map; labels of no class are background.

    Args:
        predicted: uint8 (k, j, i).
        reference: uint8 (k, j, i).
        geometry: of both. Distances are measured where its axes stand at right angles, and nan on a sheared grid.
        classes: what is measured.
        name: of the case.
        ignore_label: voxels that have it in the reference are left out of everything, as if the grid ended there;
            None: there is no such label.
        distances: whether to measure surface distances, which take nearly all of the time.
        labelled: labels of the classes that the reference speaks of; of all others nothing is known, so that every
            measure of theirs is nan. None: all classes.

    Raises:
        VolumeError: the label maps are not both of the geometry's size.
    """
    if predicted.shape != geometry.shape or reference.shape != geometry.shape:
        raise VolumeError(
            f"{name} has a predicted label map of {predicted.shape} voxels, a reference of {reference.shape} and a "
            f"geometry for {geometry.shape}; compare label maps on one grid."
        )
    distances = distances and _axes_at_right_angles(geometry)
    counted = True if ignore_label is None else reference != ignore_label
    measures = []
    for item in classes:
        if labelled is not None and item.label not in labelled:
            measures.append(ClassMeasures(item.label, item.name, *[math.nan] * 5))
            continue
        masks = ((predicted == item.label) & counted, (reference == item.label) & counted)
        measures.append(_measure(item, *masks, geometry, distances))
    return CaseMeasures(name, tuple(measures))


def mean_of_defined(values: Iterable[float | None]) -> float:
    """Mean of the values that are neither nan nor None, its stand-in in JSON; nan without one."""
    defined = [value for value in values if value is not None and not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def none_if_undefined(value: float) -> float | None:
    """None for nan, which JSON does not know."""
    return None if math.isnan(value) else value


def _measure(item: ClassCard, predicted: Array, reference: Array, geometry: Geometry, distances: bool) -> ClassMeasures:
    in_predicted, in_reference = int(np.count_nonzero(predicted)), int(np.count_nonzero(reference))
    in_both = int(np.count_nonzero(predicted & reference))
    voxels = in_predicted + in_reference
    hausdorff95, average = math.nan, math.nan
    if distances and in_predicted and in_reference:
        there, back = surface_distances(predicted, reference, geometry.spacing)
        hausdorff95 = float(max(np.percentile(there, 95), np.percentile(back, 95)))
        average = float(np.concatenate([there, back]).mean(dtype=float))
    return ClassMeasures(
        item.label,
        item.name,
        2.0 * in_both / voxels if voxels else math.nan,
        hausdorff95,
        average,
        in_reference * geometry.voxel_ml,
        in_predicted * geometry.voxel_ml,
    )


def _axes_at_right_angles(geometry: Geometry) -> bool:
    axes = np.reshape(geometry.direction, (3, 3))
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-3))

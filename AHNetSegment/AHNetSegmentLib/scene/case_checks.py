"""What is said of a case before anything is computed with it. Quick enough for the event loop: about 50 ms a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from ..engine.card import ModelCard
from ..engine.errors import VolumeError
from ..engine.familiarity import doubts, spacing_warnings
from ..engine.volume import Array, Volume, check_volume
from .cases import SAMPLE_STEP, CaseRow, layers, local_to_grid, present, segment_labels
from .segments import SURFACE, check_segmentation_node
from .transforms import image_to_world, lattice_shift, node_name
from .volumes import dicom_modality, volume_from_node


@dataclass(frozen=True)
class Finding:
    """A sentence about a case, and whether it hinders a start."""

    sentence: str
    hinders: bool


@dataclass(frozen=True)
class _Places:
    """Where the learned segments of a case lie.

    Attributes:
        filled: identifiers of the segments with voxels or surfaces.
        inside: whether any of them reaches into the volume.
        on_grid: whether all label maps are on the volume's grid.
    """

    filled: frozenset[str]
    inside: bool
    on_grid: bool


def check_row(row: CaseRow, mapping: Mapping[str, int], base: ModelCard | None = None) -> list[Finding]:
    """What is wrong with a case, or may be: one finding each, the ones that hinder first.

    Args:
        row: the case.
        mapping: label of each segment name that is learned.
        base: the model that is trained further or evaluated; None: none is compared with.
    """
    try:
        volume = volume_from_node(row.volume_node)
        _check_voxels(volume)
        check_segmentation_node(row.segmentation_node)
        to_grid = local_to_grid(row.segmentation_node, row.volume_node)
    except VolumeError as error:
        return [Finding(str(error), True)]
    name = node_name(row.segmentation_node, "The segmentation")
    learned = segment_labels(row.segmentation_node, mapping)
    if not learned:
        text = _("{name} has no segment that is learned; choose a class for one below, or remove the case.")
        return [Finding(text.format(name=name), True), *_doubts(row, volume, base)]
    places = _places(row, learned, to_grid, volume.geometry.size)
    found = [
        *_emptiness(row, name, learned, places),
        *_position(name, volume.name, places),
        *_doubts(row, volume, base),
    ]
    return sorted(found, key=lambda finding: not finding.hinders)


def _check_voxels(volume: Volume) -> None:
    """Raises VolumeError where the voxels cannot be used. Whole numbers that differ somewhere need no second look."""
    step = slice(None, None, SAMPLE_STEP)
    sample = volume.array[step, step, step]
    if volume.array.dtype.kind not in "biu" or sample.min() == sample.max():
        check_volume(volume)


def _emptiness(row: CaseRow, name: str, learned: Mapping[str, int], places: _Places) -> list[Finding]:
    segmentation = row.segmentation_node.GetSegmentation()
    empty = [segmentation.GetSegment(key).GetName() for key in learned if key not in places.filled]
    if not empty:
        return []
    if len(empty) == len(learned) and not row.complete:
        text = _("Every learned segment of {name} is empty; draw them, or remove the case.")
        return [Finding(text.format(name=name), True)]
    if row.complete:
        text = _("{name} has no voxels in {segments}: in a complete case that means that it is not there.")
    else:
        text = _("{name} has no voxels in {segments}; draw it, or leave it: nothing is learned of it here.")
    return [Finding(text.format(name=name, segments=", ".join(empty)), False)]


def _position(name: str, volume_name: str, places: _Places) -> list[Finding]:
    if places.filled and not places.inside:
        text = _("{name} lies outside {volume}; choose the volume that it was drawn on.")
        return [Finding(text.format(name=name, volume=volume_name), True)]
    if not places.on_grid:
        text = _("{name} lies on another grid than {volume}: it is resampled to the volume's voxels.")
        return [Finding(text.format(name=name, volume=volume_name), False)]
    return []


def _doubts(row: CaseRow, volume: Volume, base: ModelCard | None) -> list[Finding]:
    """What speaks against the base model for this volume; it never hinders."""
    if base is None:
        return []
    said = [*doubts(volume, base, dicom_modality(row.volume_node)), *spacing_warnings(volume, base)]
    return [Finding(text, False) for text in dict.fromkeys(said)]


def _places(row: CaseRow, learned: Mapping[str, int], to_grid: Array, size: tuple[int, int, int]) -> _Places:
    filled: set[str] = set()
    inside, on_grid = False, True
    with_layer: set[str] = set()
    for layer, values in layers(row.segmentation_node):
        with_layer |= set(values)
        wanted = {key: value for key, value in values.items() if key in learned}
        if not wanted or layer.IsEmpty():
            continue
        array = vtk_to_numpy(layer.GetPointData().GetScalars()).reshape(tuple(reversed(layer.GetDimensions())))
        here = present(array, wanted.values())
        filled |= {key for key, value in wanted.items() if value in here}
        shift = lattice_shift(to_grid @ image_to_world(layer), layer.GetExtent())
        if shift is None:
            on_grid = on_grid and not here
            inside = inside or (bool(here) and _boxes_meet(to_grid @ image_to_world(layer), layer.GetExtent(), size))
        else:
            part = array[_common(layer.GetExtent(), shift, size)]
            inside = inside or bool(part.size and present(part, here))
    for key in set(learned) - with_layer:
        surface = row.segmentation_node.GetSegmentation().GetSegment(key).GetRepresentation(SURFACE)
        if surface is not None and surface.GetNumberOfPoints():
            filled.add(key)
            inside = inside or _boxes_meet(to_grid, surface.GetBounds(), size)
    return _Places(frozenset(filled), inside, on_grid)


def _common(extent: tuple[int, ...], shift: tuple[int, int, int], size: tuple[int, int, int]) -> tuple[slice, ...]:
    """The part of a layer's array that lies within the volume, both on one lattice."""
    parts = []
    for axis in (2, 1, 0):
        first, last = extent[2 * axis] + shift[axis], extent[2 * axis + 1] + shift[axis]
        start, stop = max(first, 0), min(last + 1, size[axis])
        parts.append(slice(start - first, max(stop, start) - first))
    return tuple(parts)


def _boxes_meet(to_grid: Array, bounds: tuple[float, ...], size: tuple[int, int, int]) -> bool:
    """Whether a box (least and greatest along three axes), brought into the volume's grid, reaches into the volume."""
    low, high = np.array(bounds[0::2]), np.array(bounds[1::2])
    corners = np.array([[*np.where(pick, high, low), 1.0] for pick in np.ndindex(2, 2, 2)]).T
    ijk = (to_grid @ corners)[:3]
    return bool((ijk.max(axis=1) >= -0.5).all() and (ijk.min(axis=1) <= np.array(size) - 0.5).all())

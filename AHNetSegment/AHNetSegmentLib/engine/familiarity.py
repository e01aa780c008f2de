"""Does a volume look like what a model knows? Modality, value scale, spacing and field of view, in plain sentences.

What a model knows is measured once over the cases of its training (:func:`measure_known`) and kept in its card.
Everything here works on a sample of the voxels and needs no torch, so that it can be asked before each run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .card import ModelCard
from .orientation import ANATOMICAL, AXIAL, is_resliced, network_orientation, slice_plane
from .volume import Array, Region, Volume, check_volume, crop

if TYPE_CHECKING:
    from .cases import LabelledCase

SAMPLE_VOXELS = 200_000
"""Values are looked at in about so many voxels, evenly spread."""

PERCENTILES = (1, 25, 50, 75, 99)
QUARTILES = (25, 50, 75)

COARSER, FINER, FINER_RESAMPLED = 2.0, 2.0, 5.0
"""How far a spacing may lie outside the known range. Finer voxels do little harm where they are resampled anyway."""

LARGER, SMALLER, OTHER_PROPORTIONS = 1.5, 3.0, 2.0
"""How far an extent, or the ratio of the extents across slices and in plane, may lie outside the known range."""

PIECES_MM = 100.0
"""Models whose cases are smaller than this know pieces cut out of scans."""

BRIGHTNESS_MARGIN = 0.2
"""How far outside the known range the quartiles may lie, as shares of the way from dark to bright."""

PADDING_SHARE, SHARE_OF_FAT = 0.02, 0.01
"""From which share of the voxels on the lowest value is padding, and how much of a CT lies below -20 HU besides."""

LARGEST_LABEL = 64
"""No scan has 0 in most of its voxels and nothing above this."""

NOT_TELLING = {"", "OT", "SC", "SEG", "REG"}
"""DICOM modalities that do not say how the values came about."""

Range = tuple[float, float]


def measure_known(
    cases: Sequence[LabelledCase], plane: str, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """What the cases of a model look like, as it stands in the card's field ``known``.

    Args:
        cases: all cases of training and validation.
        plane: of the model.
        progress: called as ``progress(done, total)`` after each case.

    Returns:
        ``cases`` (how many), and as ranges [smallest, largest] over the cases: ``spacing`` and ``extent`` in mm along
        (slices, rows, columns), ``percentiles`` of the raw values, ``quartiles`` as shares of the way from the 1st to
        the 99th percentile, ``below_zero`` (share of the values); ``whole_numbers``: whether all values are such.

    Raises:
        VolumeError: an image cannot be used.
    """
    facts: list[dict[str, Any]] = []
    for case in cases:
        volume = case.read_image()
        check_volume(volume)
        facts.append(_measure(volume, plane))
        if progress is not None:
            progress(len(facts), len(cases))
    if not facts:
        return {}

    def of_axes(key: str) -> list[list[float]]:
        return [_range(fact[key][axis] for fact in facts) for axis in range(3)]

    def of_percentiles(key: str, names: Sequence[int]) -> dict[str, list[float]]:
        return {str(name): _range(fact[key][number] for fact in facts) for number, name in enumerate(names)}

    return {
        "cases": len(facts),
        "spacing": of_axes("spacing"),
        "extent": of_axes("extent"),
        "percentiles": of_percentiles("percentiles", PERCENTILES),
        "quartiles": of_percentiles("quartiles", QUARTILES),
        "below_zero": _range(fact["below_zero"] for fact in facts),
        "whole_numbers": all(fact["whole_numbers"] for fact in facts),
    }


def doubts(volume: Volume, card: ModelCard, modality: str | None = None, region: Region | None = None) -> list[str]:
    """Why a volume may not be one for a model: sentences for the user, the most telling first; empty if it looks right.

    A volume of another modality or value scale gets that one sentence, since its remedy is another volume or model.
    A card without the field ``known`` has its spacing checked and nothing else.

    Args:
        volume: what is to be segmented.
        card: of the model.
        modality: DICOM's Modality of the volume (``CT``, ``MR``); empty or None: what the volume says of itself.
        region: the voxels that are segmented. Their extent counts as the field of view; the scale of the values is
            taken from the whole volume, since the air that tells it lies outside most regions.
    """
    if _looks_like_labels(_sample(volume.array)):
        return [f"{volume.name} looks like a label map (a few whole numbers, most of them 0): choose its scan."]
    if not card.known:
        return spacing_warnings(volume, card)
    named = (modality or volume.modality).strip().upper()
    if named not in NOT_TELLING and named not in card.modalities:
        article = "an" if named[0] in "AEFHILMNORSX" else "a"
        return [
            f"{volume.name} is {article} {named} volume by its DICOM header, but the model {card.name} knows "
            f"{card.modality}: choose another model or volume."
        ]
    part = crop(volume, region) if region else volume
    return (
        _scale_doubts(volume, card, named)
        or [*_extent_doubts(part, card, region is not None), *spacing_warnings(volume, card)]
        or (_brightness_doubts(volume, card) if region is None else [])
    )


def spacing_warnings(volume: Volume, card: ModelCard) -> list[str]:
    """Sentences where a volume's spacing or plane is far from the model's; the same that :func:`doubts` gives.

    What the model knows are its cases, or, in a card without them, the spacing that it resamples volumes to.
    """
    geometry = volume.geometry
    own = slice_plane(geometry)
    if not card.plane and own not in (None, AXIAL):
        return [
            f"{volume.name} has {own} slices, and the model {card.name} does not say which it was trained on: "
            "check the result."
        ]
    known: list[Range | None] = [(mm, mm) if mm is not None else None for mm in card.spacing]
    if card.known.get("spacing"):
        known = [(low, high) for low, high in card.known["spacing"]]
    far = []
    spacing = network_orientation(geometry, card.plane).spacing(geometry)
    for mm, target, span in zip(spacing, card.spacing, known, strict=True):
        if span is None:
            continue
        finer = FINER_RESAMPLED if target is not None and card.known else FINER
        if not span[0] / finer <= mm <= span[1] * COARSER:
            far.append(f"{mm:.3g} mm instead of {_span(span)} mm")
    if not far:
        return []
    if card.plane in ANATOMICAL and is_resliced(geometry, card.plane):
        return [
            f"{volume.name} has {own} slices of {max(geometry.spacing):.3g} mm, but the model {card.name} was trained "
            f"on {card.plane} ones, to which they are resampled ({', '.join(far)}): check the result."
        ]
    return [f"{volume.name} has a spacing far from that of the model {card.name} ({', '.join(far)}): check the result."]


def _scale_doubts(volume: Volume, card: ModelCard, named: str) -> list[str]:
    """Whether the values are on another scale than the model's: no HU for a CT model, HU for an MR model."""
    if named in NOT_TELLING and len(card.modalities) > 1:
        # Which of them it is was told by the values themselves.
        return []
    modality = card.modalities[0] if named in NOT_TELLING else named
    rule = card.intensity_of(modality).rule
    values = _sample(volume.array)
    if not values.size:
        return []
    low, high = np.percentile(values, (1, 99))
    shown = f"98% of its values lie between {low:.4g} and {high:.4g}"
    if modality == "CT" and rule == "window":
        if _is_hounsfield(values):
            return []
        return [
            f"{volume.name} does not hold CT numbers in HU as the model {card.name} needs them ({shown}): choose a CT, "
            "or load it again from DICOM so that its values are rescaled."
        ]
    if rule == "zscore" and "CT" not in card.modalities and _looks_like_ct(values, card.known.get("below_zero")):
        return [
            f"{volume.name} looks like a CT ({(values < 0).mean():.0%} of its values are below zero), but the model "
            f"{card.name} knows {card.modality}: choose another model or volume."
        ]
    known = card.known.get("percentiles", {}).get("99")
    if rule == "window" and known and not known[0] / 3 <= high <= known[1] * 3:
        return [
            f"{volume.name} has values on another scale than the model {card.name} knows ({shown}): choose another "
            "model or volume."
        ]
    return []


def _is_hounsfield(values: Array) -> bool:
    """Whether values are CT numbers: fat or air below zero, soft tissue around it, and no end beyond metal."""
    fat_or_air = (values < -20).mean()
    soft_tissue = ((values > -200) & (values < 300)).mean()
    return bool(fat_or_air > 0.005 and soft_tissue > 0.02 and np.percentile(values, 99) < 3000)


def looks_like_ct(volume: Volume) -> bool:
    """Whether a volume's values are those of a CT: see what :func:`doubts` says of them."""
    values = _sample(volume.array)
    return bool(values.size) and _looks_like_ct(values, None)


def _looks_like_ct(values: Array, below_zero: Sequence[float] | None) -> bool:
    """Whether values are those of a CT: air near -1000 HU beside soft tissue, or many whole numbers below zero.

    One number outside the field of view is no air: an MR may be padded with -1, or with -1000 like a CT. A CT, also one
    whose air was cut off to one number, has fat and the edges of the body below zero as well.
    """
    inside = values[values > values.min()] if (values == values.min()).mean() > PADDING_SHARE else values
    if not (inside < -20).mean() > SHARE_OF_FAT:
        return False
    air = (((values > -1100) & (values < -900)) | (values < -1900)).mean()
    soft_tissue = ((values > -200) & (values < 300)).mean()
    if air > 0.02 and soft_tissue > 0.05 and np.percentile(values, 99) < 3000:
        return True
    wide = float(np.subtract(*np.percentile(values, (99, 1)))) > 50
    usual = below_zero[1] if below_zero else 0.0
    return bool(wide and (values == np.rint(values)).all() and (inside < 0).mean() > usual + 0.1)


def _looks_like_labels(values: Array) -> bool:
    """Whether values are those of a label map: small whole numbers, or two of them, and 0 the most frequent one."""
    if not values.size or values.min() != 0 or (values != np.rint(values)).any():
        return False
    found, counts = np.unique(values, return_counts=True)
    return (found[-1] <= LARGEST_LABEL or len(found) == 2) and int(counts.argmax()) == 0


def _extent_doubts(part: Volume, card: ModelCard, is_region: bool) -> list[str]:
    """Whether the field of view is much larger, much smaller or of another shape than those that the model knows."""
    known: list[Range] = [(low, high) for low, high in card.known.get("extent", [])]
    if not known:
        return []
    extent = _extent(part, card.plane)
    larger = max(mm / high for mm, (_, high) in zip(extent, known, strict=True))
    smaller = max(low / mm if mm > 0 else math.inf for mm, (low, _) in zip(extent, known, strict=True))
    usual = (known[0][0] / _mean(known[1][1], known[2][1]), known[0][1] / _mean(known[1][0], known[2][0]))
    ratio = extent[0] / _mean(extent[1], extent[2]) if extent[1] + extent[2] > 0 else math.inf
    odd = not usual[0] / OTHER_PROPORTIONS <= ratio <= usual[1] * OTHER_PROPORTIONS
    if larger <= LARGER and smaller <= SMALLER and not odd:
        return []
    sides = [size * mm for size, mm in zip(part.geometry.size, part.geometry.spacing, strict=True)]
    covers = " × ".join(f"{mm:.0f}" for mm in sides)
    where = f"The region of interest in {part.name}" if is_region else part.name
    if larger > LARGER:
        change = "make the region of interest smaller, close" if is_region else "draw a region of interest"
        remedy = f"{change} around {_anatomy(card)}"
    elif smaller > SMALLER:
        remedy = "make the region of interest larger" if is_region else "choose a volume that shows more"
    else:
        remedy = "check that it shows what the model segments"
    return [f"{where} covers {covers} mm, but the model {card.name} knows {_field(known)}: {remedy}."]


def _brightness_doubts(volume: Volume, card: ModelCard) -> list[str]:
    """Whether dark and bright voxels are shared out otherwise than in the cases, whatever the scale of the values.

    Whole scans only: the mixture in a piece depends on where exactly it is cut out. Models of several modalities know
    any mixture.
    """
    known = card.known.get("quartiles")
    if (
        len(card.modalities) > 1
        or card.intensity.rule != "zscore"
        or not known
        or _are_pieces(card.known.get("extent", []))
    ):
        return []
    values = _sample(volume.array)
    if not values.size:
        return []
    for name, share in zip(QUARTILES, _quartiles(values), strict=True):
        low, high = known.get(str(name), (0.0, 1.0))
        if not low - BRIGHTNESS_MARGIN <= share <= high + BRIGHTNESS_MARGIN:
            return [
                f"{volume.name} has another mixture of dark and bright than the scans that the model {card.name} knows "
                f"({name}% of its voxels are darker than {share:.0%} of the brightest; usual are {low:.0%} to "
                f"{high:.0%}): check that it is the same kind of scan."
            ]
    return []


def _measure(volume: Volume, plane: str) -> dict[str, Any]:
    values = _sample(volume.array)
    return {
        "spacing": network_orientation(volume.geometry, plane).spacing(volume.geometry),
        "extent": _extent(volume, plane),
        "percentiles": [float(value) for value in np.percentile(values, PERCENTILES)],
        "quartiles": _quartiles(values),
        "below_zero": float((values < 0).mean()),
        "whole_numbers": bool((values == np.rint(values)).all()),
    }


def _sample(array: Array) -> Array:
    """About ``SAMPLE_VOXELS`` evenly spread finite values, float64."""
    stride = max(1, math.ceil((array.size / SAMPLE_VOXELS) ** (1 / 3)))
    values = array[tuple(slice(None, None, stride) for _ in range(array.ndim))].astype(np.float64).ravel()
    return values[np.isfinite(values)]


def _quartiles(values: Array) -> list[float]:
    """Where the quartiles lie on the way from the 1st to the 99th percentile."""
    low, *middle, high = (float(value) for value in np.percentile(values, PERCENTILES))
    return [(value - low) / (high - low) if high > low else 0.0 for value in middle]


def _extent(volume: Volume, plane: str) -> tuple[float, float, float]:
    """Extent in mm along (slices, rows, columns) of a plane."""
    orientation = network_orientation(volume.geometry, plane)
    sizes, spacing = orientation.shape(volume.geometry), orientation.spacing(volume.geometry)
    slices, rows, columns = (size * mm for size, mm in zip(sizes, spacing, strict=True))
    return (slices, rows, columns)


def _range(values: Any) -> list[float]:
    rounded = [float(f"{value:.5g}") for value in values]
    return [min(rounded), max(rounded)]


def _mean(one: float, two: float) -> float:
    return (one + two) / 2


def _span(span: Range) -> str:
    low, high = (f"{value:.3g}" for value in span)
    return low if low == high else f"{low} to {high}"


def _field(known: Sequence[Range]) -> str:
    """The known fields of view in words."""
    if _are_pieces(known):
        return f"pieces of {min(low for low, _ in known):.0f} to {max(high for _, high in known):.0f} mm"
    across, rows, columns = (f"{low:.0f} to {high:.0f}" if high - low >= 1 else f"{high:.0f}" for low, high in known)
    plane = rows if rows == columns else f"{rows} × {columns}"
    return f"scans of {across} mm across the slices and {plane} mm in plane"


def _are_pieces(known: Sequence[Sequence[float]]) -> bool:
    return bool(known) and max(high for _, high in known) <= PIECES_MM


def _anatomy(card: ModelCard) -> str:
    """What the model segments, to stand within a sentence."""
    first = card.anatomy.split(",")[0].strip()
    if not first:
        return "what the model segments"
    return f"the {first[0].lower()}{first[1:]}" if first[1:2].islower() else f"the {first}"

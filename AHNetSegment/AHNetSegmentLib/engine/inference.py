"""Volume in, label map out, on the input's own grid, in the precision and on the device that suit the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .card import ClassCard, ModelCard
from .device import choose_device, choose_precision, is_out_of_memory, precision_name, window_memory_mb
from .errors import ModelError, ResourceError, VolumeError
from .familiarity import doubts
from .modality import choose_intensity
from .orientation import network_orientation
from .package import Model
from .pieces import Certainty, keep_best_pieces, words
from .pipeline import Pipeline, Progress
from .preprocess import intensity_map
from .segments import connected_pieces, label_boxes, piece_sizes
from .smoothing import MOST_MM, smooth_labels
from .timings import Step, Timings
from .volume import Array, Geometry, Region, Volume, check_volume, crop

TRIES = 3
"""How often a run is begun again with half the window memory before another way is taken."""


@dataclass(frozen=True)
class InferenceSettings:
    """How a volume is segmented.

    Attributes:
        region: only this box of voxels is looked at; all else becomes background. None: the whole volume.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto``, ``float32``, ``bfloat16``, ``float16``.
        window_memory: MB that the network's maps may take; None: from the free memory of the device.
        keep_largest: of each class, only the largest connected piece is kept, or all are; None: of those that the card
            names in ``one_piece``, the best piece is kept, and others that are not small beside it (:mod:`.pieces`).
        probabilities: also return each class's probability.
        smoothing: standard deviation in mm of the Gaussian that smooths the borders; 0: none.
        classes: the labels to keep, all else becomes background; None: all of the model's.
        modality: what the volume is taken for where the model has an intensity rule for some modalities, ``CT`` for
            example; empty: told by its DICOM header, or by its values.
    """

    region: Region | None = None
    device: str = "auto"
    precision: str = "auto"
    window_memory: float | None = None
    keep_largest: bool | None = None
    probabilities: bool = False
    smoothing: float = 0.0
    classes: tuple[int, ...] | None = None
    modality: str = ""


@dataclass
class Segmentation:
    """A result on the grid of its input.

    Attributes:
        labels: uint8 (k, j, i); 0 is background and everything outside the region.
        geometry: the input's.
        classes: what the labels mean: the kept ones, labels ascending.
        region: the box that was looked at.
        probabilities: uint8 (class, k, j, i) in the order of ``classes``, 255 for certain; None unless asked for.
        seconds: what each step took, parts of it, and ``total``; see :meth:`.timings.Timings.to_dict`.
        device: where it ran.
        precision: the number format that it ran in.
        warnings: sentences about what may be wrong with the result.
        intensity: which intensity rule the values went through, and why that one.
        pieces: sentences about structures that were found in several pieces: which of them were kept and why.
    """

    labels: Array
    geometry: Geometry
    classes: tuple[ClassCard, ...]
    region: Region
    probabilities: Array | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"
    precision: str = "float32"
    warnings: list[str] = field(default_factory=list)
    intensity: str = ""
    pieces: list[str] = field(default_factory=list)


def segment(
    volume: Volume,
    model: Model,
    settings: InferenceSettings | None = None,
    progress: Progress | None = None,
    timings: Timings | None = None,
) -> Segmentation:
    """Segments a volume.

    Args:
        volume: in any orientation and spacing.
        model: a loaded model.
        settings: region, classes, device, precision, memory, what is done to the result.
        progress: called as ``progress(done, total)`` every few slices; returning False stops the run.
        timings: get what the steps take, beside what they hold already; None: new ones.

    Raises:
        VolumeError: the volume or region cannot be segmented.
        DeviceError: the device or precision that was asked for does not exist here.
        ModelError: the model takes several volumes at once, or the settings do not fit: see :func:`check_settings`.
        ResourceError: the machine's memory does not suffice.
        Cancelled: ``progress`` returned False.
    """
    settings = settings or InferenceSettings()
    classes = check_settings(settings, model.card)
    timings = Timings() if timings is None else timings
    with timings.during(Step.PREPARING):
        result = _segment(volume, model, settings, classes, progress, timings)
    result.seconds = timings.to_dict()
    return result


def _segment(
    volume: Volume,
    model: Model,
    settings: InferenceSettings,
    classes: tuple[ClassCard, ...],
    progress: Progress | None,
    timings: Timings,
) -> Segmentation:
    whole = Region((0, 0, 0), volume.geometry.size)
    region = settings.region or whole
    _check_region(region, volume)
    part = crop(volume, region)
    check_volume(part)
    orientation = network_orientation(volume.geometry, model.card.plane)
    scan = orientation.apply(part.array)
    chosen = choose_intensity(volume, model.card.intensity, model.card.intensity_by_modality, settings.modality)
    intensities = intensity_map(chosen.rule, scan)
    result = Segmentation(
        labels=np.zeros(volume.geometry.shape, np.uint8),
        geometry=volume.geometry,
        classes=classes,
        region=region,
        warnings=[*volume.notes, *doubts(volume, model.card, settings.modality, settings.region)],
        intensity=chosen.words,
    )
    if settings.probabilities:
        result.probabilities = np.zeros((len(classes), *volume.geometry.shape), np.uint8)
    spacing = orientation.spacing(volume.geometry)
    mirrored = model.card.test_time_mirroring and orientation.columns_cross_sides(volume.geometry)
    labels = orientation.apply(result.labels[region.slices])
    shares: list[Array | None] | None = None
    if result.probabilities is not None:
        shares = [None] * len(model.card.classes)
        for item, values in zip(classes, result.probabilities, strict=True):
            shares[model.card.classes.index(item)] = orientation.apply(values[region.slices])
    for device, memory, remedy in _attempts(choose_device(settings.device), settings.window_memory):
        precision = choose_precision(settings.precision, device)
        try:
            pipeline = Pipeline(model, scan, spacing, intensities, device, precision, memory, mirrored, timings)
            weighed = settings.keep_largest is None and bool(model.card.one_piece)
            pipeline.write(labels, shares, progress, certainty=weighed)
            break
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            model.release()
            if not remedy:
                raise ResourceError(
                    f"The memory of this machine does not suffice for {volume.name}; close other programs or choose a "
                    "smaller region of interest."
                ) from error
            result.warnings.append(f"The memory of the {device.type} device did not suffice: {remedy}.")
    if pipeline.empty:
        result.warnings.append(
            f"{volume.name} holds no value above {intensities.lower:g}, where the model {model.card.name} begins to "
            "see something: nothing was searched; check the volume."
        )
    certainty = None
    if pipeline.certainty is not None and pipeline.box is not None:
        certainty = Certainty(pipeline.certainty, orientation, pipeline.box)
    _finish(result, model.card, settings, certainty, timings)
    result.device = str(device)
    result.precision = precision_name(precision)
    return result


def check_settings(settings: InferenceSettings, card: ModelCard) -> tuple[ClassCard, ...]:
    """The classes that a model gives with some settings.

    Raises:
        ModelError: it takes several volumes at once, lacks one of the classes or the modality, or the smoothing is not
            offered.
    """
    if card.network.in_channels != 1:
        raise ModelError(
            f"The model {card.name} needs {card.network.in_channels} registered volumes at once, which is "
            "not offered yet; choose a model that takes one volume."
        )
    if not 0 <= settings.smoothing <= MOST_MM:
        raise ModelError(
            f"The result of {card.name} cannot be smoothed by {settings.smoothing:g} mm; choose 0 to {MOST_MM:g} mm."
        )
    if settings.modality and settings.modality.strip().upper() not in card.modalities:
        raise ModelError(
            f"The model {card.name} knows no modality {settings.modality}; choose {' or '.join(card.modalities)}."
        )
    if settings.classes is None:
        return card.classes
    kept = class_labels(card, settings.classes)
    return tuple(item for item in card.classes if item.label in kept)


def class_labels(card: ModelCard, wanted: Sequence[str | int]) -> tuple[int, ...]:
    """The labels, ascending, of some of a model's classes given by name (in upper or lower case) or label.

    Raises:
        ModelError: the model has no such class, or none is wanted; the message lists those that it has.
    """
    known = ", ".join(f"{item.label} {item.name}" for item in card.classes)
    if not wanted:
        raise ModelError(f"No class of the model {card.name} is to be kept; choose at least one of {known}.")
    found: set[int] = set()
    for text in wanted:
        asked = str(text).strip().lower()
        labels = {item.label for item in card.classes if asked in (item.name.lower(), str(item.label))}
        if not labels:
            raise ModelError(f"The model {card.name} has no class {text}; choose from {known}.")
        found |= labels
    return tuple(sorted(found))


def _finish(
    result: Segmentation,
    card: ModelCard,
    settings: InferenceSettings,
    certainty: Certainty | None,
    timings: Timings,
) -> None:
    """Does to the labels, in place, what the settings ask for: first the pieces, then the classes, then smoothing."""
    labels = result.labels[result.region.slices]
    with timings.during(Step.PIECES):
        if settings.keep_largest is None:
            # Before classes are left out: where the others lie tells a piece's worth.
            _keep_best(result, card, certainty)
        elif settings.keep_largest:
            keep_largest_pieces(labels, result.classes)
        if len(result.classes) < len(card.classes):
            kept = np.zeros(256, np.uint8)
            for item in result.classes:
                kept[item.label] = item.label
            for plane in labels:
                plane[...] = kept[plane]
    if settings.smoothing:
        with timings.during(Step.SMOOTHING):
            labels[...], unchanged = smooth_labels(labels, result.geometry.spacing, settings.smoothing)
        names = ", ".join(item.name for item in result.classes if item.label in unchanged)
        if names:
            result.warnings.append(f"Too small to be smoothed by {settings.smoothing:g} mm and left as found: {names}.")


def _keep_best(result: Segmentation, card: ModelCard, certainty: Certainty | None) -> None:
    part = crop(Volume(result.labels, result.geometry), result.region)
    wanted = [item for item in result.classes if item in card.in_one_piece]
    places = card.known.get("places", {})
    found = keep_best_pieces(part.array, part.geometry, wanted, places, certainty, card.classes)
    result.pieces = [words(item, found[item.label]) for item in wanted if item.label in found]


def limit_to_mask(result: Segmentation, mask: Array) -> None:
    """Empties, in place, what lies in the region of a result but not in a mask, bool (k, j, i) of that region."""
    outside = ~mask
    result.labels[result.region.slices][outside] = 0
    for share in () if result.probabilities is None else result.probabilities:
        share[result.region.slices][outside] = 0


def keep_largest_pieces(labels: Array, classes: Sequence[ClassCard]) -> None:
    """Removes, in place, all but the largest connected piece (26 neighbours) of each class."""
    boxes = label_boxes(labels) if classes else {}
    for item in classes:
        if item.label not in boxes:
            continue
        part = labels[boxes[item.label].slices]
        mask = part == item.label
        pieces = connected_pieces(mask)
        largest = 1 + int(piece_sizes(pieces).argmax())
        part[mask & (pieces != largest)] = 0


def _attempts(device: torch.device, memory_mb: float | None) -> Iterator[tuple[torch.device, float, str]]:
    """Where to run with how much window memory, and what follows if that memory does not suffice ('': nothing)."""
    cpu = torch.device("cpu")
    for place in (device, cpu) if device.type != "cpu" else (cpu,):
        memory = memory_mb or window_memory_mb(place)
        for halvings in range(TRIES):
            remedy = "went on with smaller windows"
            if halvings == TRIES - 1:
                remedy = "went on with the CPU" if place.type != "cpu" else ""
            yield place, memory / 2**halvings, remedy


def _check_region(region: Region, volume: Volume) -> None:
    for start, stop, size in zip(region.start, region.stop, volume.geometry.size, strict=True):
        if not 0 <= start < stop <= size:
            raise VolumeError(
                f"The region of interest lies outside {volume.name}; move it over the part to be segmented."
            )

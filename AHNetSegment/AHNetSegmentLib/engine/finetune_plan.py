"""What a fine-tuning will do: which cases it holds out, on which grid, with which network, stages and patches."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..network.settings import AHNetSettings
from .augmentation import Augmentation
from .card import ClassCard, Intensity, ModelCard
from .errors import RecipeError
from .orientation import ANATOMICAL, ANY, AXIAL, check_plane, network_orientation, training_plane
from .preprocess import ModelGrid
from .recipe import Recipe, Stage
from .volume import Geometry

STEPS = 800
"""Of a fine-tuning that is not told how many."""
STEPS_FROM_SCRATCH = 2400
ENCODER_FACTOR = 0.1
"""All layers are trained at this share of the decoder's learning rate, as the article has it for an encoder that knows
such images already: ImageNet's, or that of a base whose cases were alike. Others learn at the full rate."""
SLICES_LEARNING_RATE = 5e-4
"""Of the 2D network (Liu et al., arXiv 1711.08580)."""
VALIDATIONS = 16
"""About so many validations fall into the steps of a run that is not told how often."""

PATCH_VOXELS = 300_000
"""Of a patch that is not told how large: two of them take some 4 GB of memory at half width."""
SMALLEST_PATCH = (8, 32, 32)

SAME_SPACING = 1.6
"""Cases whose median spacing differs from the base model's by no more than this factor are resampled to the base's."""
LARGEST_PLANE = 192
"""Pixels in plane, rows or columns, beyond which cases that choose their own spacing are resampled to fewer: a patch of
some slices then holds the whole plane."""

FOREGROUND_PERCENTILES = (0.5, 99.5)
"""CT numbers between these percentiles of the labelled voxels, and FOREGROUND_MARGIN more on either side, are kept."""
FOREGROUND_MARGIN = 100.0
"""HU."""


@dataclass(frozen=True)
class FinetuneSettings:
    """How a model is fine-tuned, or trained from scratch; zeros stand for what suits the cases.

    Attributes:
        steps: optimiser steps of all stages together.
        batch: patches a step.
        learning_rate: of the decoder while the encoder is locked.
        encoder_factor: share of it at which all layers are trained afterwards: see ``ENCODER_FACTOR``.
        seed: decides initial weights, patches and which cases are held out.
        validate_every: steps between validations.
        patience: a stage ends after so many validations without a better one; 0: never before its last step.
        patch: (slices, rows, columns), voxels.
        width: of a network from scratch; 1.0 is ResNet-50, and what an ImageNet file needs.
        checkpoint_seconds: time between checkpoints.
        plane: of the new model, see :class:`~.card.ModelCard`; empty: the base's where its grid suits the cases, else
            that of their slices.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    steps: int = 0
    batch: int = 2
    learning_rate: float = 1e-3
    encoder_factor: float = 0.0
    seed: int = 0
    validate_every: int = 0
    patience: int = 6
    patch: tuple[int, int, int] = (0, 0, 0)
    width: float = 0.5
    checkpoint_seconds: float = 60.0
    plane: str = ""

    def __post_init__(self) -> None:
        for name in ("steps", "seed", "validate_every", "patience", "encoder_factor"):
            if getattr(self, name) < 0:
                raise ValueError(f"'{name}' must not be negative")
        for name in ("batch", "learning_rate", "width", "checkpoint_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"'{name}' must be above zero")
        if len(self.patch) != 3 or min(self.patch) < 0:
            raise ValueError("'patch' must hold three sizes, or three zeros")
        check_plane(self.plane)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FinetuneSettings:
        """Settings from a dictionary of JSON types; raises ValueError or TypeError naming what is wrong."""
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"the setting '{unknown[0]}' is unknown")
        slices, rows, columns = values.get("patch", (0, 0, 0))
        return replace(cls(), **{**values, "patch": (int(slices), int(rows), int(columns))})


@dataclass(frozen=True)
class Identity:
    """What the new model is called and what it is about; see :class:`~.card.ModelCard`."""

    name: str
    title: str
    description: str = ""
    modality: str = "MR"
    anatomy: str = ""
    data_licence: str = "not stated"


@dataclass(frozen=True)
class Grid:
    """A case's grid, its axes as the network sees them: voxels and mm along (slices, rows, columns)."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, geometry: Geometry, plane: str) -> Grid:
        """The grid of a geometry for a model of a plane."""
        orientation = network_orientation(geometry, plane)
        return cls(orientation.shape(geometry), orientation.spacing(geometry))


def plan_recipe(
    identity: Identity,
    classes: Sequence[ClassCard],
    scans: Sequence[tuple[str, Geometry]],
    base: ModelCard | None,
    settings: FinetuneSettings,
    *,
    intensity: Intensity | None = None,
    validated: bool = True,
    pretrained: bool = False,
) -> Recipe:
    """The recipe of a fine-tuning.

    Args:
        identity: of the new model.
        classes: of the new model, labels from 1.
        scans: name and geometry of each training case.
        base: the card of the model to begin with; None: from scratch.
        settings: of the user.
        intensity: how voxel values become network input; None: as in the base, which may have a rule for the modality.
        validated: whether there are validation cases.
        pretrained: whether the 2D network of a training from scratch begins with ImageNet weights.

    Raises:
        RecipeError: the settings do not fit each other, or the cases' slices lie in different planes.
    """
    modality = identity.modality
    plane = settings.plane or _plane(scans, base)
    grids = [Grid.of(geometry, plane) for _, geometry in scans]
    if base is not None and base.plane in ("", ANY, plane) and _suits(grids, base):
        spacing, network = base.spacing, replace(base.network, classes=len(classes) + 1)
        alike = base.modality == modality
    else:
        spacing = _median_spacing(grids)
        network = _network(classes, grids, spacing, base, settings)
        alike = pretrained
    if pretrained and network.width != 1.0:
        raise RecipeError("An ImageNet ResNet-50 has full width; set the width to 1, or start without its file.")
    shape, step = _model_grid(grids, spacing)
    patch = settings.patch if min(settings.patch) > 0 else patch_size(shape)
    _check_patch(patch, settings.batch, network)
    factor = settings.encoder_factor or (ENCODER_FACTOR if alike else 1.0)
    stages = _stages(settings, patch, base is not None, factor)
    steps = sum(stage.steps for stage in stages)
    return Recipe(
        name=identity.name,
        title=identity.title,
        version="1.0.0",
        modality=modality,
        anatomy=identity.anatomy,
        description=identity.description,
        data_licence=identity.data_licence,
        classes=tuple(classes),
        spacing=spacing,
        intensity=intensity or (base.intensity_of(modality) if base is not None else Intensity("zscore", 0.5, 99.5)),
        intensity_by_modality=base.intensity_by_modality if base is not None and modality == base.modality else (),
        network=network,
        stages=stages,
        plane=plane,
        augmentation=augmentation(step, modality),
        seed=settings.seed,
        weight_decay=1e-3,
        average=0.995,
        validate_every=(settings.validate_every or max(25, round(steps / VALIDATIONS))) if validated else 0,
        patience=settings.patience if validated else 0,
    )


def patch_size(shape: Sequence[int]) -> tuple[int, int, int]:
    """(slices, rows, columns) of patches for volumes of a shape: whole planes, of as many slices as there is room for.

    A volume is segmented in whole planes, and the encoder looks across all of a plane: a network that has seen pieces
    of planes alone, each with its organ in the middle, finds the organ in such pieces and not in a plane.
    """
    slices, rows, columns = (float(length) for length in shape)
    slices = max(min(slices, PATCH_VOXELS / (rows * columns)), min(slices, SMALLEST_PATCH[0]))
    shrink = min(1.0, (PATCH_VOXELS / (slices * rows * columns)) ** 0.5)
    rows, columns = max(rows * shrink, SMALLEST_PATCH[1]), max(columns * shrink, SMALLEST_PATCH[2])
    # Multiples of the stride at which the network's first maps are pooled waste nothing at the edges.
    return max(3, round(slices)), _multiple(rows, 8), _multiple(columns, 8)


def augmentation(step: Sequence[float], modality: str) -> Augmentation:
    """How patches are varied: thick slices are turned in plane only, and left and right are never exchanged.

    Args:
        step: mm along (slices, rows, columns).
        modality: ``MR`` or ``CT``.
    """
    in_plane = (step[1] + step[2]) / 2
    is_ct = modality.upper() == "CT"
    return Augmentation(
        rotation=(20.0, 0.0, 0.0) if step[0] > 2 * in_plane else (15.0, 10.0, 10.0),
        scale=0.15,
        stretch=0.1,
        shift=(8 * in_plane,) * 3,
        bend=1.5 * in_plane,
        contrast=0.2 if is_ct else 0.3,
        brightness=0.2 if is_ct else 0.3,
        gamma=0.2 if is_ct else 0.3,
        noise=0.1,
        blur=0.6,
        coarse=1.6,
        shading=0.0 if is_ct else 0.3,
        probability=0.25,
    )


def foreground_window(values: Sequence[np.ndarray]) -> Intensity:
    """The window of CT numbers for a model whose base knows none, from voxels of its structures (HU).

    The percentiles are those of nnU-Net (Isensee et al., Nature Methods 18, 2021); the margin keeps what surrounds the
    structures apart from them.

    Raises:
        RecipeError: there is no voxel.
    """
    if not sum(part.size for part in values):
        raise RecipeError("No training case has a labelled voxel; label some, or choose other cases.")
    low, high = np.percentile(np.concatenate(values), FOREGROUND_PERCENTILES)
    return Intensity("window", float(round(low - FOREGROUND_MARGIN)), float(round(high + FOREGROUND_MARGIN)))


def _plane(scans: Sequence[tuple[str, Geometry]], base: ModelCard | None) -> str:
    """The plane of the base where its grid suits the cases, else the one that their slices lie in."""
    if base is None or not base.plane:
        return training_plane(scans)
    if _suits([Grid.of(geometry, base.plane) for _, geometry in scans], base):
        return base.plane
    return training_plane(scans, base.plane if base.plane in ANATOMICAL else AXIAL)


def _suits(grids: Sequence[Grid], base: ModelCard) -> bool:
    """Whether cases are so much like those of the base that its grid suits them."""
    known = [tuple(span) for span in base.known.get("spacing", [])] or [(mm, mm) for mm in base.spacing]
    median = [statistics.median(grid.spacing[axis] for grid in grids) for axis in range(3)]
    return all(
        span[0] is None or span[0] / SAME_SPACING <= mm <= span[1] * SAME_SPACING
        for mm, span in zip(median, known, strict=True)
    )


def _median_spacing(grids: Sequence[Grid]) -> tuple[float, float, float]:
    mm = [statistics.median(grid.spacing[axis] for grid in grids) for axis in range(3)]
    plane = statistics.median(max(grid.shape[1:]) for grid in grids)
    coarser = max(1.0, plane / LARGEST_PLANE)
    slices, rows, columns = (float(f"{value:.4g}") for value in (mm[0], mm[1] * coarser, mm[2] * coarser))
    return slices, rows, columns


def _model_grid(
    grids: Sequence[Grid], spacing: Sequence[float | None]
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Median shape (voxels) and spacing (mm) of the cases as the network gets them."""
    shapes = [ModelGrid.of(grid.shape, grid.spacing, spacing).model for grid in grids]
    steps = [
        [mm * old / new for mm, old, new in zip(grid.spacing, grid.shape, shape, strict=True)]
        for grid, shape in zip(grids, shapes, strict=True)
    ]

    def median(values: Callable[[int], Sequence[float]]) -> list[float]:
        return [statistics.median(values(axis)) for axis in range(3)]

    slices, rows, columns = median(lambda axis: [shape[axis] for shape in shapes])
    across, down, along = median(lambda axis: [step[axis] for step in steps])
    return (round(slices), round(rows), round(columns)), (across, down, along)


def _network(
    classes: Sequence[ClassCard],
    grids: Sequence[Grid],
    spacing: Sequence[float | None],
    base: ModelCard | None,
    settings: FinetuneSettings,
) -> AHNetSettings:
    strides = slice_strides(*_model_grid(grids, spacing))
    if base is not None:
        return replace(base.network, classes=len(classes) + 1, slice_strides=strides)
    return AHNetSettings(classes=len(classes) + 1, width=settings.width, slice_strides=strides, pyramid_levels=3)


def slice_strides(shape: Sequence[int], step: Sequence[float]) -> tuple[int, int, int, int, int]:
    """Slice pooling per stage for volumes of a shape (voxels) and spacing (mm): see :class:`AHNetSettings`.

    The first two stages keep all slices. A later one pools pairs of them while a slice of its maps is no thicker than
    their pixels are wide, and while two of them are left.
    """
    strides = [1, 1, 1, 1, 1]
    slices, millimetres = shape[0], step[0]
    for stage in (2, 3, 4):
        pixel = (step[1] + step[2]) / 2 * 2 ** (stage + 1)
        if 2 * millimetres <= pixel and slices >= 4:
            strides[stage] = 2
            slices, millimetres = (slices + 1) // 2, 2 * millimetres
    return strides[0], strides[1], strides[2], strides[3], strides[4]


def _stages(
    settings: FinetuneSettings, patch: tuple[int, int, int], transferred: bool, factor: float
) -> tuple[Stage, ...]:
    rate, batch = settings.learning_rate, settings.batch
    if transferred:
        total = settings.steps or STEPS
        decoder = max(1, total // 4)
        stages = [
            Stage("decoder", decoder, rate, batch, patch),
            Stage("all", max(1, total - decoder), rate * factor, batch, patch),
        ]
        return tuple(stages)
    total = settings.steps or STEPS_FROM_SCRATCH
    slices = decoder = max(1, total // 6)
    return (
        Stage("slices", slices, SLICES_LEARNING_RATE, batch, (max(3, min(8, patch[0])), *patch[1:])),
        Stage("decoder", decoder, rate, batch, patch),
        Stage("all", max(1, total - slices - decoder), rate * factor, batch, patch),
    )


def _check_patch(patch: tuple[int, int, int], batch: int, network: AHNetSettings) -> None:
    """Raises RecipeError where the deepest maps would hold a single value, of which BatchNorm has no variance."""
    deepest = math.ceil(patch[0] / network.slice_stride) * math.ceil(patch[1] / 32) * math.ceil(patch[2] / 32)
    if batch * deepest < 2:
        shown = " × ".join(map(str, patch))
        raise RecipeError(f"A step of {batch} patch of {shown} voxels is too small to learn from; enlarge one of them.")


def _multiple(length: float, of: int) -> int:
    return math.ceil(round(length, 6) / of) * of

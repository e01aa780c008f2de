"""Label maps without images as labelled cases: what they hold, and images that are generated of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .appearance import acquire
from .augmentation import Augmentation
from .cases import LabelledCase, file_stamp
from .errors import RecipeError, VolumeError
from .generated_images import draw_contrast, paint
from .generation import Generation
from .image_io import IMAGE_SUFFIXES, image_name, read_volume
from .orientation import network_orientation
from .volume import Array, Geometry, Volume

BRIGHTEST = 1000.0
"""What 1 becomes in whole images, as of many scanners."""
SCANNING = Augmentation(made_shading=0.2, made_noise=0.03)
"""How whole images that measure a model are acquired: as on a day without trouble."""


@dataclass(frozen=True)
class LabelMapCase(LabelledCase):
    """A label map; its image is a whole one that is generated from it, on its own grid, always the same.

    Attributes:
        labels: the file.
        generation: what its values mean.
        seed: decides contrast, bias field and noise.
        t1: whether the image looks like T1-weighted MR; None: as the generation draws it.
    """

    labels: Path
    generation: Generation
    seed: int = 0
    t1: bool | None = True

    def read_image(self) -> Volume:
        codes, geometry = self.read_codes()
        rng = np.random.default_rng([self.seed, *self.name.encode("utf-8")])
        contrast = draw_contrast(rng, self.generation, self.t1)
        image = paint(rng, torch.from_numpy(codes), self.generation, contrast)[None]
        image = acquire(rng, image, SCANNING)[0].mul_(BRIGHTEST)
        return Volume(image.numpy(), geometry, self.name)

    def read_labels(self, image: Volume, values: Sequence[int]) -> Array:
        classes: Array = self.generation.classes_by_code()[self.read_codes()[0]]
        return classes

    def read_codes(self) -> tuple[Array, Geometry]:
        """The map as codes, uint8 (k, j, i): see :attr:`Generation.values`.

        Raises:
            VolumeError: the file cannot be read, or holds values that no tissue names.
        """
        volume = read_volume(self.labels)
        found = np.unique(volume.array)
        known = np.array((0, *self.generation.values))
        if unknown := [value for value in found.tolist() if value not in known]:
            raise VolumeError(
                f"{self.labels} holds the value {unknown[0]:g}, which no tissue of the recipe has; add it there."
            )
        table = np.zeros(int(known[-1]) + 1, np.uint8)
        table[known] = np.arange(len(known))
        codes: Array = table[volume.array.astype(np.int64)]
        return codes, volume.geometry

    def stamp(self) -> str:
        return repr([file_stamp(self.labels), self.generation, self.seed, self.t1])


def known_of_label_maps(cases: Sequence[LabelMapCase], plane: str, thickest: float) -> dict[str, Any]:
    """What a model knows that was trained on generated images, as it stands in its card's field ``known``.

    Their contrasts are any, so there is nothing to say of values: see :func:`~.familiarity.measure_known`.

    Args:
        cases: all label maps of training and validation.
        plane: of the model.
        thickest: slices that images were generated with, mm, in any plane.
    """
    spacing, extent = [], []
    for case in cases:
        geometry = read_volume(case.labels).geometry
        orientation = network_orientation(geometry, plane)
        spacing.append(orientation.spacing(geometry))
        shape = (geometry.shape[axis] for axis in orientation.axes)
        extent.append([size * mm for size, mm in zip(shape, spacing[-1], strict=True)])
    low, high = np.min(spacing, axis=0), np.maximum(np.max(spacing, axis=0), thickest)
    return {
        "cases": len(cases),
        "spacing": np.stack([low, high], axis=1).round(4).tolist(),
        "extent": np.stack([np.min(extent, axis=0), np.max(extent, axis=0)], axis=1).round(4).tolist(),
    }


def find_label_maps(folder: Path, generation: Generation) -> list[LabelMapCase]:
    """The label maps that lie in a folder, or in its folder ``labels/`` where it has one, sorted by name.

    Raises:
        RecipeError: there is none.
    """
    folder = Path(folder)
    place = folder / "labels" if (folder / "labels").is_dir() else folder
    found = (
        sorted(path for path in place.iterdir() if path.name.lower().endswith(IMAGE_SUFFIXES)) if place.is_dir() else []
    )
    if not found:
        raise RecipeError(f"{folder} holds no label maps; put NIfTI, NRRD or MetaImage files into it.")
    return [LabelMapCase(image_name(path), path, generation) for path in found]

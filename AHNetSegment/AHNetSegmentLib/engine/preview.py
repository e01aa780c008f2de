"""A picture of a validation case while a model is trained: one slice, outlines of result and reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch.nn import functional as F

from .card import ClassCard
from .evaluation import LabelPair
from .files import write_file
from .orientation import network_orientation
from .volume import Array, Volume

SIDE_PX = 384
"""The longer side of the picture."""
WHITE = (255, 255, 255)


class Preview:
    """Pictures of one case, one after another.

    Args:
        folder: gets ``preview-1.png``, ``preview-2.png``, ..., of which the last one stays.
        classes: their colours are those of the result; the reference is white.
    """

    def __init__(self, folder: Path, classes: Sequence[ClassCard]) -> None:
        self._folder = folder
        self._classes = classes
        self._picture: Array | None = None

    def take(self, image: Volume, pair: LabelPair, plane: str) -> None:
        """Draws the slice that shows most of the reference, as a network of a plane sees it."""
        orientation = network_orientation(image.geometry, plane)
        scan, found, reference = (orientation.apply(a) for a in (image.array, pair.predicted, pair.reference))
        labels = [item.label for item in self._classes]
        number = int(np.isin(reference, labels).sum(axis=(1, 2)).argmax())
        _, rows, columns = orientation.spacing(image.geometry)
        size = _size(scan.shape[1:], (rows, columns))
        grey = _resized(_grey(scan[number]), size)
        picture = np.repeat(grey[..., None], 3, axis=2)
        for item in self._classes:
            picture[_outline(reference[number] == item.label, size)] = WHITE
        for item in self._classes:
            picture[_outline(found[number] == item.label, size)] = item.color
        self._picture = picture

    def write(self) -> str | None:
        """Writes what was drawn last under a new name; returns its path. Raises OutputError."""
        if self._picture is None:
            return None
        before = _pictures(self._folder)
        path = self._folder / f"preview-{_number(before[-1]) + 1 if before else 1}.png"
        image = sitk.GetImageFromArray(self._picture, isVector=True)
        write_file(path, lambda beside: sitk.WriteImage(image, str(beside)))
        for old in before:
            old.unlink(missing_ok=True)
        return str(path)


def last_picture(folder: Path) -> Path | None:
    """The picture that was written last into a folder; None: there is none."""
    pictures = _pictures(folder)
    return pictures[-1] if pictures else None


def _pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("preview-*.png"), key=_number)


def _number(path: Path) -> int:
    return int(path.stem.split("-")[1])


def _size(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, int]:
    """(rows, columns) of a picture with square pixels."""
    rows, columns = (length * mm for length, mm in zip(shape, spacing, strict=True))
    longer = max(rows, columns)
    return max(1, round(SIDE_PX * rows / longer)), max(1, round(SIDE_PX * columns / longer))


def _grey(scan: Array) -> Array:
    values = np.array(scan, dtype=np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    scaled: Array = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    return scaled


def _resized(image: Array, size: tuple[int, int]) -> Array:
    larger = F.interpolate(torch.from_numpy(image)[None, None], size, mode="bilinear", align_corners=False)
    result: Array = larger[0, 0].numpy().astype(np.uint8)
    return result


def _outline(mask: Array, size: tuple[int, int]) -> Array:
    """The inner border, one pixel wide, of a mask (rows, columns) drawn in a size."""
    share = F.interpolate(torch.from_numpy(np.array(mask, dtype=np.float32))[None, None], size, mode="bilinear")
    inside = F.pad((share > 0.5).float(), (1, 1, 1, 1))
    smaller = -F.max_pool2d(-inside, 3, stride=1)
    border: Array = (inside[..., 1:-1, 1:-1] - smaller)[0, 0].numpy() > 0.5
    return border

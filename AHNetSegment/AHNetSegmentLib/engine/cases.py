"""Labelled cases, wherever they lie: an image, its label map, and which classes that label map speaks of."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..network.settings import IGNORE_LABEL
from .errors import RecipeError, VolumeError
from .image_io import IMAGE_SUFFIXES, image_name, label_maps, read_labels, read_volume
from .volume import Array, Geometry, Volume

AnyCase = TypeVar("AnyCase", bound="LabelledCase")

USES = ("auto", "training", "validation")


@dataclass(frozen=True)
class LabelledCase(ABC):
    """A labelled case.

    Attributes:
        name: of the case; what is written about a training holds it.
        labelled: labels of the classes that this case labels. A class that is not among them is unknown here: its
            voxels are background in the label map, and that does not count as background. None: all classes.
        use: ``training``, ``validation``, or ``auto``: as the training decides.
        group: cases of one group (a patient's, say) are used alike; empty: a group of its own.
    """

    name: str
    labelled: tuple[int, ...] | None = field(default=None, kw_only=True)
    use: str = field(default="auto", kw_only=True)
    group: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if self.use not in USES:
            raise ValueError(f"the use is {self.use!r}; known are {', '.join(USES)}")

    @abstractmethod
    def read_image(self) -> Volume:
        """The image.

        Raises:
            VolumeError: it cannot be used.
        """

    @abstractmethod
    def read_labels(self, image: Volume, values: Sequence[int]) -> Array:
        """The label map, uint8 (k, j, i) on the image's grid.

        Args:
            image: from :meth:`read_image`.
            values: the labels that may occur.

        Raises:
            VolumeError: it cannot be used.
        """

    @abstractmethod
    def stamp(self) -> str:
        """Changes when the case's voxels change; raises VolumeError where they are gone."""


@dataclass(frozen=True)
class Case(LabelledCase):
    """A case in files.

    Attributes:
        image: a file, or a folder with one DICOM series.
        labels: a label map.
        values: the label of each value in the file, all others being background; None: the values are the labels.
    """

    image: Path
    labels: Path
    values: Mapping[int, int] | None = None

    def read_image(self) -> Volume:
        return read_volume(self.image)

    def read_labels(self, image: Volume, values: Sequence[int]) -> Array:
        if self.values is None:
            return read_labels(self.labels, image, values)
        table = np.zeros(256, np.uint8)
        table[IGNORE_LABEL] = IGNORE_LABEL
        for value, label in self.values.items():
            table[value] = label
        mapped: Array = table[read_labels(self.labels, image)]
        return mapped

    def stamp(self) -> str:
        values = None if self.values is None else sorted(self.values.items())
        return repr([file_stamp(self.image), file_stamp(self.labels), values])


@dataclass(frozen=True)
class ArrayCase(LabelledCase):
    """A case in memory.

    Attributes:
        image: the image.
        labels: uint8 (k, j, i), on its grid.
    """

    image: Volume
    labels: Array

    def read_image(self) -> Volume:
        return self.image

    def read_labels(self, image: Volume, values: Sequence[int]) -> Array:
        return _checked(self.labels, image, values)

    def stamp(self) -> str:
        digest = hashlib.sha256(repr(self.image.geometry).encode("utf-8"))
        digest.update(self.image.modality.encode("utf-8"))
        for array in (self.image.array, self.labels):
            digest.update(repr((array.dtype, array.shape)).encode("utf-8"))
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class StoredCase(LabelledCase):
    """A case in a folder: ``image.npy`` and ``labels.npy``, (k, j, i).

    Attributes:
        folder: holds both, under no other names.
        geometry: of both.
        modality: DICOM's Modality of the image; empty: unknown.
    """

    folder: Path
    geometry: Geometry
    modality: str = ""

    def read_image(self) -> Volume:
        return Volume(self._array("image.npy"), self.geometry, self.name, self.modality)

    def read_labels(self, image: Volume, values: Sequence[int]) -> Array:
        return _checked(self._array("labels.npy"), image, values)

    def stamp(self) -> str:
        told = [self.modality] if self.modality else []
        return repr([file_stamp(self.folder / name) for name in ("image.npy", "labels.npy")] + told)

    def _array(self, name: str) -> Array:
        try:
            array: Array = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise VolumeError(
                f"{self.folder / name}, a copy of {self.name}, is missing or damaged; start the training anew."
            ) from error
        if array.shape != self.geometry.shape:
            raise VolumeError(
                f"{self.folder / name} has {array.shape} voxels, not {self.geometry.shape}; start the training anew."
            )
        return array


def find_cases(folder: Path) -> list[Case]:
    """The cases of a data folder: files of one name in ``images/`` and ``labels/``, sorted by name.

    Raises:
        RecipeError: there is none, or an image lacks its labels.
    """
    folder = Path(folder)
    labels = {image_name(path): path for path in _images(folder / "labels")}
    images = _images(folder / "images")
    no_scans = label_maps(images)
    cases = []
    for path in images:
        name = image_name(path)
        if name not in labels:
            if path in no_scans:
                continue
            raise RecipeError(f"{path} has no label file in {folder / 'labels'}; add one with the same name.")
        cases.append(Case(name, path, labels[name]))
    if not cases:
        raise RecipeError(f"{folder} holds no cases; put images into its folder images/, label maps into labels/.")
    return cases


def split_cases(cases: Sequence[AnyCase], validation: Sequence[str]) -> tuple[list[AnyCase], list[AnyCase]]:
    """Training and validation cases.

    Raises:
        RecipeError: a validation case is missing, or nothing is left to train on.
    """
    names = {case.name for case in cases}
    if missing := sorted(set(validation) - names):
        raise RecipeError(f"The validation case {missing[0]} is not among the data; correct the recipe or the folder.")
    chosen = set(validation)
    training = [case for case in cases if case.name not in chosen]
    if not training:
        raise RecipeError("Every case is a validation case; leave some for training in the recipe.")
    return training, [case for case in cases if case.name in chosen]


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(IMAGE_SUFFIXES) and not path.name.startswith(".") and path.is_file()
    )


def _checked(labels: Array, image: Volume, values: Sequence[int]) -> Array:
    if labels.shape != image.array.shape or labels.dtype != np.uint8:
        raise VolumeError(
            f"The label map of {image.name} has {labels.shape} voxels of {labels.dtype}; it must have "
            f"{image.array.shape} of uint8."
        )
    unknown = sorted({int(value) for value in np.unique(labels)} - set(values))
    if unknown:
        raise VolumeError(
            f"The label map of {image.name} holds the unknown labels {', '.join(map(str, unknown))}; expected are "
            f"{', '.join(map(str, sorted(values)))}."
        )
    return labels


def file_stamp(path: Path) -> list[int]:
    """Size and time of a file; of a folder, those of all files in it."""
    path = Path(path)
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        facts = [file.stat() for file in files]
    except OSError as error:
        raise VolumeError(f"{path} does not exist any more; put it back, or leave the case out.") from error
    return [value for fact in facts for value in (fact.st_size, fact.st_mtime_ns)]

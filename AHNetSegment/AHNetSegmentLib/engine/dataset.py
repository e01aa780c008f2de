"""Labelled cases for training: checked, preprocessed once into a cache, and cut into random batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..network.settings import IGNORE_LABEL
from .cases import LabelledCase
from .distribution import Processes
from .errors import RecipeError
from .files import new_folder
from .label_maps import LabelMapCase
from .modality import choose_intensity
from .orientation import network_orientation
from .patches import generated_patch, scanned_patch
from .preprocess import ModelGrid, intensity_map, labels_to_model, occupied
from .recipe import Recipe, Stage
from .volume import check_volume

CENTRES_PER_CLASS = 20_000


@dataclass(frozen=True)
class PreparedCase:
    """A case as training reads it: memory-mapped arrays on the model's grid.

    Attributes:
        name: the case's.
        image: (1, D, H, W) float16, normalised; None: images are generated from the labels.
        labels: (D, H, W) uint8; where images are generated, codes: see :attr:`.generation.Generation.values`.
        spacing: mm along (slices, rows, columns).
        centres: for each class that occurs, voxels (n, 3) that patches may be centred on.
        labelled: labels of the classes that the case labels; None: all.
        stamp: changes when what training reads of the case changes.
        folder: that the arrays are read from; None: they are in memory.
    """

    name: str
    image: np.ndarray | None
    labels: np.ndarray
    spacing: tuple[float, float, float]
    centres: tuple[np.ndarray, ...]
    labelled: tuple[int, ...] | None = None
    stamp: str = ""
    folder: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """For processes that prepare batches: they open the files themselves, where pickling would copy the voxels."""
        if self.folder is None:
            return PreparedCase, tuple(getattr(self, item.name) for item in fields(self))
        return _read_prepared, (self.folder, self.name, self.labelled, self.stamp)


def prepare_case(case: LabelledCase, recipe: Recipe, cache: Path) -> PreparedCase:
    """The case from the cache, where it is put first if it or the settings that decide its voxels have changed.

    Raises:
        VolumeError: image or labels cannot be used.
        OutputError: the cache cannot be written.
    """
    stamp = _fingerprint(case, recipe)
    folder = cache / f"{case.name}-{stamp}"
    if not folder.is_dir():
        _write_prepared(case, recipe, folder)
    return _read_prepared(folder, case.name, case.labelled, stamp)


def _read_prepared(folder: Path, name: str, labelled: tuple[int, ...] | None, stamp: str) -> PreparedCase:
    facts = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    labels = sorted(int(path.stem.split("-")[1]) for path in folder.glob("centres-*.npy"))
    return PreparedCase(
        name,
        np.load(folder / "image.npy", mmap_mode="r") if (folder / "image.npy").is_file() else None,
        np.load(folder / "labels.npy", mmap_mode="r"),
        tuple(facts["spacing"]),
        tuple(np.load(folder / f"centres-{label}.npy", mmap_mode="r") for label in labels),
        labelled,
        stamp,
        folder,
    )


def prepare_cases(
    cases: Sequence[LabelledCase], recipe: Recipe, cache: Path, progress: Callable[[int, int], None]
) -> list[PreparedCase]:
    """All cases through :func:`prepare_case`; ``progress(done, total)`` after each."""
    prepared = []
    for number, case in enumerate(cases, start=1):
        prepared.append(prepare_case(case, recipe, cache))
        progress(number, len(cases))
    return prepared


class BatchStream(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The batches of a stage: item n is the batch of step n, decided by seed, stage, step and rank alone.

    So a run that continues at step n, with any number of worker processes, sees what it would have seen.
    Each item is images (N, 1, d, h, w) float32, labels (N, d, h, w) uint8, and which classes each case labels:
    (N, C) bool, background first.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        recipe: Recipe,
        stage_index: int,
        first_step: int = 0,
        processes: Processes | None = None,
    ) -> None:
        self.cases = cases
        self.recipe = recipe
        self.stage_index = stage_index
        self.stage: Stage = recipe.stages[stage_index]
        self.first_step = first_step
        # One process's batches do not depend on there being a way to have several.
        self._rank = [processes.rank] if processes is not None and processes.count > 1 else []

    def __len__(self) -> int:
        return self.stage.steps - self.first_step

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.recipe.seed, self.stage_index, self.first_step + index, *self._rank])
        patches = [self._patch(rng) for _ in range(self.stage.batch)]
        images, labels, labelled = (torch.stack(parts) for parts in zip(*patches, strict=True))
        return images, labels, labelled

    def _patch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        settings = self.recipe.augmentation_of(self.stage)
        case = self.cases[int(rng.integers(len(self.cases)))]
        size, rule, generation = self.stage.patch, self.recipe.intensity, self.recipe.generation
        if case.image is None:
            assert generation is not None
            step = tuple(wanted or mm for wanted, mm in zip(self.recipe.spacing, case.spacing, strict=True))
            centre = self._centre(rng, case, np.array(settings.of_patch(step)) / case.spacing)
            image, labels = generated_patch(
                rng, case.labels, centre, case.spacing, size, (step[0], step[1], step[2]), settings, generation, rule
            )
        else:
            centre = self._centre(rng, case, np.array(settings.of_patch((1.0, 1.0, 1.0))))
            image, labels = scanned_patch(rng, case.image, case.labels, centre, case.spacing, size, settings, rule)
        return image, labels, self._labelled(case)

    def _labelled(self, case: PreparedCase) -> Tensor:
        labels = [0, *(item.label for item in self.recipe.classes)]
        return torch.tensor([label == 0 or case.labelled is None or label in case.labelled for label in labels])

    def _centre(self, rng: np.random.Generator, case: PreparedCase, voxel: np.ndarray) -> np.ndarray:
        """A voxel to centre a patch on; along an axis that the patch covers wholly, the middle of the volume.

        ``voxel`` is the size of the patch's voxels in those of the case.
        """
        shape = np.array(case.labels.shape)
        size = np.array(self.stage.patch) * voxel
        if case.centres and rng.random() < self.recipe.foreground:
            voxels = case.centres[int(rng.integers(len(case.centres)))]
            centre = voxels[rng.integers(len(voxels))].astype(float)
        else:
            centre = rng.uniform(-0.5, shape - 0.5)
        margin = (size - 1) / 2
        inside = np.clip(centre, margin, np.maximum(shape - 1 - margin, margin))
        return np.where(size >= shape, (shape - 1) / 2, inside)


def _fingerprint(case: LabelledCase, recipe: Recipe) -> str:
    facts: dict[str, Any] = {
        "voxels": case.stamp(),
        "plane": recipe.plane,
        "spacing": recipe.spacing,
        "intensity": asdict(recipe.intensity),
        "labels": recipe.labels,
    }
    if recipe.intensity_by_modality:
        facts["intensity_by_modality"] = [(name, asdict(rule)) for name, rule in recipe.intensity_by_modality]
    if recipe.generation is not None:
        # All that decides codes and centres; the grid is the label map's own.
        facts = {"voxels": case.stamp(), "values": recipe.generation.values, "merged": recipe.generation.merged}
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _write_prepared(case: LabelledCase, recipe: Recipe, folder: Path) -> None:
    image = None
    if recipe.generation is not None:
        if not isinstance(case, LabelMapCase):
            raise RecipeError(f"The recipe generates its images, but {case.name} is no label map; leave the case out.")
        codes, geometry = case.read_codes()
        orientation = network_orientation(geometry, recipe.plane)
        voxels, spacing = _without_air(orientation.apply(codes)), orientation.spacing(geometry)
        target = recipe.generation.classes_by_code()[voxels]
    else:
        image, target, spacing = _on_model_grid(case, recipe)
        voxels = target
    with new_folder(folder) as beside:
        if image is not None:
            np.save(beside / "image.npy", image)
        np.save(beside / "labels.npy", voxels)
        (beside / "case.json").write_text(json.dumps({"spacing": spacing}), encoding="utf-8")
        rng = np.random.default_rng(0)
        for label in np.unique(target):
            if label not in (0, IGNORE_LABEL):
                found = np.argwhere(target == label)
                chosen = rng.permutation(len(found))[:CENTRES_PER_CLASS]
                np.save(beside / f"centres-{label}.npy", found[np.sort(chosen)].astype(np.int16))


def _without_air(codes: np.ndarray) -> np.ndarray:
    """The smallest box (d, h, w) that holds all codes above 0: patches are to lie where there is something."""
    box = occupied(codes, 0)
    return np.ascontiguousarray(codes if box is None else codes[tuple(slice(*span) for span in box)])


def _on_model_grid(case: LabelledCase, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Image (1, D, H, W), normalised, float16, labels (D, H, W) and mm along the axes, as the network sees the case."""
    volume = case.read_image()
    check_volume(volume)
    names = case.read_labels(volume, recipe.labels)
    orientation = network_orientation(volume.geometry, recipe.plane)
    scan, labels = orientation.apply(volume.array), orientation.apply(names)
    spacing = orientation.spacing(volume.geometry)
    grid = ModelGrid.of(scan.shape, spacing, recipe.spacing)
    rule = choose_intensity(volume, recipe.intensity, recipe.intensity_by_modality).rule
    image = intensity_map(rule, scan).apply(grid.to_model(scan, 0, grid.model[0]))
    step = [mm * old / new for mm, old, new in zip(spacing, grid.scan, grid.model, strict=True)]
    return image[None].half().numpy(), labels_to_model(labels, grid).numpy(), (step[0], step[1], step[2])

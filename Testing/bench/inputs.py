"""What the bench segments and trains on, made once in its work folder from the labelled data."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from measuring import SPACING, back_and_forth, size_text

from AHNetSegmentLib.engine.card import ModelCard
from demo import BOX_MM, SIDES, TEMPLATE

Size = tuple[int, int, int]
CT_CASE = "case_0005"
TRAINING_CASES = ("case_0006", "case_0009")
AIR_HU = -1000
USUAL_CT = (512, 512, 300)


@dataclass(frozen=True)
class Scan:
    """A usual scan: what the table calls it, its file, and centre and size (RAS, mm) of a region of interest."""

    name: str
    path: Path
    roi: tuple[Sequence[float], Sequence[float]] | None = None


def bench_volume(data: Path, work: Path, size: Size) -> Path:
    """A CT (i, j, k) on the peers' grid, around the centre of a case, air beyond it: int16 .npy (k, j, i)."""
    path = work / f"volume-{size_name(size)}.npy"
    if not path.is_file():
        image = sitk.ReadImage(str(data / "abdomen-ct" / "images" / f"{CT_CASE}.nii.gz"))
        np.save(path, sitk.GetArrayFromImage(_middle(image, size, SPACING, AIR_HU)))
    return path


def usual_scan(card: ModelCard, data: Path, work: Path, ct: Size, head: int, cine: Size) -> Scan | None:
    """The scan that users of a model most often have, or the middle of it; None where there is none of its kind.

    Args:
        card: of the model.
        data: labelled data.
        work: folder for the file.
        ct: (i, j, k) of a CT, with the voxels of ``USUAL_CT`` over the field of view of a case.
        head: voxels of 1 mm of a T1 head along each axis, from the MNI152 template that nilearn ships.
        cine: (i, j, k) of a cine MR, of a case's slices back and forth.
    """
    if card.modality == "CT":
        path = work / f"ct-{size_name(ct)}.nrrd"
        if not path.is_file():
            image = sitk.ReadImage(str(data / "abdomen-ct" / "images" / f"{CT_CASE}.nii.gz"))
            field = zip(image.GetSize(), image.GetSpacing(), USUAL_CT, strict=True)
            _write(path, _middle(image, ct, [length * step / voxels for length, step, voxels in field]))
        return Scan(f"CT {size_text(ct)}", path)
    if "cine" in card.name:
        path = work / f"cine-{size_name(cine)}.nrrd"
        if not path.is_file():
            image = _back_and_forth(sorted((data / "cardiac-cine" / "images").iterdir())[0], cine[2])
            _write(path, _middle(image, cine, image.GetSpacing()))
        return Scan(f"cine MR {size_text(cine)}", path)
    path = work / f"head-{head}.nrrd"
    if not path.is_file():
        template = _template()
        if template is None:
            return None
        _write(path, _middle(sitk.ReadImage(str(template)), (head, head, head), (1.0, 1.0, 1.0)))
    name = f"T1 head {size_text((head, head, head))}"
    if "hippocampus" not in card.name:
        return Scan(name, path)
    return Scan(f"{name}, region of interest", path, (SIDES[0].center, BOX_MM))


def training_cases(data: Path, work: Path) -> Path:
    """A folder with few of the abdomen's cases, by links: enough for weights that are compared and not used."""
    folder = work / "cases"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for case in TRAINING_CASES:
            link = folder / kind / f"{case}.nii.gz"
            if not link.exists():
                link.symlink_to((data / "abdomen-ct" / kind / link.name).resolve())
    return folder


def _back_and_forth(path: Path, slices: int) -> sitk.Image:
    """A volume whose slices are repeated to so many."""
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    longer = sitk.GetImageFromArray(back_and_forth(array, slices))
    longer.SetSpacing(image.GetSpacing())
    longer.SetOrigin(image.GetOrigin())
    longer.SetDirection(image.GetDirection())
    return longer


def _template() -> Path | None:
    # Not imported: what nilearn itself needs is not installed.
    found = importlib.util.find_spec("nilearn")
    paths = [Path(folder) / TEMPLATE for folder in (found.submodule_search_locations or ())] if found else []
    return next((path for path in paths if path.is_file()), None)


def _middle(image: sitk.Image, size: Size, spacing: Sequence[float], outside: float | None = None) -> sitk.Image:
    """So many voxels of some spacing around an image's centre, int16; beyond it its smallest value or another."""
    middle = image.TransformContinuousIndexToPhysicalPoint([(length - 1) / 2 for length in image.GetSize()])
    grid = sitk.Image(size, sitk.sitkInt16)
    grid.SetSpacing([float(step) for step in spacing])
    grid.SetDirection(image.GetDirection())
    corner = grid.TransformContinuousIndexToPhysicalPoint([(length - 1) / 2 for length in size])
    grid.SetOrigin([a - b for a, b in zip(middle, corner, strict=True)])
    low = float(sitk.GetArrayViewFromImage(image).min()) if outside is None else outside
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, low, sitk.sitkInt16)


def _write(path: Path, image: sitk.Image) -> None:
    beside = path.with_name(f"beside-{path.name}")
    sitk.WriteImage(image, str(beside))
    beside.replace(path)


def size_name(size: Sequence[int]) -> str:
    """``512x512x100``, for names of files."""
    return "x".join(str(length) for length in size)

"""What slices in another plane than the model's cost, on labelled data beside the repository: ``make bench-planes``.

Held-out cases are cut anew into axial, coronal and sagittal slices, each voxel the mean of what it covers, and each is
measured on its own grid against labels cut alike. Thick slices cost something in every plane: what counts is the
distance to axial ones of the same thickness.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "AHNetSegment"))

import numpy as np

from AHNetSegmentLib.engine.build import evaluate_model
from AHNetSegmentLib.engine.card import label_values
from AHNetSegmentLib.engine.cases import ArrayCase, Case, find_cases
from AHNetSegmentLib.engine.package import Model, find_model, load_model
from AHNetSegmentLib.engine.text_table import text_table
from AHNetSegmentLib.engine.volume import Array, Geometry, Volume

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""Each with the axis of LPS that its slices lie across."""
THICKNESSES = {"hippocampus-t1": (1.0, 1.6, 3.0, 5.0), "abdomen-ct": (3.0, 5.0), "cardiac-cine": (8.0,)}
"""mm."""
CASES = {"hippocampus-t1": 10, "abdomen-ct": 2, "cardiac-cine": 6}
"""So many of the validation cases."""
COST = 0.03
"""More Dice than this must a plane not cost."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--models", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--cases", type=int, default=0, help="of each model (default: 10, 2 and 6)")
    options = parser.parse_args()
    rows = []
    for name in options.models:
        model = load_model(find_model(name))
        cases = held_out(model, options.data / name, options.cases or CASES[name])
        for thickness in THICKNESSES[name]:
            dice = {plane: measured(model, cases, plane, thickness) for plane in PLANES}
            cost = dice["axial"] - min(dice.values())
            cells = [f"{value:.3f}" for value in dice.values()]
            verdict = "reached" if cost <= COST else "NOT REACHED"
            rows.append([name, f"{len(cases)}", f"{thickness:g} mm", *cells, f"{cost:.3f}", verdict])
            print(*rows[-1], file=sys.stderr, flush=True)
    print(text_table(["Model", "Cases", "Slices", *PLANES, "Cost", f"Target {COST:g}"], rows))


def held_out(model: Model, data: Path, count: int) -> list[Case]:
    """So many validation cases of a model, evenly spread over them."""
    names = model.card.training["validation_cases"]
    chosen = [names[round(place)] for place in np.linspace(0, len(names) - 1, count)]
    return [case for case in find_cases(data) if case.name in chosen]


def measured(model: Model, cases: Sequence[Case], plane: str, thickness: float) -> float:
    """Mean Dice on cases in slices of a plane and thickness (mm)."""
    cut = turned if model.card.name == "cardiac-cine" else sliced
    return evaluate_model(model, [cut(case, model, plane, thickness) for case in cases], distances=False).mean_dice


def sliced(case: Case, model: Model, plane: str, thickness: float) -> ArrayCase:
    """A case in slices of a plane and thickness (mm), whose pixels are square and as fine as the scan's."""
    image = case.read_image()
    values = label_values(model.card.classes)
    labels = case.read_labels(image, values)
    spacing = image.geometry.spacing[::-1]
    across = int(np.abs(np.reshape(image.geometry.direction, (3, 3))[PLANES[plane], ::-1]).argmax())
    step = [thickness if axis == across else min(spacing) for axis in range(3)]
    array = resampled(image.array.astype(np.float32), spacing, step)
    best, found = np.zeros(array.shape, np.float32), np.zeros(array.shape, np.uint8)
    for value in sorted({int(value) for value in np.unique(labels)}):
        share = resampled((labels == value).astype(np.float32), spacing, step)
        larger = share > best
        best[larger], found[larger] = share[larger], value
    # The edges of both grids coincide, not the centres of their first voxels.
    moved = [(new / old - 1) / 2 for new, old in zip(step, spacing, strict=True)][::-1]
    i, j, k = (image.geometry.ijk_to_lps() @ [*moved, 1])[:3]
    geometry = Geometry(array.shape[::-1], (step[2], step[1], step[0]), (i, j, k), image.geometry.direction)
    return ArrayCase(case.name, Volume(array, geometry, case.name), found)


def resampled(array: Array, spacing: Sequence[float], step: Sequence[float]) -> Array:
    """The array at another spacing (mm along its axes): linear where that is finer, else the mean of what it covers."""
    for axis, (old, new) in enumerate(zip(spacing, step, strict=True)):
        length = array.shape[axis]
        count = int(length * old / new + 1e-6)
        if abs(new / old - 1) < 1e-3:
            continue
        array = np.moveaxis(array, axis, 0)
        if new < old:
            places = np.clip((np.arange(count) + 0.5) * new / old - 0.5, 0, length - 1)
            array = between(array, places)
        else:
            sums = np.concatenate([np.zeros_like(array[:1]), np.cumsum(array, axis=0, dtype=np.float64)])
            array = np.diff(between(sums, np.arange(count + 1) * new / old), axis=0) * (old / new)
        array = np.moveaxis(array, 0, axis)
    return np.ascontiguousarray(array, np.float32)


def between(array: Array, places: Array) -> Array:
    """Values at places (in samples) along the first axis, linearly."""
    low = np.minimum(np.floor(places).astype(int), len(array) - 2)
    share = (places - low).reshape(-1, *[1] * (array.ndim - 1))
    values: Array = array[low] * (1 - share) + array[low + 1] * share
    return values


def turned(case: Case, model: Model, plane: str, thickness: float) -> ArrayCase:
    """A case whose header says that its slices lie in a plane: a model of any plane does not mind."""
    image = case.read_image()
    labels = case.read_labels(image, label_values(model.card.classes))
    across = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (2, 1, 0)}[plane]
    direction = np.eye(3)[:, across]
    geometry = replace(image.geometry, direction=tuple(float(value) for value in direction.ravel()))
    return ArrayCase(case.name, replace(image, geometry=geometry), labels)


if __name__ == "__main__":
    main()

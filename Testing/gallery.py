"""Pictures of each bundled model, of a case that its training never saw: ``make gallery``.

Drawn by Slicer's own views from the labelled data beside the repository; goes into Resources/Screenshots.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in (REPOSITORY / "AHNetSegment", REPOSITORY / "Testing"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from AHNetSegmentLib.engine.cases import Case, find_cases
from AHNetSegmentLib.engine.inference import segment
from AHNetSegmentLib.engine.package import Model, find_model, load_model
from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node
from AHNetSegmentLib.scene.volumes import volume_from_node
from rendering import render_3d, render_slices
from slicer_app import slicer_app

PICTURES = REPOSITORY / "Resources" / "Screenshots"
CASES = {"abdomen-ct": "case_0005", "cardiac-cine": "SC-N-05_f07", "hippocampus-t1": "hippocampus_053"}
CONTEXT_MM = {"abdomen-ct": 15.0, "cardiac-cine": 40.0, "hippocampus-t1": 6.0}
PIXELS = 400


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AHNET_SHARED", REPOSITORY.parent / "shared")))
    parser.add_argument("--output", type=Path, default=PICTURES)
    parser.add_argument("models", nargs="*", default=[name for name in CASES if _is_bundled(name)])
    options = parser.parse_args(arguments)
    app = slicer_app()
    for name in options.models:
        model = load_model(find_model(name))
        cases = {case.name: case for case in find_cases(options.data / "data" / name)}
        slices, surfaces = (options.output / f"{name}-{view}.png" for view in ("slices", "3d"))
        draw(app, model, cases[CASES[name]], slices, surfaces, CONTEXT_MM[name])
        print(slices, surfaces)


def draw(app: Any, model: Model, case: Case, slices: Path, surfaces: Path, context_mm: float) -> None:
    """Writes what a model finds in a case that it has not seen, in three slices and as surfaces.

    Raises:
        ValueError: the model's training has seen the case.
    """
    if case.name not in model.card.training["validation_cases"]:
        raise ValueError(f"{case.name} is no validation case of {model.card.name}")
    app.scene.Clear(False)
    (volume_node,) = app.io_manager.load_volumes([str(case.image)])
    result = segment(volume_from_node(volume_node), model)
    segmentation_node = new_segmentation_node(volume_node, model.card.title)
    add_segments(segmentation_node, result.labels, volume_node, result.classes)
    render_slices(app, volume_node, segmentation_node, slices, context_mm=context_mm, pixels=PIXELS)
    render_3d(app, segmentation_node, surfaces)


def _is_bundled(name: str) -> bool:
    return (REPOSITORY / "Resources" / "Models" / name / "model.json").is_file()


if __name__ == "__main__":
    main()

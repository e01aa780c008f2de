"""Pictures of each bundled model, of cases that its training never saw: ``make gallery``.

One case of each in slices and 3D, and the case in which a class came out worst, beside its labels. Drawn by Slicer's
own views from the labelled data beside the repository; goes into Resources/Screenshots.
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

from AHNetSegmentLib.engine.card import label_values
from AHNetSegmentLib.engine.cases import Case, find_cases
from AHNetSegmentLib.engine.inference import segment
from AHNetSegmentLib.engine.package import Model, find_model, load_model, model_folders
from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node
from AHNetSegmentLib.scene.volumes import volume_from_node
from rendering import largest_cuts, render_3d, render_slices, segment_points
from slicer_app import slicer_app

PICTURES = REPOSITORY / "Resources" / "Screenshots"
CASES = {"abdomen-ct": "case_0005", "cardiac-cine": "SC-N-05_f07", "hippocampus-t1": "hippocampus_053"}
CONTEXT_MM = {"abdomen-ct": 15.0, "cardiac-cine": 40.0, "hippocampus-t1": 6.0}
PIXELS = 400


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AHNET_SHARED", REPOSITORY.parent / "shared")))
    parser.add_argument("--output", type=Path, default=PICTURES)
    parser.add_argument("models", nargs="*", default=[folder.name for folder in model_folders()])
    options = parser.parse_args(arguments)
    app = slicer_app()
    for name in options.models:
        model = load_model(find_model(name))
        cases = {case.name: case for case in find_cases(options.data / "data" / name)}
        context_mm = CONTEXT_MM[name]
        found, _, volume_node = show(app, model, cases[CASES[name]])
        render_slices(
            app, volume_node, found, options.output / f"{name}-slices.png", context_mm=context_mm, pixels=PIXELS
        )
        render_3d(app, found, options.output / f"{name}-3d.png")
        worst = min((item["dice"] for item in model.card.figures["classes"]), key=lambda dice: dice["worst"])
        found, reference, volume_node = show(app, model, cases[worst["worst_case"]])
        center = largest_cuts(segment_points(reference, volume_node))
        for node, what in ((found, "found"), (reference, "labels")):
            for other in (found, reference):
                other.GetDisplayNode().SetVisibility(other is node)
            path = options.output / f"{name}-worst-{what}.png"
            render_slices(app, volume_node, node, path, center=center, context_mm=context_mm, pixels=PIXELS)
        print(f"{name}: {CASES[name]}; worst is {worst['worst_case']}")


def show(app: Any, model: Model, case: Case) -> tuple[Any, Any, Any]:
    """What a model finds in a case that it has not seen, in an empty scene.

    Returns:
        The segmentation found, the case's labels as a segmentation, the volume node.

    Raises:
        ValueError: the model's training has seen the case.
    """
    if case.name not in model.card.training["validation_cases"]:
        raise ValueError(f"{case.name} is no validation case of {model.card.name}")
    app.scene.Clear(False)
    (volume_node,) = app.io_manager.load_volumes([str(case.image)])
    volume = volume_from_node(volume_node)
    found = new_segmentation_node(volume_node, model.card.title)
    result = segment(volume, model)
    add_segments(found, result.labels, volume_node, result.classes)
    reference = new_segmentation_node(volume_node, "Labels")
    labels = case.read_labels(volume, label_values(model.card.classes))
    add_segments(reference, labels, volume_node, result.classes)
    reference.GetDisplayNode().SetVisibility(False)
    return found, reference, volume_node


if __name__ == "__main__":
    main()

"""Segments both hippocampi of a real T1 head in a real Slicer scene, without Slicer: ``make demo``.

The head is the MNI152 2009a T1 template that comes in nilearn's wheel. Writes a segmentation that Slicer opens, a
report and two pictures.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in (REPOSITORY / "AHNetSegment", REPOSITORY / "Testing"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import numpy as np

from AHNetSegmentLib.engine.card import ClassCard, Code
from AHNetSegmentLib.engine.errors import AHNetSegmentError, OutputError, VolumeError

TEMPLATE = Path("datasets", "data", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
TEMPLATE_NAME = "MNI152 2009a T1 template"
BOX_MM = (35.0, 51.0, 41.0)
"""R-L, A-P, S-I: as the crops that the model was trained on, but higher, since the template's brain is large."""


@dataclass(frozen=True)
class Side:
    """One side of the body.

    Attributes:
        name: Left or Right.
        center: of its hippocampus in the template, RAS, mm.
        code: the modifier of the segments' terminology.
        lightness: how far the colours are moved towards white, to tell the sides apart.
    """

    name: str
    center: tuple[float, float, float]
    code: Code
    lightness: float


SIDES = (
    Side("Left", (-27.0, -22.0, -12.5), Code("SCT", "7771000", "Left"), 0.0),
    Side("Right", (27.0, -22.0, -12.5), Code("SCT", "24028007", "Right"), 0.4),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--output", type=Path, default=REPOSITORY / "demo", help="folder for the results")
    parser.add_argument("--model", default="hippocampus-t1", help="name or folder of a model")
    options = parser.parse_args(arguments)
    try:
        run(options.output, options.model)
    except AHNetSegmentError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(output: Path, model_name: str) -> None:
    """Segments, reports, draws.

    Raises:
        AHNetSegmentError: the template or the model is missing, or a file cannot be written.
    """
    from AHNetSegmentLib.engine.inference import InferenceSettings, segment
    from AHNetSegmentLib.engine.package import find_model, load_model
    from AHNetSegmentLib.engine.report import merge_reports, segmentation_report, write_html, write_json
    from AHNetSegmentLib.scene.rois import region_from_roi
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node
    from AHNetSegmentLib.scene.volumes import volume_from_node
    from rendering import render_3d, render_slices
    from slicer_app import slicer_app

    model = load_model(find_model(model_name))
    app = slicer_app()
    volume_node = load_template(app)
    volume = volume_from_node(volume_node)
    segmentation_node = new_segmentation_node(volume_node, "Hippocampi")
    parts = []
    for side in SIDES:
        region = region_from_roi(add_box(app.scene, side), volume)
        result = segment(volume, model, InferenceSettings(region=region, keep_largest=True))
        result.classes = tuple(of_side(item, side) for item in result.classes)
        add_segments(segmentation_node, result.labels, volume_node, result.classes)
        parts.append((f"{side.name} side", segmentation_report(result, model.card, volume.name)))

    output.mkdir(parents=True, exist_ok=True)
    save_segmentation(segmentation_node, volume_node, output / "hippocampi.seg.nrrd")
    render_slices(app, volume_node, segmentation_node, output / "slices.png")
    render_3d(app, segmentation_node, output / "3d.png", volume_node=volume_node)
    report = merge_reports(parts)
    write_json(output / "report.json", report)
    pictures = [
        ("Axial, coronal and sagittal; the patient's left is on the right", output / "slices.png"),
        ("Surfaces, seen from the front and the left", output / "3d.png"),
    ]
    write_html(output / "report.html", report, pictures)
    print_volumes(report)
    for name in ("hippocampi.seg.nrrd", "report.html", "report.json", "slices.png", "3d.png"):
        print(output / name)


def load_template(app: Any) -> Any:
    """The T1 template as volume node.

    Raises:
        VolumeError: nilearn is not installed, or has no such file.
    """
    # Not imported: what nilearn itself needs is not installed.
    found = importlib.util.find_spec("nilearn")
    paths = [Path(folder) / TEMPLATE for folder in (found.submodule_search_locations or ())] if found else []
    if not any(path.is_file() for path in paths):
        raise VolumeError(f"{TEMPLATE_NAME} is missing; install nilearn without its dependencies, as make demo does.")
    (node,) = app.io_manager.load_volumes([str(next(path for path in paths if path.is_file()))])
    node.SetName(TEMPLATE_NAME)
    return node


def add_box(scene: Any, side: Side) -> Any:
    """A Markups ROI around the hippocampus of one side, shown as a thin frame in slices."""
    box = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", f"{side.name} hippocampus box")
    box.SetCenter(*side.center)
    box.SetSize(*BOX_MM)
    box.CreateDefaultDisplayNodes()
    display = box.GetDisplayNode()
    display.SetFillVisibility(False)
    display.SetPropertiesLabelVisibility(False)
    display.SetHandlesInteractive(False)
    display.SetVisibility3D(False)
    display.SetColor(1.0, 1.0, 1.0)
    display.SetSelectedColor(1.0, 1.0, 1.0)
    display.SetOpacity(0.6)
    display.SetGlyphScale(0.01)
    return box


def of_side(item: ClassCard, side: Side) -> ClassCard:
    """A class of the model, as part of one side: named, coded and coloured so."""
    red, green, blue = (round(value + side.lightness * (255 - value)) for value in item.color)
    return replace(
        item,
        name=f"{side.name} {item.name[0].lower()}{item.name[1:]}",
        color=(red, green, blue),
        terminology=replace(item.terminology, modifier=side.code),
    )


def save_segmentation(segmentation_node: Any, volume_node: Any, path: Path) -> None:
    """Saves by Slicer's own storage node, and checks that the file opens again with the same segments.

    Raises:
        OutputError: it could not be written, or reads differently.
    """
    import slicer

    from AHNetSegmentLib.scene.labels import labels_from_segments

    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    again = segmentation_node.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", "Read again")
    try:
        written = storage.WriteData(segmentation_node) and storage.ReadData(again)
        same = written and described(again) == described(segmentation_node)
        if not same or not np.array_equal(
            labels_from_segments(again, volume_node), labels_from_segments(segmentation_node, volume_node)
        ):
            raise OutputError(f"{path} could not be written; choose a folder that you may write to, with free space.")
    finally:
        segmentation_node.GetScene().RemoveNode(again)


def described(segmentation_node: Any) -> list[tuple[str, str]]:
    """Name and terminology of each segment."""
    segmentation = segmentation_node.GetSegmentation()
    segments = [segmentation.GetNthSegment(number) for number in range(segmentation.GetNumberOfSegments())]
    return [(segment.GetName(), segment.GetTerminology()) for segment in segments]


def print_volumes(report: dict[str, Any]) -> None:
    """Prints mL per segment and per side, with the report's checks and warnings."""
    for part in report["runs"]:
        for found in part["segments"]:
            print(f"{found['segment']:36}{found['ml']:7.2f} mL")
        print(f"{part['title']:36}{part['total_ml']:7.2f} mL")
        for remark in (*part["checks"], *part["warnings"]):
            print(f"  {remark}")


if __name__ == "__main__":
    sys.exit(main())

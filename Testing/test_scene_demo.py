"""The demo, in parts and as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer")
pytest.importorskip("trame_slicer")
import demo
import driver
from AHNetSegmentLib.engine.errors import OutputError
from AHNetSegmentLib.engine.volume import Region
from AHNetSegmentLib.scene.rois import region_from_roi
from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node
from AHNetSegmentLib.scene.volumes import volume_from_node
from scene_helpers import two_classes, two_labels, volume_node


def test_a_class_of_one_side_says_so_in_name_code_and_colour() -> None:
    left, right = (demo.of_side(two_classes()[0], side) for side in demo.SIDES)
    assert (left.name, right.name) == ("Left anterior", "Right anterior")
    assert left.terminology.entry().split("~")[3] == "SCT^7771000^Left"
    assert right.terminology.entry().split("~")[3] == "SCT^24028007^Right"
    assert left.color != right.color


def test_the_boxes_lie_mirrored_on_the_template_and_have_the_size_of_the_training_crops(app: Any, scene: Any) -> None:
    volume = volume_from_node(demo.load_template(app))
    left, right = (region_from_roi(demo.add_box(scene, side), volume) for side in demo.SIDES)
    assert volume.geometry.size == (197, 233, 189)
    assert [stop - start for start, stop in zip(left.start, left.stop, strict=True)] == [35, 51, 42]
    # The template's i runs to the right and x = 0 is i = 98.
    assert left == Region((54, 87, 39), (89, 138, 81))
    assert right == Region((108, 87, 39), (143, 138, 81))


@pytest.mark.logs_errors
def test_a_segmentation_that_cannot_be_saved_is_said_so(scene: Any, tmp_path: Path) -> None:
    volume = volume_node()
    node = new_segmentation_node(volume, "Hippocampi")
    add_segments(node, two_labels(), volume, two_classes())
    demo.save_segmentation(node, volume, tmp_path / "there.seg.nrrd")
    assert (tmp_path / "there.seg.nrrd").stat().st_size > 100
    with pytest.raises(OutputError, match="could not be written; choose a folder"):
        demo.save_segmentation(node, volume, tmp_path / "missing" / "there.seg.nrrd")
    driver.noted_errors().clear()  # VTK's own complaint
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_without_the_model_the_demo_says_which_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--output", str(tmp_path), "--model", "spleen-ct"]) == 1
    assert capsys.readouterr().err.startswith("There is no model spleen-ct; choose one of these")


def test_the_demo_finds_two_hippocampi_of_a_plausible_and_similar_size(
    app: Any, scene: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    names = ("hippocampi.seg.nrrd", "report.json", "report.html", "slices.png", "3d.png")
    assert all((tmp_path / name).stat().st_size > 1000 and str(tmp_path / name) in printed for name in names)
    runs = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["runs"]
    left, right = (run["total_ml"] for run in runs)
    assert left == pytest.approx(sum(found["ml"] for found in runs[0]["segments"]), abs=1e-3)
    assert 2 < left < 6
    assert 2 < right < 6
    assert abs(left - right) < 0.25 * min(left, right)
    for run, side in zip(runs, demo.SIDES, strict=True):
        for found in run["segments"]:
            assert found["ml"] > 0.5
            assert found["segment"].startswith(side.name)
            assert found["centroid_ras_mm"][0] == pytest.approx(side.center[0], abs=6)
        anterior, posterior = (found["centroid_ras_mm"] for found in run["segments"])
        assert anterior[1] > posterior[1] + 8
        assert anterior[2] < posterior[2]

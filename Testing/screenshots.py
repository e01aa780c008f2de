"""Pictures of the panel before, during and after a run, for README and index: ``make screenshots``.

The panel is the real one, on real Qt off screen (Testing/host); the head is that of ``make demo``.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in (REPOSITORY / "AHNetSegment", REPOSITORY / "Testing"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import host
from demo import SIDES, add_box, load_template
from scene_helpers import volume_node
from slicer_app import slicer_app

PICTURES = REPOSITORY / "Resources" / "Screenshots"
WIDTH = 440
SECONDS = 120


def main() -> None:
    host.start()
    widget = host.create_widget(host.load_module(REPOSITORY / "AHNetSegment" / "AHNetSegment.py"))
    app = slicer_app()
    parameters = widget.logic.getParameterNode()
    parameters.inputVolume = load_template(app)
    parameters.model = "hippocampus-t1"
    picture(widget, "panel-doubt.png", 600)
    parameters.roi = add_box(app.scene, SIDES[0])
    picture(widget, "panel.png", 600)
    host.click(widget.ui.segmentButton)
    host.pump(lambda: widget.ui.progressBar.value > 0 or not widget.panel.busy, SECONDS)
    picture(widget, "panel-running.png", 600)
    host.pump(lambda: not widget.panel.busy, SECONDS)
    widget.ui.advancedSection.collapsed = False
    widget.ui.segmentsSection.collapsed = False
    picture(widget, "panel-result.png", 1240)
    train(widget, parameters.inputVolume)
    host.close_widget(widget)
    host.pump(lambda: False, 1)
    assert not host.messages, host.messages


def train(widget: Any, head: Any) -> None:
    """A training in the middle, on pieces of the head with the model's own segments as labels."""
    from AHNetSegmentLib.scene.library import set_library_folder

    for number, (side, shift) in enumerate(itertools.product(SIDES, (-3, 0, 3)), start=1):
        piece = piece_of(head, side, shift, f"Case {number}")
        widget.logic.segment(piece, model="hippocampus-t1").SetName(f"Labels {number}")
    with tempfile.TemporaryDirectory() as library:
        set_library_folder(Path(library))
        own = widget.ownModels
        for section in ("inputSection", "modelSection", "outputSection", "advancedSection", "resultSection"):
            getattr(widget.ui, section).collapsed = True
        own.section.collapsed = False
        host.click(own.cases.ui.addAllCasesButton)
        host.pump(lambda: not own.cases.problems(), SECONDS)
        assert host.choose(own.training.ui.baseSelector, "Hippocampus (T1 MR)")
        own.training.ui.newTitleEdit.text = "Hippocampus, our scanner"
        own.training.ui.stepsSpinBox.value = 400
        host.pump(lambda: own.training.ui.trainButton.enabled, SECONDS)
        host.click(own.training.ui.trainButton)
        host.pump(lambda: own.training.ui.trainProgressBar.value >= 130 or not own.training.busy, 5 * SECONDS)
        picture(widget, "panel-training.png", 1700)
        own.training.close()
        set_library_folder(None)


def piece_of(head: Any, side: Any, shift_mm: float, name: str) -> Any:
    """A volume node with a piece of the head around one hippocampus."""
    from AHNetSegmentLib.engine.volume import crop
    from AHNetSegmentLib.scene.rois import region_from_roi
    from AHNetSegmentLib.scene.transforms import RAS_TO_LPS
    from AHNetSegmentLib.scene.volumes import volume_from_node

    box = add_box(head.GetScene(), replace(side, center=tuple(value + shift_mm for value in side.center)))
    volume = volume_from_node(head)
    piece = crop(volume, region_from_roi(box, volume))
    head.GetScene().RemoveNode(box)
    return volume_node(piece.array, RAS_TO_LPS @ piece.geometry.ijk_to_lps(), name)


def picture(widget: object, name: str, height: int) -> None:
    """Writes what the panel shows now, as high as its texts need: Slicer's scroll area gives it that height."""
    widget.parent.resize(WIDTH, max(height, widget.parent.heightForWidth(WIDTH)))  # type: ignore[attr-defined]
    host.pump(lambda: False, 0.2)
    host.grab(widget.parent, PICTURES / name)  # type: ignore[attr-defined]
    print(PICTURES / name)


if __name__ == "__main__":
    main()

"""Pictures of the panel before, during and after a run, for README and index: ``make screenshots``.

The panel is the real one, on real Qt off screen (Testing/host); the head is that of ``make demo``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in (REPOSITORY / "AHNetSegment", REPOSITORY / "Testing"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import host
from demo import SIDES, add_box, load_template
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
    host.close_widget(widget)
    host.pump(lambda: False, 1)
    assert not host.messages, host.messages


def picture(widget: object, name: str, height: int) -> None:
    """Writes what the panel shows now."""
    widget.parent.resize(WIDTH, height)  # type: ignore[attr-defined]
    host.pump(lambda: False, 0.2)
    host.grab(widget.parent, PICTURES / name)  # type: ignore[attr-defined]
    print(PICTURES / name)


if __name__ == "__main__":
    main()

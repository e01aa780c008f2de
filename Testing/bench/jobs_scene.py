"""Jobs in the real panel on real Qt, with a real scene and the real worker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import seconds_of

REPOSITORY = Path(__file__).resolve().parents[2]
LONGEST_S = 1200


def clicks(volume: str, model: str, rounds: int, roi: tuple[list[float], list[float]] | None = None) -> dict[str, Any]:
    """Clicks on Segment: the first one without any worker process, the others with one that knows the model.

    Args:
        volume: file.
        model: folder of a model.
        rounds: clicks after the first one.
        roi: centre (RAS) and size in mm of a Markups ROI; None: the whole volume.

    Returns:
        ``cold`` and ``warm`` (a list): seconds of each step of the run report, and ``wall`` from the click to the
        segments in the scene; ``blocked_ms``: the longest time for which the event loop stood still;
        ``surface_seconds``: to make the surfaces for the 3D view; ``precision``.
    """
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    import host
    from slicer_app import slicer_app

    host.start()
    scene = slicer_app().scene
    widget = host.create_widget(host.load_module(REPOSITORY / "AHNetSegment" / "AHNetSegment.py"))
    widget.logic.shelf.add_root(Path(model).parent)
    widget.panel.list_models()
    parameters = widget.logic.getParameterNode()
    (parameters.inputVolume,) = slicer_app().io_manager.load_volumes([volume])
    parameters.model = Path(model).name
    if roi is not None:
        box = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
        box.SetCenter(*roi[0])
        box.SetSize(*roi[1])
        parameters.roi = box
    host.pump(lambda: False, 0.5)
    widget.worker.stop()
    host.pump(lambda: widget.worker.state == "off", 5)
    assert widget.worker.state == "off"
    finished: list[Any] = []
    show = widget.panel.results.show

    def remember(done: Any) -> None:
        finished.append(done)
        show(done)

    widget.panel.results.show = remember
    runs, blocked = [], []
    for _ in range(1 + rounds):
        if finished:
            scene.RemoveNode(finished[-1].segmentation_node)
        parameters.outputSegmentation = None
        told = len(finished)
        began = time.perf_counter()
        # To whether a volume that looks odd is to be segmented all the same.
        host.answers.append(True)
        with host.event_loop_gaps() as gaps:
            assert host.click(widget.ui.segmentButton)
            host.pump(lambda: not widget.panel.busy, LONGEST_S)
        wall = time.perf_counter() - began
        host.answers.clear()
        assert len(finished) == told + 1, (host.messages, widget.worker.log)
        runs.append({**finished[-1].report["runs"][0]["seconds"], "wall": wall})
        blocked.append(gaps.largest_ms)
    done = finished[-1]
    surfaces = seconds_of(done.segmentation_node.CreateClosedSurfaceRepresentation)
    host.close_widget(widget)
    host.pump(lambda: widget.worker.state == "off", 5)
    return {
        "cold": runs[0],
        "warm": runs[1:],
        "blocked_ms": max(blocked[1:]),
        "surface_seconds": surfaces,
        "device": done.device,
        "precision": done.precision,
    }


JOBS: dict[str, Callable[..., dict[str, Any]]] = {"clicks": clicks}

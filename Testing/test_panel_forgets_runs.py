"""A run that is over is forgotten: in Slicer the memory of a scan is missed by the next one."""

from __future__ import annotations

import gc
from typing import Any

import driver

driver.require()

RUNS = 3
SECONDS = 60


def alive(*kinds: type) -> dict[str, int]:
    gc.collect()
    found = {kind.__name__: 0 for kind in kinds}
    for thing in gc.get_objects():
        for kind in kinds:
            found[kind.__name__] += type(thing) is kind
    return found


def test_nothing_is_left_of_runs_that_are_over(widget: Any, scene: Any, pump: Any) -> None:
    """Slicer's ``qt.QTimer.singleShot`` keeps its timer, and with it whatever it has called."""
    import qt
    import slicer

    from AHNetSegmentLib.engine.volume import Volume
    from AHNetSegmentLib.scene.exchange import Exchange
    from AHNetSegmentLib.scene.run import SegmentRun
    from AHNetSegmentLib.scene.segmenting import Scan
    from AHNetSegmentLib.scene.selftest import MODEL, example_volume

    kinds = (SegmentRun, Scan, Exchange, Volume)
    pump(lambda: False, 0.3)  # what tests before this one have left is deleted
    before, timers = alive(*kinds), len(slicer.app.moduleManager().findChildren(qt.QTimer))
    for number in range(RUNS):
        parameters = widget.logic.getParameterNode()
        parameters.inputVolume, parameters.model = example_volume(f"Scan {number}"), MODEL
        pump(lambda: False, 0.6)
        widget.ui.segmentButton.click()
        assert widget.panel.busy
        assert pump(lambda: not widget.panel.busy, SECONDS)
        assert parameters.outputSegmentation is not None, widget.ui.statusLabel.text
        scene.Clear(False)
    del parameters
    pump(lambda: False, 1)
    assert alive(*kinds) == before
    assert len(slicer.app.moduleManager().findChildren(qt.QTimer)) == timers

"""The panel: what a person chooses, starts, watches and reads. The computation itself is in run.py and the worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..engine.card import ModelCard
from ..engine.errors import AHNetSegmentError, VolumeError
from ..engine.familiarity import doubts
from ..engine.progress import time_text
from .installation import install_torch, torch_problem
from .model_texts import about_page, summary
from .models import ModelShelf
from .progress_texts import show_progress, state_text
from .questions import agreed, nobody_is_there
from .quiet import quiet
from .results import ResultSection
from .rois import region_from_roi
from .run import Finished, SegmentRun, Settings
from .segmenting import same_names, scan_from_nodes
from .segments import check_output
from .sentences import Sentence
from .timers import Once
from .transforms import node_name
from .volumes import check_volume_node, dicom_modality, volume_from_node
from .watching import NodeWatch
from .worker import Worker

DOUBLE_CLICK_SECONDS = 0.5
INPUT_MS = 300
"""So long after the last change of volume, region and transforms they are judged anew: a drag changes them often."""


class SegmentPanel:
    """The sections Input, Model, Output, Advanced and Result, and the button Segment.

    ``ended`` may be set: it is called when a run has ended.

    Args:
        ui: the widgets of ``Resources/UI/AHNetSegment.ui`` by name.
        shelf: the models to choose from.
        worker: the process that computes.
        widget: the whole panel, which shortcuts belong to.
    """

    def __init__(self, ui: Any, shelf: ModelShelf, worker: Worker, widget: Any) -> None:
        self.ui = ui
        self.shelf = shelf
        self.worker = worker
        self.results = ResultSection(ui)
        self.run: SegmentRun | None = None
        self.ended: Callable[[], None] = lambda: None
        self._parameters: Any = None
        self._accepted: set[tuple[str, str]] = set()
        self._status = Sentence(ui.statusLabel, stays=True)
        self._warnings = Sentence(ui.doubtsLabel, _("What speaks against this model for this volume."))
        self._hint = ""
        self._began = 0.0
        self._judged: tuple[Any, list[str]] = (None, [])
        self._judge_soon = Once(self._show_doubts, INPUT_MS)
        self._input = NodeWatch(self._judge_soon.want_when_quiet)
        self._shortcut = qt.QShortcut(qt.QKeySequence("Ctrl+Return"), widget)
        self._shortcut.connect("activated()", self._on_shortcut)
        ui.segmentButton.connect("clicked()", self.on_segment_button)
        ui.modelSelector.connect("currentIndexChanged(int)", self._on_model_chosen)
        ui.segmentList.connect("itemChanged(QListWidgetItem*)", self._on_segment_ticked)
        ui.allSegmentsButton.connect("clicked()", lambda: self._tick_all(True))
        ui.noSegmentsButton.connect("clicked()", lambda: self._tick_all(False))
        ui.roiSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._on_roi_added)
        self.list_models()

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return self.run is not None

    @property
    def parameters(self) -> Any:
        """The parameter node; None between two scenes."""
        return self._parameters

    def close(self) -> None:
        """Drops a run without a word: the scene or the module closes."""
        if self.run is not None:
            self.run.abandon()
            self._run_ended()
        self._input.stop()
        self._judge_soon.stop()
        # In the next scene the same identifiers belong to other nodes.
        self._accepted.clear()
        self._say("")

    def set_parameters(self, parameters: Any) -> None:
        """Shows a parameter node, or none."""
        self._parameters = parameters
        self.update()

    def list_models(self) -> None:
        """Fills the list of models anew; the chosen one stays chosen."""
        selector = self.ui.modelSelector
        with quiet(selector):
            selector.clear()
            for name, card in self.shelf.cards().items():
                selector.addItem(card.title, name)
        self.update()

    def update(self) -> None:
        """Brings everything in line with the parameter node, the scene and the run."""
        self._show_model()
        self._watch_input()
        self._show_doubts()
        self._show_button()

    # Model

    @property
    def card(self) -> ModelCard | None:
        """Of the chosen model."""
        return self.shelf.cards().get(self._parameters.model) if self._parameters is not None else None

    def _show_model(self) -> None:
        if self._parameters is None:
            return
        selector = self.ui.modelSelector
        if not self._parameters.model and selector.count:
            self._parameters.model = selector.itemData(0)
        with quiet(selector):
            selector.currentIndex = selector.findData(self._parameters.model)
        card = self.card
        self.ui.modelSummaryLabel.text = summary(card) if card is not None else ""
        self.ui.aboutBrowser.setHtml(about_page(card) if card is not None else "")
        self._list_segments(card)

    def _list_segments(self, card: ModelCard | None) -> None:
        listed, left_out = self.ui.segmentList, set(self._parameters.leftOut)
        with quiet(listed):
            listed.clear()
            for item in card.classes if card is not None else ():
                row = qt.QListWidgetItem(item.name)
                picture = qt.QPixmap(12, 12)
                picture.fill(qt.QColor(*item.color))
                row.setIcon(qt.QIcon(picture))
                row.setCheckState(qt.Qt.Unchecked if item.name in left_out else qt.Qt.Checked)
                listed.addItem(row)
        count, kept = listed.count, len(self._kept_names())
        self.ui.segmentsSection.text = _("Segments ({kept} of {count})").format(kept=kept, count=count)

    def _kept_names(self) -> list[str]:
        listed = self.ui.segmentList
        rows = [listed.item(row) for row in range(listed.count)]
        return [row.text() for row in rows if row.checkState() == qt.Qt.Checked]

    def _on_model_chosen(self, index: int) -> None:
        if self._parameters is not None and index >= 0:
            self._parameters.model = self.ui.modelSelector.itemData(index)
            self.update()

    def _on_segment_ticked(self, _item: Any) -> None:
        card = self.card
        if card is not None:
            kept = self._kept_names()
            others = [name for name in self._parameters.leftOut if name not in {item.name for item in card.classes}]
            self._parameters.leftOut = others + [item.name for item in card.classes if item.name not in kept]
            self.update()

    def _tick_all(self, ticked: bool) -> None:
        card = self.card
        if card is not None:
            names = {item.name for item in card.classes}
            others = [name for name in self._parameters.leftOut if name not in names]
            self._parameters.leftOut = others + ([] if ticked else sorted(names))
            self.update()

    # Input

    def _on_roi_added(self, node: Any) -> None:
        """A new ROI starts as the middle half of the volume, where its handles can be seen."""
        volume_node = self._parameters.inputVolume if self._parameters is not None else None
        if node is None or volume_node is None or node.GetNumberOfControlPoints():
            return
        bounds = [0.0] * 6
        volume_node.GetRASBounds(bounds)
        node.SetCenterWorld([(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)])
        node.SetSizeWorld([(bounds[2 * axis + 1] - bounds[2 * axis]) / 2 for axis in range(3)])

    def _watch_input(self) -> None:
        """Hears where volume and region are changed, moved by a transform, or removed."""
        parameters = self._parameters
        self._input.follow((parameters.inputVolume, parameters.roi) if parameters is not None else ())

    def _doubts(self) -> list[str]:
        """What speaks against the model for this volume; nothing where that cannot be said yet."""
        card = self.card
        if card is None or self._parameters.inputVolume is None:
            return []
        volume_node, roi_node = self._parameters.inputVolume, self._parameters.roi
        try:
            volume = volume_from_node(volume_node)
            region = None if roi_node is None else region_from_roi(roi_node, volume)
        except VolumeError:
            return []
        times = (volume_node.GetMTime(), volume_node.GetImageData().GetMTime())
        key = (card.name, volume_node.GetID(), times, volume.geometry, region)
        if key != self._judged[0]:
            self._judged = (key, doubts(volume, card, dicom_modality(volume_node), region))
        return self._judged[1]

    def _show_doubts(self) -> None:
        self._warnings.say("\n".join(f"⚠ {text}" for text in self._doubts()))

    # Run

    def _hindrance(self) -> str:
        """Why Segment cannot be clicked; empty where it can."""
        if self._parameters is None:
            return _("No scene is open.")
        if not self.ui.modelSelector.count:
            return _("No model is installed: reinstall the extension.")
        if self._parameters.inputVolume is None:
            return _("Select the volume to segment first.")
        if not self._kept_names():
            return _("Tick at least one structure under Segments.")
        return ""

    def _show_button(self) -> None:
        button, hindrance = self.ui.segmentButton, self._hindrance()
        if not self.busy and (hindrance or self._status.text == self._hint):
            self._say(hindrance)
        self._hint = hindrance
        if self.busy:
            button.text, button.enabled = _("Cancel"), True
            button.toolTip = _("Stops the computation; nothing is changed (Ctrl+Return).")
        else:
            button.text, button.enabled = _("Segment"), not hindrance
            button.toolTip = hindrance or _("Computes the segments (Ctrl+Return).")
        for name in ("inputSection", "modelSection", "outputSection", "advancedSection"):
            getattr(self.ui, name).enabled = not self.busy

    def _on_shortcut(self) -> None:
        if self.busy or not self._hindrance():
            self.on_segment_button()

    def on_segment_button(self) -> None:
        """Starts a run, or cancels the one that is going on."""
        if self.run is not None:
            # The second half of a double click is no wish to cancel.
            if time.monotonic() - self._began > DOUBLE_CLICK_SECONDS:
                self._say(_("Cancelling…"))
                self.run.cancel()
            return
        try:
            self._start()
        except AHNetSegmentError as error:
            self._say(str(error))
            slicer.util.errorDisplay(str(error))

    def _start(self) -> None:
        parameters = self._parameters
        volume_node = parameters.inputVolume
        check_volume_node(volume_node)
        folder = self.shelf.folder(parameters.model)
        card = self.shelf.cards()[parameters.model]
        scan = scan_from_nodes(volume_node, parameters.roi)
        kept = set(self._kept_names())
        classes = [item for item in card.classes if item.name in kept]
        if not self._may_go_on(volume_node, card) or not self._may_replace(volume_node, classes):
            return
        if (problem := torch_problem()) and not install_torch(problem):
            self._say(problem)
            return
        settings = Settings(
            device=parameters.device.value,
            precision=parameters.precision.value,
            window_memory=float(parameters.windowMemory) or None,
            keep_largest=parameters.pieces.keep_largest(),
            smoothing=parameters.smoothing,
            probabilities=parameters.probabilities,
            classes=tuple(item.label for item in classes),
        )
        self.run = SegmentRun(self.worker, self._progress, self._state, self._finished, self._failed, self._cancelled)
        self._began = time.monotonic()
        self._show_button()
        self.ui.progressBar.visible = True
        self.ui.progressBar.setRange(0, 0)
        self._say(_("Preparing {name}…").format(name=scan.volume.name))
        try:
            self.run.start(scan, volume_node, parameters.outputSegmentation, card, folder, settings)
        except AHNetSegmentError:
            self._run_ended()
            raise

    def _may_go_on(self, volume_node: Any, card: ModelCard) -> bool:
        """Asks once per volume and model where something speaks against them; nothing is lost by going on."""
        found, key = self._doubts(), (volume_node.GetID(), card.name)
        if not found or key in self._accepted or nobody_is_there():
            return True
        if not agreed("\n\n".join([*found, _("Segment all the same?")])):
            self._say(_("Not started; choose another model or volume."))
            return False
        self._accepted.add(key)
        return True

    def _may_replace(self, volume_node: Any, classes: Any) -> bool:
        """Asks before segments are replaced."""
        output = self._parameters.outputSegmentation
        if output is None:
            return True
        check_output(output, classes, volume_node)
        names = same_names(output, classes)
        if not names:
            return True
        question = _("{segmentation} already has {names}. Replace them? Its other segments stay as they are.").format(
            segmentation=node_name(output, "The segmentation"), names=", ".join(names)
        )
        if agreed(question):
            return True
        kept = _("Not started: {names} of {segmentation} are kept. Choose another segmentation for the output.")
        self._say(kept.format(segmentation=node_name(output, "The segmentation"), names=", ".join(names)))
        return False

    def _say(self, text: str) -> None:
        self._status.say(text)

    def _state(self, text: str) -> None:
        self._say(f"{state_text(text)}…")

    def _progress(self, done: int, total: int, seconds_left: float | None) -> None:
        self._say(show_progress(self.ui.progressBar, _("Segmenting"), done, total, seconds_left))

    def _run_ended(self) -> None:
        self.run = None
        self.ui.progressBar.visible = False
        self._show_button()
        self.ended()

    def _finished(self, done: Finished) -> None:
        self._run_ended()
        self._parameters.outputSegmentation = done.segmentation_node
        self.results.show(done)
        self.ui.resultSection.collapsed = False
        where = _("Done in {time} on the {device} ({precision}).").format(
            time=time_text(done.seconds), device=done.device.upper(), precision=done.precision
        )
        said = self._doubts()
        self._say("\n".join([where, *(f"⚠ {text}" for text in done.warnings if text not in said)]))

    def _failed(self, message: str) -> None:
        self._run_ended()
        logging.getLogger(__name__).error("%s\n%s", message, self.worker.log)
        self._say(message)
        slicer.util.errorDisplay(message)

    def _cancelled(self) -> None:
        self._run_ended()
        self._say(_("Cancelled; nothing was changed."))

"""AHNetSegment, a scripted module of 3D Slicer: pick a volume, click Segment, get named segments from AH-Net."""

import enum
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from AHNetSegmentLib.engine.resources import resources_folder

HOMEPAGE = "https://github.com/AHNetSegment/SlicerAHNetSegment"
Progress = Callable[[int, int], bool]


class AHNetSegment(ScriptedLoadableModule):
    """What Slicer lists."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("AHNetSegment")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["AHNetSegment contributors"]
        parent.helpText = (
            _(
                "Segments CT and MR volumes, thick slices above all, with bundled AH-Net models: choose a volume and a "
                "model, click Segment. Nothing leaves this computer. For research only, not for clinical use."
            )
            + f' <a href="{HOMEPAGE}">{_("Documentation")}</a>.'
        )
        parent.acknowledgementText = _(
            "AH-Net: S. Liu, D. Xu, S. K. Zhou et al., 3D Anisotropic Hybrid Network, MICCAI 2018 (arXiv 1711.08580). "
            "The card of each model names the data that it was trained on."
        )
        icon = resources_folder() / "Icons" / "AHNetSegment.png"
        if icon.is_file():
            import qt

            parent.icon = qt.QIcon(str(icon))
        slicer.app.connect("startupCompleted()", _register_sample_data)


def _register_sample_data() -> None:
    from AHNetSegmentLib.scene.sample_data import register_sample_data

    register_sample_data()


class Device(enum.Enum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        """What the panel calls it."""
        names = {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("NVIDIA GPU (CUDA)"), "mps": _("Apple GPU (MPS)")}
        return names[self.value]


class Precision(enum.Enum):
    """Number format of the computation."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"

    def label(self) -> str:
        """What the panel calls it."""
        return _("Automatic") if self.value == "auto" else self.value


class Pieces(enum.Enum):
    """Which connected pieces of a segment stay."""

    MODEL = "model"
    LARGEST = "largest"
    ALL = "all"

    def label(self) -> str:
        """What the panel calls it."""
        names = {"model": _("As the model says"), "largest": _("Only the largest of each"), "all": _("All")}
        return names[self.value]

    def keep_largest(self) -> bool | None:
        """What the engine calls it."""
        return None if self is Pieces.MODEL else self is Pieces.LARGEST


@parameterNodeWrapper
class AHNetSegmentParameterNode:
    """What is chosen in the panel; it is saved with the scene.

    Attributes:
        inputVolume: what to segment.
        roi: only what lies inside is computed; None: the whole volume.
        model: name of the model.
        leftOut: names of structures that are not wanted.
        outputSegmentation: where the segments go; None: a new segmentation.
        device: where to compute.
        precision: in which number format.
        windowMemory: MB for the network's maps; 0: automatic.
        smoothing: of the segments' borders, mm.
        pieces: which pieces of a segment stay.
        probabilities: also makes a volume of each segment's probability.
    """

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    roi: slicer.vtkMRMLMarkupsROINode
    model: str
    leftOut: list[str]
    outputSegmentation: slicer.vtkMRMLSegmentationNode
    device: Device = Device.AUTO
    precision: Precision = Precision.AUTO
    windowMemory: Annotated[int, WithinRange(0, 1_000_000)] = 0
    smoothing: Annotated[float, WithinRange(0, 20)] = 0.0
    pieces: Pieces = Pieces.MODEL
    probabilities: bool = False


class AHNetSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel in Slicer: builds it, and keeps it in step with the scene."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: AHNetSegmentLogic | None = None
        self.panel: Any = None
        self.ownModels: Any = None
        self.worker: Any = None
        self._parameterNode: Any = None
        self._parameterNodeGuiTag: Any = None

    def setup(self) -> None:
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from AHNetSegmentLib.scene.own_models import OwnModels
        from AHNetSegmentLib.scene.panel import SegmentPanel
        from AHNetSegmentLib.scene.worker import Worker

        widget = slicer.util.loadUI(str(resources_folder() / "UI" / "AHNetSegment.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = AHNetSegmentLogic()
        self.worker = Worker()
        self.panel = SegmentPanel(self.ui, self.logic.shelf, self.worker, widget)
        self.ownModels = OwnModels(self.panel, self.chooseModel)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when Slicer exits or the module is reloaded."""
        self.setParameterNode(None)
        if self.panel is not None:
            self.panel.close()
            self.ownModels.close()
        self.removeObservers()
        if self.worker is not None:
            self.worker.stop()

    def enter(self) -> None:
        """Called each time the module is opened."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time another module is opened; a run goes on meanwhile."""
        if self._parameterNode is not None and self._parameterNodeGuiTag is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, self._modified, self.onParametersModified)

    def onReload(self) -> None:
        """Reload of the developer section: the library's modules are read anew too."""
        self.cleanup()
        for name in [name for name in sys.modules if name.partition(".")[0] == "AHNetSegmentLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """Called just before the scene is closed: a run is dropped."""
        self.panel.close()
        self.panel.results.clear()
        self.ownModels.scene_closes()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """Called just after the scene is closed."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Shows the scene's parameter node; without a choice of the user, the first volume is chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.inputVolume is None:
            self._parameterNode.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")

    def setParameterNode(self, parameterNode: Any) -> None:
        """Connects the panel to a parameter node, or to none."""
        self.exit()
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, self._modified, self.onParametersModified)
        if self.panel is not None:
            self.panel.set_parameters(parameterNode)
            self.ownModels.update()

    def chooseModel(self, name: str) -> None:
        """Chooses a model by its name; empty: the first one of the list."""
        if self._parameterNode is not None:
            self._parameterNode.model = name

    def onParametersModified(self, caller: Any = None, event: Any = None) -> None:
        """Called when something was chosen, in the panel or by a script."""
        self.panel.update()
        self.ownModels.update()

    @property
    def _modified(self) -> int:
        import vtk

        return vtk.vtkCommand.ModifiedEvent


class AHNetSegmentLogic(ScriptedLoadableModuleLogic):
    """The console API: what the panel does, from Python, blocking and in this process.

    Example::

        import slicer

        logic = AHNetSegmentLogic()  # in Slicer: slicer.util.getModuleLogic("AHNetSegment")
        volume = slicer.util.getNode("CT")
        segmentation = logic.segment(volume, model="hippocampus-t1", keep_largest=True)
        result = logic.segmentBatch([volume], outputFolder, model="hippocampus-t1")
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        from AHNetSegmentLib.scene.library import library_folder
        from AHNetSegmentLib.scene.models import ModelShelf

        self.shelf = ModelShelf(library=library_folder())
        self._loaded: Any = None

    def getParameterNode(self) -> Any:
        """The scene's parameter node, wrapped."""
        return AHNetSegmentParameterNode(super().getParameterNode())

    def models(self) -> list[str]:
        """The names of the models that can be used: bundled ones, then your own."""
        from AHNetSegmentLib.scene.library import library_folder

        self.shelf.set_library(library_folder())
        return list(self.shelf.cards())

    def segment(
        self,
        volumeNode: Any,
        model: str | Path,
        roi: Any = None,
        device: str = "auto",
        progress: Progress | None = None,
        *,
        segmentationNode: Any = None,
        replace: bool = False,
        **settings: Any,
    ) -> Any:
        """Segments a volume node in this process and waits for it.

        Args:
            volumeNode: a scalar volume, in any orientation, under linear transforms.
            model: a model's name (see :meth:`models`), or its folder.
            roi: a Markups ROI of any orientation; only what lies inside is computed and changed.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
            progress: called as ``progress(done, total)`` every few slices; returning False stops the run.
            segmentationNode: where the segments go; None: a new segmentation.
            replace: segments of the same name in it are replaced; otherwise new ones get a number behind their name.
            settings: further ones of :class:`~AHNetSegmentLib.engine.inference.InferenceSettings`, by name:
                ``precision``, ``window_memory`` (MB), ``keep_largest``, ``smoothing`` (mm), ``classes`` (labels),
                ``modality`` (what the volume is taken for), ``probabilities`` (adds a volume per class).

        Returns:
            The ``vtkMRMLSegmentationNode``.

        Raises:
            AHNetSegmentError: one sentence that says what is wrong and what to do; the scene is then unchanged.
            TypeError: a setting is unknown.
        """
        from AHNetSegmentLib.scene.console import segment_node

        return segment_node(
            volumeNode,
            self._model(model),
            roi,
            {"device": device, **settings},
            progress,
            segmentation_node=segmentationNode,
            replace=replace,
        )

    def segmentBatch(
        self,
        cases: str | Path | Sequence[Any],
        outputFolder: str | Path,
        model: str | Path,
        device: str = "auto",
        progress: Callable[[Any], bool] | None = None,
        **settings: Any,
    ) -> Any:
        """Segments many volumes, each on its own, into files; a second call goes on where the first one stopped.

        Args:
            cases: a folder with NIfTI, NRRD or MetaImage files or folders of DICOM series; or volume nodes.
            outputFolder: gets ``<case>.seg.nrrd`` and ``<case>.json`` for each case, and the table ``batch.csv``.
            model: a model's name, or its folder.
            device: see :meth:`segment`.
            progress: called with a :class:`~AHNetSegmentLib.engine.batch.BatchProgress`; returning False stops.
            settings: see :meth:`segment`.

        Returns:
            A :class:`~AHNetSegmentLib.engine.batch.BatchResult`: what is done, skipped and failed. A failed case is
            recorded, and the rest goes on.

        Raises:
            AHNetSegmentError: the folder holds no case, or the output folder cannot be written.
        """
        from AHNetSegmentLib.scene.console import segment_batch

        return segment_batch(cases, Path(outputFolder), self._model(model), {"device": device, **settings}, progress)

    def finetune(self, cases: str | Path | Sequence[Any], base: str | Path | None, name: str, **settings: Any) -> str:
        """Trains a model on labelled cases, in this process, and puts it into the library of your models.

        Args:
            cases: pairs (volume node, segmentation node), a table ``.csv``, or a folder with images/ and labels/.
            base: name or folder of the model to begin with; None: from scratch.
            name: what lists call the new model.
            settings: ``classes`` (the class of each segment name; None: its own name), ``complete``, ``modality``,
                ``device``, ``progress``, ``steps``, ``seed`` and more: see
                :func:`~AHNetSegmentLib.scene.console_training.finetune_cases`.

        Returns:
            The new model's name for :meth:`segment` and :meth:`evaluate`. What it reaches on held-out cases is in its
            card: ``logic.shelf.cards()[name].figures``.

        Raises:
            AHNetSegmentError: one sentence that says what is wrong and what to do.
            TypeError: a setting is unknown.
        """
        from AHNetSegmentLib.scene.console_training import finetune_cases
        from AHNetSegmentLib.scene.library import library_folder

        result = finetune_cases(cases, None if base is None else self._model(base), name, library_folder(), **settings)
        self.shelf.set_library(library_folder())
        return result.card.name

    def evaluate(self, cases: str | Path | Sequence[Any], model: str | Path, **settings: Any) -> Any:
        """Compares a model with labelled cases, in this process.

        Args:
            cases: see :meth:`finetune`; cases that the model has not seen.
            model: a model's name, or its folder.
            settings: ``classes``, ``complete``, ``device``, ``precision``, ``report``, ``progress``: see
                :func:`~AHNetSegmentLib.scene.console_training.evaluate_cases`.

        Returns:
            An :class:`~AHNetSegmentLib.engine.evaluation.Evaluation`: Dice, 95 % Hausdorff distance in mm and volume
            error in mL per class and case; ``table()`` for people, ``write_csv(path)`` for spreadsheets.

        Raises:
            AHNetSegmentError: one sentence that says what is wrong and what to do.
        """
        from AHNetSegmentLib.scene.console_training import evaluate_cases

        return evaluate_cases(cases, self._model(model), **settings)

    def _model(self, name: str | Path) -> Any:
        """The loaded model, kept for the next call as long as its card stays as it is."""
        from AHNetSegmentLib.engine.card import read_card
        from AHNetSegmentLib.engine.package import CARD_FILE, load_model

        folder = self.shelf.folder(name)
        if self._loaded is None or self._loaded.folder != folder or self._loaded.card != read_card(folder / CARD_FILE):
            self._loaded = load_model(folder)
        return self._loaded


class AHNetSegmentTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer (Reload and Test, ctest) and, over Testing/host, in ``make test``."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def test_models_are_there(self) -> None:
        """The bundled models are listed, with readable cards."""
        logic = AHNetSegmentLogic()
        assert "hippocampus-t1" in logic.models()

    def test_console(self) -> None:
        """A volume goes through the console into named segments on its own grid."""
        from AHNetSegmentLib.scene.selftest import check_console

        check_console(AHNetSegmentLogic())

    def test_panel(self) -> None:
        """A click on Segment in the panel gives what the console gives."""
        from AHNetSegmentLib.scene.selftest import check_panel

        check_panel(slicer.util.getModuleWidget("AHNetSegment"), AHNetSegmentLogic())
        logging.info("AHNetSegment: the panel gave the console's result")

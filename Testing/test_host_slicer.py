"""``slicer.app``, ``slicer.util`` and Slicer's other Python modules in the host."""

from __future__ import annotations

import hashlib
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host
from host.start import start

pytest_plugins = ["host.fixtures"]


def test_starting_again_changes_nothing(slicer: Any) -> None:
    scene = slicer.mrmlScene
    assert start() is slicer.app
    assert slicer.mrmlScene is scene is slicer.app.mrmlScene()


def test_calls_without_a_result_do_not_use_none_up(slicer: Any, qt: Any) -> None:
    label = qt.QLabel()
    for _ in range(1000):
        label.setText("CT")
    assert sys.version_info >= (3, 12) or sys.getrefcount(None) > 1 << 39


def test_the_application_says_who_it_is(slicer: Any) -> None:
    app = slicer.app
    assert (app.applicationName, app.majorVersion, app.minorVersion) == ("Slicer", 5, 12)
    assert Path(app.temporaryPath).is_dir()
    assert app.inherits("QApplication")
    assert not app.testingEnabled()
    with host.testing_mode():
        assert app.testingEnabled()


def test_settings_are_kept_in_a_folder_of_the_test(slicer: Any, qt: Any) -> None:
    qt.QSettings().setValue("AHNetSegment/Model", "liver-ct")
    assert slicer.app.userSettings().value("AHNetSegment/Model") == "liver-ct"
    assert slicer.util.settingsValue("AHNetSegment/Model", "") == "liver-ct"
    assert slicer.util.settingsValue("AHNetSegment/None", 3, converter=int) == 3
    assert "slicer-host-" in slicer.app.slicerUserSettingsFilePath


def test_a_function_is_called_after_the_start(slicer: Any) -> None:
    heard: list[str] = []
    slicer.app.connect("startupCompleted()", lambda: heard.append("started"))
    slicer.app.startupCompleted.emit()
    assert heard == ["started"]


def test_there_is_a_main_window_unless_it_is_left_away(slicer: Any) -> None:
    assert slicer.util.mainWindow() is not None
    assert slicer.util.showStatusMessage("Done")
    with host.no_main_window():
        assert slicer.util.mainWindow() is None
        assert not slicer.util.showStatusMessage("Done")
    assert slicer.util.mainWindow() is not None


def test_messages_are_noted_and_questions_answered(slicer: Any) -> None:
    slicer.util.infoDisplay("Done.")
    slicer.util.warningDisplay("Old model.", windowTitle="AHNetSegment")
    slicer.util.errorDisplay("No volume.", detailedText="Traceback")
    host.answers.extend([True, False])
    assert slicer.util.confirmOkCancelDisplay("Install PyTorch?")
    assert not slicer.util.confirmYesNoDisplay("Overwrite?")
    assert host.messages == [
        ("info", "Done."),
        ("warning", "Old model."),
        ("error", "No volume."),
        ("question", "Install PyTorch?"),
        ("question", "Overwrite?"),
    ]
    with pytest.raises(host.UnexpectedQuestion, match="Nobody expected to be asked: Delete it"):
        slicer.util.confirmOkCancelDisplay("Delete it?")


def test_an_error_is_shown_and_raised(slicer: Any, qt: Any) -> None:
    with (
        pytest.raises(ValueError, match="out of memory"),
        slicer.util.tryWithErrorDisplay("Segmentation failed.", waitCursor=True),
    ):
        raise ValueError("out of memory")
    assert host.messages == [("error", "Segmentation failed.\n\nout of memory")]
    assert qt.QApplication.overrideCursor() is None


def test_nothing_is_installed_but_noted(slicer: Any, tmp_path: Path) -> None:
    from slicer.packaging import load_requirements, pip_check, pip_ensure

    file = tmp_path / "requirements.txt"
    file.write_text("numpy>=1.20  # arrays\n\nsurely-no-package>=2\n", encoding="utf-8")
    requirements = load_requirements(file)
    assert [pip_check(one) for one in requirements] == [True, False]
    pip_ensure(requirements, requester="AHNetSegment")
    slicer.util.pip_install("light-the-torch")
    assert host.installations == [
        ("pip_ensure", ["numpy>=1.20", "surely-no-package>=2"]),
        ("pip_install", ["light-the-torch"]),
    ]


def test_pytorch_utils_is_missing_unless_a_test_puts_one_there(slicer: Any) -> None:
    with pytest.raises(ImportError):
        __import__("PyTorchUtils")


def test_texts_stay_as_they_are(slicer: Any) -> None:
    from slicer.i18n import getContext, tr, translate

    assert tr("Segmenting {name}").format(name="CT") == "Segmenting CT"
    assert translate("qSlicerAbstractCoreModule", "Segmentation") == "Segmentation"
    assert getContext(host.__file__) == "host.__init__"
    assert getContext(__file__) == "test_host_slicer"
    with pytest.raises(TypeError, match="takes a text"):
        tr(3)


def test_sample_data_is_registered_and_local_files_are_loaded(slicer: Any, tmp_path: Path) -> None:
    import SampleData

    from scene_helpers import volume_node

    path = tmp_path / "t1.nrrd"
    assert slicer.util.saveNode(volume_node(), str(path))
    logic = SampleData.SampleDataLogic
    logic.registerCustomSampleDataCategory("AHNetSegment", title="AH-Net")
    logic.registerCustomSampleDataSource(
        category="AHNetSegment",
        sampleName="T1",
        uris=path.as_uri(),
        fileNames="t1.nrrd",
        nodeNames="T1 of a head",
        checksums="SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    assert "T1" in [source.sampleName for source in slicer.modules.sampleDataSources["AHNetSegment"]]
    node = SampleData.downloadSample("T1")
    assert (node.GetName(), node.GetClassName()) == ("T1 of a head", "vtkMRMLScalarVolumeNode")
    logic.registerCustomSampleDataSource("Web", "T2", ["https://example.org/t2.nrrd"], ["t2.nrrd"], ["T2"])
    with pytest.raises(NotImplementedError, match="no network"):
        SampleData.downloadSample("T2")


def test_volumes_and_segmentations_are_saved_and_loaded(slicer: Any, tmp_path: Path) -> None:
    import numpy as np

    from scene_helpers import two_labels, volume_node

    labels = volume_node(two_labels(), kind="vtkMRMLLabelMapVolumeNode", name="Labels")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Hippocampus")
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
    assert slicer.util.saveNode(labels, str(tmp_path / "labels.nrrd"))
    assert slicer.util.saveNode(node, str(tmp_path / "hippocampus.seg.nrrd"))
    volume = slicer.util.loadVolume(str(tmp_path / "labels.nrrd"))
    assert np.array_equal(slicer.util.arrayFromVolume(volume), two_labels())
    found = slicer.util.loadSegmentation(str(tmp_path / "hippocampus.seg.nrrd"))
    assert found.GetSegmentation().GetNumberOfSegments() == 2
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "none.nrrd"))


def test_slicer_s_modules_give_their_logic(slicer: Any) -> None:
    assert slicer.modules.segmentations.logic().GetClassName() == "vtkSlicerSegmentationsModuleLogic"
    assert slicer.util.getModuleLogic("Terminologies").GetMRMLScene() is slicer.mrmlScene
    assert "Segmentations" in slicer.util.moduleNames()
    with pytest.raises(RuntimeError, match="Could not find module"):
        slicer.util.getModule("Unheard")


def test_observers_of_the_mixin_work(slicer: Any) -> None:
    heard: list[str] = []
    mixin = slicer.util.VTKObservationMixin()
    mixin.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, lambda *args: heard.append("closed"))
    slicer.mrmlScene.Clear(False)
    mixin.removeObservers()
    slicer.mrmlScene.Clear(False)
    assert heard == ["closed"]


def test_displays_are_logged(slicer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        slicer.util.errorDisplay("No volume.")
    assert [(record.levelname, record.message) for record in caplog.records] == [("ERROR", "No volume.")]

"""Writes the reduced ``widgets.json`` and ``python.json`` here from the full ones: ``python -m host.reduce FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

CLASSES = """
qMRMLWidget qMRMLNodeComboBox qMRMLSegmentationShow3DButton qMRMLPlotWidget qMRMLPlotView qSlicerWidget
ctkCollapsibleButton ctkSliderWidget ctkComboBox ctkPathLineEdit ctkDirectoryButton ctkMessageBox ctkCheckableComboBox
ctkDoubleSpinBox ctkPushButton
qSlicerApplication qSlicerMainWindow qSlicerModuleSelectorToolBar qSlicerModuleManager qSlicerIOManager
qSlicerModuleFactoryManager qSlicerScriptedLoadableModule qSlicerScriptedLoadableModuleWidget qSlicerLoadableModule
""".split()

MODULES = """
slicer.ScriptedLoadableModule slicer.i18n slicer.packaging slicer.testing slicer.util SampleData.SampleData
slicer.parameterNodeWrapper.default slicer.parameterNodeWrapper.guiConnectors slicer.parameterNodeWrapper.serializers
slicer.parameterNodeWrapper.validators slicer.parameterNodeWrapper.wrapper
""".split()


def reduced_classes(full: dict[str, Any]) -> dict[str, Any]:
    """The entries of ``CLASSES`` and of their bases; headers are left out."""
    kept: dict[str, Any] = {}
    wanted = list(CLASSES)
    while wanted:
        name = wanted.pop()
        if name in full:
            kept[name] = {key: value for key, value in full[name].items() if key != "header"}
            wanted.append(full[name]["base"])
    return dict(sorted(kept.items()))


def reduced_modules(full: dict[str, Any]) -> dict[str, Any]:
    """The entries of ``MODULES``."""
    return {name: full[name] for name in MODULES}


def main(folder: Path) -> None:
    for name, reduce in (("widgets.json", reduced_classes), ("python.json", reduced_modules)):
        full = json.loads((folder / name).read_text(encoding="utf-8"))
        (HERE / name).write_text(json.dumps(reduce(full), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

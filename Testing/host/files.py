"""Files of nodes and scenes: ``slicer.app.coreIOManager()``, which slicer.util's load and save functions call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6 import QtCore

ENDINGS = {
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr"),
    "SceneFile": (".mrml", ".mrb"),
    "TableFile": (".csv", ".tsv"),
    "MarkupsFile": (".mrk.json",),
    "TransformFile": (".h5", ".tfm"),
    "VolumeFile": (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm"),
}
"""Kind of file to its endings; the first that fits."""

STORED = {"TableFile": "vtkMRMLTableNode", "TransformFile": "vtkMRMLLinearTransformNode"}


class qSlicerIOManager(QtCore.QObject):
    """Reads and writes with the storage nodes of MRML."""

    newFileLoaded = QtCore.Signal(dict)

    def fileType(self, name: str) -> str:
        lower = str(name).lower()
        return next((kind for kind, endings in ENDINGS.items() if lower.endswith(endings)), "NoFile")

    def fileWriterFileType(self, node: Any, *more: Any) -> str:
        return "SceneFile" if node is None or node.IsA("vtkMRMLScene") else "NodeFile"

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        """One file; ``properties``: ``fileName``, ``name``, ``labelmap``."""
        path = Path(str(properties["fileName"]))
        if not path.exists():
            return False
        if kind == "SceneFile":
            return _load_scene(path, bool(properties.get("clear", True)))
        node = _load(kind, path, properties)
        if node is None:
            return False
        if properties.get("name"):
            node.SetName(properties["name"])
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None) -> bool:
        """One file; ``properties``: ``fileName``, ``nodeID``."""
        import slicer

        if kind == "SceneFile":
            return _save_scene(Path(str(properties["fileName"])))
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(str(properties["fileName"]))
        storage = node.GetStorageNode()
        storage.SetFileName(str(properties["fileName"]))
        return bool(storage.WriteData(node))


def _load(kind: str, path: Path, properties: dict[str, Any]) -> Any:
    import slicer

    app, name = slicer.app.slicer_app, path.name.partition(".")[0]
    if kind == "VolumeFile":
        options = 1 if properties.get("labelmap") else 0
        return app.volumes_logic.AddArchetypeVolume(str(path), name, options)
    if kind == "SegmentationFile":
        return app.segmentations_logic.LoadSegmentationFromFile(str(path), True, name)
    if kind == "MarkupsFile":
        node_id = app.markups_logic.logic.LoadMarkups(str(path), name) if hasattr(app.markups_logic, "logic") else None
        return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None
    if kind in STORED:
        node = slicer.mrmlScene.AddNewNodeByClass(STORED[kind], name)
        node.AddDefaultStorageNode(str(path))
        if node.GetStorageNode().ReadData(node):
            return node
        slicer.mrmlScene.RemoveNode(node)
        return None
    raise NotImplementedError(f"Slicer reads a {kind}; Testing/host does not: {path.name}")


def _load_scene(path: Path, clear: bool) -> bool:
    import slicer

    scene = slicer.mrmlScene
    if path.suffix == ".mrb":
        raise NotImplementedError("Slicer reads .mrb; Testing/host reads .mrml")
    scene.SetURL(str(path))
    return bool(scene.Connect() if clear else scene.Import())


def _save_scene(path: Path) -> bool:
    import slicer

    if path.suffix != ".mrml":
        raise NotImplementedError("Slicer writes .mrb and folders; Testing/host writes .mrml")
    slicer.mrmlScene.SetURL(str(path))
    slicer.mrmlScene.SetRootDirectory(str(path.parent))
    return bool(slicer.mrmlScene.Commit())

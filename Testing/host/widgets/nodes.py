"""Widgets that know the scene, and the selector of a node."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from ..dialogs import answered
from ..properties import qt_property, stored
from .ctk_combos import ctkComboBox
from .parts import Observers, SceneWidget, hear, row_layout

NODE_ID = QtCore.Qt.ItemDataRole.UserRole
ACTION = QtCore.Qt.ItemDataRole.UserRole + 1


class qMRMLWidget(SceneWidget, QtWidgets.QWidget):
    """A widget that knows the scene and tells its children through connections of the .ui file."""

    mrmlSceneChanged = QtCore.Signal(object)


class qSlicerWidget(SceneWidget, QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = QtCore.Signal(object)


class qMRMLNodeComboBox(SceneWidget, QtWidgets.QWidget):
    """Chooses a node of the scene; further entries create, rename, edit and delete nodes."""

    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAddedByUserAction = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)
    currentNodeRenamed = QtCore.Signal(str)
    nodeAboutToBeEdited = QtCore.Signal(object)

    nodeTypes = stored(list, "nodeTypes", [], "_refresh")
    showHidden = stored(bool, "showHidden", False, "_refresh")
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, "_refresh")
    hideChildNodeTypes = stored(list, "hideChildNodeTypes", [], "_refresh")
    baseName = stored(str, "baseName", "")
    noneEnabled = stored(bool, "noneEnabled", False, "_refresh")
    addEnabled = stored(bool, "addEnabled", True, "_refresh")
    removeEnabled = stored(bool, "removeEnabled", True, "_refresh")
    editEnabled = stored(bool, "editEnabled", False, "_refresh")
    renameEnabled = stored(bool, "renameEnabled", False, "_refresh")
    noneDisplay = stored(str, "noneDisplay", "None", "_refresh")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._current = ""
        self._requested = ""
        self._listed: list[str] = []
        self._attributes: list[tuple[str, str, str | None]] = []
        self._labels: dict[str, str] = {}
        self._actions: list[Any] = []
        self._observers = Observers(self)
        self._names = Observers(self)
        self._box = ctkComboBox(self)
        self._box.elideMode = QtCore.Qt.TextElideMode.ElideMiddle
        row_layout(self, self._box)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Fixed)
        self._box.setSizePolicy(policy.Expanding, policy.Expanding)
        hear(self._box.activated, self._activated)
        self.setEnabled(False)

    def _scene_changed(self) -> None:
        self._observers.clear()
        scene = self._scene
        if scene is not None:
            self._observers.add(scene, scene.NodeAddedEvent, "_node_added", with_node=True)
            self._observers.add(scene, scene.NodeAboutToBeRemovedEvent, "_about_to_be_removed", with_node=True)
            for event in (scene.NodeRemovedEvent, scene.EndBatchProcessEvent, scene.EndCloseEvent):
                self._observers.add(scene, event, "_refresh")
        self.setEnabled(scene is not None)
        wanted, self._requested = self._requested or self._current, ""
        self._refresh()
        if scene is not None and scene.GetNodeByID(wanted):
            self.setCurrentNodeID(wanted)

    def _node_added(self, node: Any) -> None:
        self._refresh()
        if node is not None and node.GetID() in self._listed:
            self.nodeAdded.emit(node)

    def _about_to_be_removed(self, node: Any) -> None:
        if node is not None and node.GetID() in self._listed:
            self.nodeAboutToBeRemoved.emit(node)

    def _is_shown(self, node: Any) -> bool:
        kinds = self.nodeTypes
        if self.showChildNodeTypes:
            fits = any(node.IsA(kind) for kind in kinds)
            fits = fits and not any(node.IsA(kind) for kind in self.hideChildNodeTypes)
        else:
            fits = node.GetClassName() in kinds
        if not fits or (node.GetHideFromEditors() and not self.showHidden):
            return False
        for kind, name, value in self._attributes:
            found = node.GetAttribute(name)
            if node.IsA(kind) and (found is None or (value is not None and found != value)):
                return False
        return True

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        collection = self._scene.GetNodes()
        nodes = [collection.GetItemAsObject(index) for index in range(collection.GetNumberOfItems())]
        return [node for node in nodes if self._is_shown(node)]

    def _refresh(self) -> None:
        """List the nodes anew; what happens to the current one is what QComboBox does in Slicer."""
        nodes = self._nodes()
        before, self._listed = self._listed, [node.GetID() for node in nodes]
        self._names.clear()
        for node in nodes:
            self._names.add(node, "ModifiedEvent", "_show_names")
        chosen = self._current
        if chosen and chosen not in self._listed:
            above = before[: before.index(chosen)] if chosen in before else []
            chosen = next((other for other in reversed(above) if other in self._listed), "")
        elif not chosen and not before and self._listed and not self.noneEnabled:
            chosen = self._listed[0]
        self._fill(nodes, chosen)
        if chosen != self._current:
            self._current = chosen
            self._announce()

    def _fill(self, nodes: list[Any], chosen: str) -> None:
        box = self._box
        box.blockSignals(True)
        box.clear()
        if self.noneEnabled:
            box.addItem(self.noneDisplay, "")
        for node in nodes:
            box.addItem(node.GetName() or "", node.GetID())
        self._fill_actions()
        box.setCurrentIndex(box.findData(chosen, NODE_ID) if chosen or self.noneEnabled else -1)
        kinds = self.nodeTypes
        box.defaultText = f"Select a {self.nodeTypeLabel(kinds[0] if kinds else '')}"
        box.blockSignals(False)

    def _fill_actions(self) -> None:
        entries = self._entries() if self._scene is not None else []
        if entries:
            self._box.insertSeparator(self._box.count())
        for text, action in entries:
            self._box.addItem(text)
            self._box.setItemData(self._box.count() - 1, action, ACTION)

    def _entries(self) -> list[tuple[str, str]]:
        """(text, action) below the nodes."""
        kinds = self.nodeTypes
        label = self.nodeTypeLabel(kinds[0] if len(kinds) == 1 else "")
        entries = []
        if self.renameEnabled:
            entries.append((f"Rename current {label}", "rename"))
        if self.editEnabled:
            entries.append((f"Edit current {label}", "edit"))
        if self.addEnabled:
            for kind in kinds:
                entries.append((f"Create new {self.nodeTypeLabel(kind)}", f"create {kind}"))
                if self.renameEnabled:
                    entries.append((f"Create new {self.nodeTypeLabel(kind)} as...", f"create-as {kind}"))
        if self.removeEnabled:
            entries.append((f"Delete current {label}", "delete"))
        return entries + [(action.text(), f"user {index}") for index, action in enumerate(self._actions)]

    def _show_names(self) -> None:
        for index in range(self._box.count()):
            node = self._scene.GetNodeByID(self._box.itemData(index, NODE_ID) or "") if self._scene else None
            if node is not None and self._box.itemText(index) != node.GetName():
                self._box.setItemText(index, node.GetName() or "")

    def _announce(self) -> None:
        node = self.currentNode()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(self._current)

    def _activated(self, index: int) -> None:
        """A person chose an entry."""
        action = self._box.itemData(index, ACTION)
        if action is None:
            self._choose(self._box.itemData(index, NODE_ID) or "")
            self.nodeActivated.emit(self.currentNode())
            return
        self._show_current()
        word, _, kind = action.partition(" ")
        if word in ("create", "create-as"):
            name = answered(f"Create new {self.nodeTypeLabel(kind)}") if word == "create-as" else ""
            node = self.addNode(kind)
            if name:
                node.SetName(name)
            self.setCurrentNode(node)
            self.nodeAddedByUserAction.emit(node)
        elif word == "user":
            self._actions[int(kind)].trigger()
        else:
            {"rename": self.renameCurrentNode, "edit": self.editCurrentNode, "delete": self.removeCurrentNode}[word]()

    def _show_current(self) -> None:
        self._box.blockSignals(True)
        chosen = self._current
        self._box.setCurrentIndex(self._box.findData(chosen, NODE_ID) if chosen or self.noneEnabled else -1)
        self._box.blockSignals(False)

    def _choose(self, node_id: str) -> None:
        chosen = node_id if node_id in self._listed else ""
        if chosen != self._current:
            self._current = chosen
            self._show_current()
            self._announce()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def _current_id(self) -> str:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else (node.GetID() if node is not None else ""))

    def setCurrentNodeID(self, node_id: str) -> None:
        if self._scene is None:
            self._requested = node_id or ""
        else:
            self._choose(node_id or "")

    currentNodeID = qt_property(str, _current_id, setCurrentNodeID)
    currentNodeId = qt_property(str, _current_id, setCurrentNodeID)

    def setCurrentNodeIndex(self, index: int) -> None:
        self._choose(self._listed[index] if 0 <= index < len(self._listed) else "")

    def nodeCount(self) -> int:
        return len(self._listed)

    def nodeFromIndex(self, index: int) -> Any:
        return self._scene.GetNodeByID(self._listed[index]) if 0 <= index < len(self._listed) else None

    def nodeTypeLabel(self, kind: str) -> str:
        if kind in self._labels:
            return self._labels[kind]
        return (self._scene.GetTypeDisplayNameByClassName(kind) if self._scene is not None and kind else "") or "node"

    def setNodeTypeLabel(self, label: str, kind: str) -> None:
        self._labels[kind] = label
        self._refresh()

    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        self._attributes.append((kind, name, None if value is None else str(value)))
        self._refresh()

    def removeAttribute(self, kind: str, name: str) -> None:
        self._attributes = [entry for entry in self._attributes if entry[:2] != (kind, name)]
        self._refresh()

    def addMenuAction(self, action: Any) -> None:
        self._actions.append(action)
        self._refresh()

    def addNode(self, kind: str = "") -> Any:
        kind = kind or next(iter(self.nodeTypes), "")
        if kind not in self.nodeTypes or self._scene is None:
            return None
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self.baseName or self.nodeTypeLabel(kind)))
        for attribute_kind, name, value in self._attributes:
            if node.IsA(attribute_kind):
                node.SetAttribute(name, value or "")
        self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        if node is not None:
            name = answered(f"Rename {node.GetName()}")
            node.SetName(name)
            self.currentNodeRenamed.emit(name)

"""The selectors of nodes follow the scene as they do in Slicer."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host

pytest_plugins = ["host.fixtures"]
VOLUME, LABELS, MODEL = "vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode", "vtkMRMLModelNode"


@pytest.fixture
def selector(slicer: Any) -> Any:
    """A selector of volumes that knows the scene."""
    widget = slicer.qMRMLNodeComboBox()
    widget.nodeTypes = [VOLUME]
    widget.setMRMLScene(slicer.mrmlScene)
    return widget


@pytest.fixture
def add(slicer: Any) -> Any:
    """Adds a node of a class and name."""
    return lambda name, kind=VOLUME: slicer.mrmlScene.AddNewNodeByClass(kind, name)


def names(selector: Any) -> list[str]:
    return [selector.nodeFromIndex(index).GetName() for index in range(selector.nodeCount())]


def entries(selector: Any, qt: Any) -> list[str]:
    """What a person reads in the opened list."""
    box = selector.findChild(qt.QComboBox)
    return [box.itemText(index) for index in range(box.count) if box.itemText(index)]


def test_nodes_come_and_go_with_the_scene(selector: Any, add: Any, slicer: Any) -> None:
    volume = add("CT")
    add("Surface", MODEL)
    add("Labels", LABELS)
    assert names(selector) == ["CT", "Labels"]
    volume.SetName("MR")
    assert names(selector) == ["MR", "Labels"]
    slicer.mrmlScene.RemoveNode(volume)
    assert names(selector) == ["Labels"]
    slicer.mrmlScene.Clear(False)
    assert selector.nodeCount() == 0


def test_a_new_name_is_shown(selector: Any, add: Any, qt: Any) -> None:
    add("CT").SetName("MR")
    assert entries(selector, qt)[0] == "MR"


def test_without_a_scene_the_selector_is_disabled_and_remembers_what_was_wanted(slicer: Any, add: Any) -> None:
    add("CT")
    wanted = add("MR")
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = [VOLUME]
    assert not selector.enabled
    selector.setCurrentNode(wanted)
    assert selector.currentNode() is None
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.enabled
    assert selector.currentNode() is wanted


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, ["CT", "Labels"]),
        ({"showChildNodeTypes": False}, ["CT"]),
        ({"hideChildNodeTypes": [LABELS]}, ["CT"]),
        ({"showHidden": True}, ["CT", "Labels", "Hidden"]),
        ({"nodeTypes": [MODEL]}, ["Surface"]),
        ({"nodeTypes": [MODEL, LABELS]}, ["Labels", "Surface"]),
        ({"nodeTypes": []}, []),
    ],
)
def test_only_nodes_of_the_wanted_kind_are_listed(
    selector: Any, add: Any, settings: dict[str, Any], shown: list[str]
) -> None:
    add("CT")
    add("Labels", LABELS)
    add("Surface", MODEL)
    add("Hidden").SetHideFromEditors(True)
    for name, value in settings.items():
        setattr(selector, name, value)
    selector.setMRMLScene(None)
    import slicer

    selector.setMRMLScene(slicer.mrmlScene)
    assert names(selector) == shown


def test_a_selector_without_a_choice_says_what_it_is_for(selector: Any, qt: Any) -> None:
    box = selector.findChild(qt.QComboBox)
    assert (box.currentIndex, box.defaultText) == (-1, f"Select a {selector.nodeTypeLabel(VOLUME)}")


def test_an_attribute_chooses_among_the_nodes(selector: Any, add: Any) -> None:
    add("CT")
    add("Prior").SetAttribute("Role", "prior")
    selector.addAttribute(VOLUME, "Role", "prior")
    assert names(selector) == ["Prior"]
    selector.removeAttribute(VOLUME, "Role")
    assert names(selector) == ["CT", "Prior"]


def test_without_none_the_first_node_is_chosen_and_with_none_it_is_not(selector: Any, add: Any, slicer: Any) -> None:
    optional = slicer.qMRMLNodeComboBox()
    optional.nodeTypes = [VOLUME]
    optional.noneEnabled = True
    optional.setMRMLScene(slicer.mrmlScene)
    first = add("CT")
    add("MR")
    assert selector.currentNode() is first
    assert optional.currentNode() is None


@pytest.mark.parametrize(("none", "left"), [(False, "CT"), (True, "CT")])
def test_the_node_above_a_removed_one_is_chosen(selector: Any, add: Any, slicer: Any, none: bool, left: str) -> None:
    selector.noneEnabled = none
    add("CT")
    selector.setCurrentNode(add("MR"))
    slicer.mrmlScene.RemoveNode(selector.currentNode())
    assert selector.currentNode().GetName() == left
    slicer.mrmlScene.RemoveNode(selector.currentNode())
    assert selector.currentNode() is None


def test_a_choice_is_announced_once_with_node_validity_and_id(selector: Any, add: Any) -> None:
    first, second = add("CT"), add("MR")
    heard: list[Any] = []
    selector.currentNodeChanged.connect(heard.append)
    selector.connect("currentNodeChanged(bool)", heard.append)
    selector.currentNodeIDChanged.connect(heard.append)
    selector.setCurrentNode(first)
    assert heard == []
    selector.setCurrentNode(second)
    assert heard == [second, True, second.GetID()]
    heard.clear()
    selector.setCurrentNode(None)
    assert heard == [None, False, ""]


@pytest.mark.parametrize("how", ["node", "id", "property", "index"])
def test_a_node_can_be_chosen_in_four_ways(selector: Any, add: Any, how: str) -> None:
    add("CT")
    node = add("MR")
    if how == "node":
        selector.setCurrentNode(node)
    elif how == "id":
        selector.setCurrentNodeID(node.GetID())
    elif how == "property":
        selector.currentNodeID = node.GetID()
    else:
        selector.setCurrentNodeIndex(1)
    assert selector.currentNode() is node
    assert selector.currentNodeID == node.GetID()


def test_a_node_that_is_not_listed_is_no_choice(selector: Any, add: Any) -> None:
    add("CT")
    selector.setCurrentNode(add("Surface", MODEL))
    assert selector.currentNode() is None


def test_the_entries_below_the_nodes_are_those_that_are_enabled(selector: Any, add: Any, qt: Any) -> None:
    add("CT")
    label = selector.nodeTypeLabel(VOLUME)
    assert entries(selector, qt) == ["CT", f"Create new {label}", f"Delete current {label}"]
    selector.noneEnabled = True
    selector.noneDisplay = "Whole volume"
    selector.renameEnabled = True
    selector.addEnabled = False
    selector.removeEnabled = False
    assert entries(selector, qt) == ["Whole volume", "CT", f"Rename current {label}"]


def test_a_person_creates_renames_and_deletes_a_node(selector: Any, add: Any) -> None:
    selector.baseName = "Prior"
    selector.renameEnabled = True
    selector.setNodeTypeLabel("scan", VOLUME)
    heard: list[str] = []
    selector.nodeAddedByUser.connect(lambda node: heard.append(node.GetName()))
    selector.currentNodeRenamed.connect(heard.append)
    add("CT")
    assert host.choose(selector, "Create new scan")
    assert selector.currentNode().GetName() == "Prior"
    host.answers.append("Old")
    assert host.choose(selector, "Rename current scan")
    assert heard == ["Prior", "Old"]
    assert host.choose(selector, "Delete current scan")
    assert names(selector) == ["CT"]
    assert not host.choose(selector, "Edit current scan")


def test_a_created_node_has_the_attributes_and_a_name_of_its_own(selector: Any, add: Any) -> None:
    selector.addAttribute(VOLUME, "Role", "prior")
    selector.baseName = "Prior"
    names_of = [selector.addNode().GetName() for _ in range(2)]
    assert names_of == ["Prior", "Prior_1"]
    assert selector.currentNode().GetAttribute("Role") == "prior"
    selector.selectNodeUponCreation = False
    before = selector.currentNode()
    selector.addNode(VOLUME)
    assert selector.currentNode() is before
    assert selector.addNode(MODEL) is None


def test_an_action_of_the_module_is_an_entry(selector: Any, add: Any, qt: Any) -> None:
    heard: list[bool] = []
    action = qt.QAction("Find series...", selector)
    action.triggered.connect(heard.append)
    selector.addMenuAction(action)
    assert host.choose(selector, "Find series...")
    assert heard == [False]


def test_a_widget_that_is_gone_no_longer_follows_the_scene(slicer: Any, add: Any) -> None:
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = [VOLUME]
    selector.setMRMLScene(slicer.mrmlScene)
    selector.deleteLater()
    host.pump(lambda: False, 0.05)
    add("CT").SetName("MR")


def test_a_widget_hands_the_scene_on(slicer: Any) -> None:
    parent, child = slicer.qMRMLWidget(), slicer.qMRMLNodeComboBox()
    parent.connect("mrmlSceneChanged(vtkMRMLScene*)", child, "setMRMLScene(vtkMRMLScene*)")
    parent.setMRMLScene(slicer.mrmlScene)
    assert child.mrmlScene() is slicer.mrmlScene

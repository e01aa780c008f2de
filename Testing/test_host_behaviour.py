"""The data on what Slicer's classes do are tied to tests, and cover what the module uses."""

from __future__ import annotations

import ast
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
FACTS = json.loads((HERE / "host" / "behaviour.json").read_text(encoding="utf-8"))
FIELDS = {"class", "member", "fact", "where", "test"}


def used_classes() -> Iterator[str]:
    """The classes of CTK and Slicer in the module's .ui files and Python."""
    for path in (REPOSITORY / "Resources" / "UI").glob("*.ui"):
        yield from (item.attrib["class"] for item in ET.parse(path).getroot().iter("widget"))
    for path in (REPOSITORY / "AHNetSegment").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("ctk", "slicer")
            ):
                yield node.attr


def used_functions() -> Iterator[str]:
    """The functions of slicer.util that the module calls and that show, ask or make something."""
    for path in (REPOSITORY / "AHNetSegment").rglob("*.py"):
        found = re.findall(
            r"slicer\.util\.((?:\w+Display|loadUI|childWidgetVariables|messageBox))\(", path.read_text("utf-8")
        )
        yield from found


def test_every_fact_is_whole() -> None:
    assert len(FACTS) > 50
    for entry in FACTS:
        assert FIELDS <= set(entry) <= FIELDS | {"release"}, entry
        assert all(isinstance(value, str) and value for value in entry.values()), entry
        assert entry["fact"].endswith("."), entry


@pytest.mark.parametrize("entry", FACTS, ids=lambda entry: f"{entry['class']}.{entry['member']}")
def test_every_fact_has_a_test(entry: dict[str, str]) -> None:
    file, _, name = entry["test"].partition("::")
    functions = {
        node.name
        for node in ast.parse((HERE / file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert name in functions


def test_every_test_of_behaviour_has_a_fact() -> None:
    told = {entry["test"] for entry in FACTS}
    for path in sorted(HERE.glob("test_host_behaviour_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert f"{path.name}::{node.name}" in told


def test_every_class_that_the_module_uses_is_told_of() -> None:
    told = {entry["class"] for entry in FACTS}
    used = {name for name in used_classes() if re.match(r"ctk|qMRML|qSlicer", name)}
    assert len(used) > 5
    assert not used - told


def test_every_dialog_that_the_module_shows_is_told_of() -> None:
    told = " ".join(entry["member"] + entry["fact"] for entry in FACTS if entry["class"] == "slicer.util")
    used = set(used_functions())
    assert used
    assert not [name for name in used if name not in told]

"""The three rooms and their one-way arrows: scene -> engine -> network."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "AHNetSegment" / "AHNetSegmentLib"
STANDARD = set(sys.stdlib_module_names)
ALLOWED = {
    "network": {"torch"},
    "engine": {"torch", "numpy", "SimpleITK", "pydicom", "tomli", "AHNetSegmentLib.network"},
    "scene": {"slicer", "vtk", "qt", "ctk", "numpy", "AHNetSegmentLib.engine", "AHNetSegmentLib.network"},
}


def imported(path: Path, at_file_scope: bool = False) -> set[str]:
    """Names of the modules that a file imports: the first part, or room for this library's own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if at_file_scope else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == 2 and node.module:
            names.add(f"AHNetSegmentLib.{node.module.split('.')[0]}")
    return names


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = sorted((LIBRARY / room).glob("**/*.py"))
    assert files
    for path in files:
        foreign = imported(path) - STANDARD - ALLOWED[room] - {"AHNetSegmentLib.__init__"}
        assert not foreign, f"{path.name} imports {foreign}"


def test_the_scene_imports_torch_only_inside_functions() -> None:
    for path in (LIBRARY / "scene").glob("**/*.py"):
        assert "torch" not in imported(path, at_file_scope=True)


def test_cards_and_the_list_of_models_can_be_read_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; "
    code += "from AHNetSegmentLib.engine.card import read_card; "
    code += "from AHNetSegmentLib.engine.package import model_folders; print(len(model_folders()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=LIBRARY.parent, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


def test_no_file_is_longer_than_one_idea() -> None:
    for path in LIBRARY.glob("**/*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path.name

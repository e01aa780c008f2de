"""The panel over the stand-in only: the names that it uses, its tests that use none of the stand-in, no torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

import host

REPOSITORY = Path(__file__).resolve().parents[1]
MODULE = REPOSITORY / "AHNetSegment" / "AHNetSegment.py"
SCENE = MODULE.parent / "AHNetSegmentLib" / "scene"
TESTS = sorted(path.name for kind in ("panel", "scene") for path in Path(__file__).parent.glob(f"test_{kind}_*.py"))
HELPERS = ["conftest.py", "panel_helpers.py", "scene_helpers.py", "driver/slicer_driver.py", "driver/dialogs.py"]
STAND_IN = re.compile(r"^\s*(?:import|from)\s+(?:host|PySide6|shiboken6)\b|pytest_plugins.*host|QtCore|QtWidgets", re.M)
"""What a real Slicer has not."""


@pytest.mark.parametrize("name", ["AHNetSegment", "Cases", "Train", "Evaluate", "ManageModels"])
def test_every_name_of_the_panel_exists_in_slicer_or_qt(name: str) -> None:
    form = REPOSITORY / "Resources" / "UI" / f"{name}.ui"
    files = [MODULE, *sorted(SCENE.glob("*.py"))]
    assert host.used_names(form, files)
    assert not host.unknown_names(form, files)


@pytest.mark.parametrize("name", [*TESTS, *HELPERS])
def test_what_runs_in_slicer_uses_nothing_of_the_stand_in(name: str) -> None:
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    # Whether Qt and a scene can be had at all is asked before a real Slicer is ruled out.
    text = text.replace('pytest.importorskip("PySide6"', "")
    assert not [match.group() for match in STAND_IN.finditer(text)]


WITHOUT_TORCH = """
import sys
sys.path[:0] = {paths!r}
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "monai"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
from pathlib import Path
import host
host.start()
module = host.load_module(Path({module!r}))
widget = host.create_widget(module)
assert widget.ui.modelSelector.count >= 1
from AHNetSegmentLib.scene.selftest import example_volume
widget.logic.getParameterNode().inputVolume = example_volume()
assert widget.ui.segmentButton.enabled
assert "torch" not in sys.modules
print("built")
"""


def test_the_panel_is_built_without_torch() -> None:
    paths = [str(REPOSITORY / "Testing"), str(REPOSITORY / "AHNetSegment")]
    code = WITHOUT_TORCH.format(paths=paths, module=str(MODULE))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert "built" in done.stdout, done.stderr[-2000:]

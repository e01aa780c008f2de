"""The runner and the driver of a real Slicer, tried over the stand-in in a process of its own."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

from in_slicer import __main__ as runner
from in_slicer.configurations import CONFIGURATIONS

TESTING = Path(__file__).resolve().parent
SLICER = """#!/bin/sh
export AHNET_DRIVER=slicer PYTHONPATH="{testing}{separator}{library}" QT_QPA_PLATFORM=offscreen
exec "{python}" -m host.as_slicer "$@"
"""
PYTHON = '#!/bin/sh\nexec "{python}" "$@"\n'
TESTS = (
    "test_panel_cases.py::test_a_pair_is_chosen_and_added_once",
    "test_panel_cases.py::test_several_segments_become_one_class",
    "test_panel_cases.py::test_nothing_can_be_changed_while_disabled",
    "test_panel_library.py::test_the_library_is_beside_slicer_s_settings",
    "test_panel_library.py::TestExport",
    "test_panel_module.py::test_reload_gives_a_panel_that_works",
    "test_panel_module.py::test_every_control_has_a_tool_tip",
    "test_panel_segment.py::test_the_button_says_why_it_is_disabled",
    "test_panel_segment.py::test_what_looks_unlike_the_model_is_said_and_asked_once",
    "test_panel_train.py::test_discard_asks_and_removes",
    "test_scene_curves.py::test_close_removes_every_node",
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="makes programs of scripts")


@pytest.fixture
def slicer(tmp_path: Path) -> Path:
    """A program that takes Slicer's command line, and its Python."""
    words = {"testing": TESTING, "library": TESTING.parent / "AHNetSegment", "python": sys.executable}
    program = tmp_path / "Slicer" / "Slicer"
    for path, text in ((program, SLICER), (program.parent / "bin" / "PythonSlicer", PYTHON)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(separator=os.pathsep, **words), encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.mark.parametrize("name", ["plain", pytest.param("testing-no-main-window", marks=pytest.mark.slow)])
def test_self_test_and_tests_of_the_panel_run_through_the_driver_of_a_real_slicer(
    slicer: Path, tmp_path: Path, name: str
) -> None:
    tests = [f"Testing/{test}" for test in TESTS]
    found = runner.run(slicer, CONFIGURATIONS[name], tmp_path / "out", tests, 600)
    assert found.passed, found.details()
    assert found.self_test
    assert found.counts is not None
    assert (found.counts["failed"], found.counts["skipped"]) == (0, 0)
    assert found.counts["passed"] >= len(TESTS)
    log = (tmp_path / "out" / "slicer.log").read_text(encoding="utf-8")
    assert all(f"[section] Testing/{test}" in log for test in TESTS)
    assert not (tmp_path / "out" / "temporary").exists()


PROVOKING = """
import driver, pytest, vtk, qt
@pytest.mark.parametrize("kind", ["slot", "vtk", "qt"])
def test_it(kind, pump):
    if kind == "slot":
        timer = qt.QTimer()
        timer.connect("timeout()", lambda: 1 / 0)
        timer.start(0)
        pump(lambda: bool(driver.errors), 5)
        timer.stop()
        driver.errors.clear()
    elif kind == "vtk":
        vtk.vtkImageCast().Update()
    else:
        qt.QPixmap().scaled(3, 3)
"""


def test_what_must_not_be_in_the_log_fails_the_run_though_each_test_passes(slicer: Path, tmp_path: Path) -> None:
    path = tmp_path / "test_provoking.py"
    path.write_text(PROVOKING, encoding="utf-8")
    (tmp_path / "conftest.py").write_text("from conftest_of_the_project import *", encoding="utf-8")
    (tmp_path / "conftest_of_the_project.py").write_text((TESTING / "conftest.py").read_text(encoding="utf-8"))
    found = runner.run(slicer, CONFIGURATIONS["plain"], tmp_path / "out", [str(path)], 600)
    assert found.counts == {"passed": 3, "failed": 0, "skipped": 0}, found.details()
    assert not found.passed
    kinds = {(finding.section.rpartition("[")[2].rstrip("]"), finding.kind) for finding in found.findings}
    assert kinds == {("slot", "traceback"), ("vtk", "error of VTK"), ("qt", "warning of Qt")}

"""The runner of the tests in a real Slicer: command lines, the check of the log, the table; without a Slicer."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from in_slicer import __main__ as runner
from in_slicer import log
from in_slicer.configurations import CONFIGURATIONS, command, environment, python_of
from in_slicer.summary import Outcome, outcome, table

HEAD = "[{}][{}] 25.11.2026 14:03:07 [{}] (unknown:0) - {}\n"


def line(level: str, origin: str, message: str, category: str = "") -> str:
    """An entry of Slicer's log file."""
    return HEAD.format(level, origin, category, message)


def section(name: str, begin: str = log.SECTION) -> str:
    return line("INFO", "Python", begin + name, "Python")


def kinds(text: str) -> list[tuple[str, str]]:
    return [(found.section, found.kind) for found in log.findings(text)]


# Command lines


def test_each_configuration_has_its_own_words() -> None:
    told = {
        name: command(Path("/opt/Slicer/Slicer"), found, Path("/src/AHNetSegment"), Path("/src/inside.py"))
        for name, found in CONFIGURATIONS.items()
    }
    assert {name: ("--testing" in words, "--no-main-window" in words) for name, words in told.items()} == {
        "plain": (False, False),
        "testing": (True, False),
        "no-main-window": (False, True),
        "testing-no-main-window": (True, True),
    }
    for words in told.values():
        assert words[0] == "/opt/Slicer/Slicer"
        assert words[-4:] == [
            "--additional-module-paths", "/src/AHNetSegment", "--python-script", "/src/inside.py",
        ]  # fmt: skip
        assert "--disable-settings" in words, "the person's settings stay as they are"


def test_slicer_gets_an_environment_without_this_python_s() -> None:
    before = {
        "PATH": "/bin",
        "DISPLAY": ":1",
        "PYTHONPATH": "AHNetSegment",
        "VIRTUAL_ENV": "x",
        "AHNET_DRIVER": "slicer",
    }
    found = environment(Path("/r/run.json"), Path("/r/settings"), Path("/r/pictures"), before)
    assert (found["PATH"], found["DISPLAY"]) == ("/bin", ":1")
    assert not {"PYTHONPATH", "VIRTUAL_ENV", "AHNET_DRIVER"} & set(found)
    assert found["AHNET_IN_SLICER"] == str(Path("/r/run.json"))
    assert found["XDG_CONFIG_HOME"] == found["AHNET_SLICER_SETTINGS"] == str(Path("/r/settings"))


@pytest.mark.parametrize(
    ("slicer", "python"),
    [("Slicer", "bin/PythonSlicer"), ("Slicer.exe", "bin/PythonSlicer.exe"), ("MacOS/Slicer", "bin/PythonSlicer")],
)
def test_slicer_s_python_is_found_beside_it(tmp_path: Path, slicer: str, python: str) -> None:
    for name in (slicer, python):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert python_of(tmp_path / slicer) == tmp_path / python
    (tmp_path / python).unlink()
    assert python_of(tmp_path / slicer) is None


# The log


def test_the_parts_of_an_entry_and_its_further_lines() -> None:
    text = line("ERROR", "VTK", "ERROR: In vtkPlot.cxx, line 9\nvtkPlotPoints (0x55): too few", "vtkPlotPoints (0x55)")
    (entry,) = log.entries(text)
    assert (entry.level, entry.origin, entry.place) == ("ERROR", "VTK", "unknown:0")
    assert entry.message.splitlines() == ["ERROR: In vtkPlot.cxx, line 9", "vtkPlotPoints (0x55): too few"]


@pytest.mark.parametrize(
    ("level", "origin", "message", "kind"),
    [
        ("ERROR", "VTK", "ERROR: In /src/vtkMRMLScene.cxx, line 77\nvtkMRMLScene (0x1): no such node", "error of VTK"),
        ("CRITICAL", "Stream", "ERROR: In vtkPlotPoints.cxx, line 412", "error of VTK"),
        ("WARNING", "Qt", "QLayout::addChildLayout: layout already has a parent", "warning of Qt"),
        ("CRITICAL", "Qt", "qMRMLNodeComboBox::setCurrentNode failed", "warning of Qt"),
        ("CRITICAL", "Stream", "Exception ignored in: <function f at 0x7f>", "traceback"),
        (
            "CRITICAL",
            "Stream",
            "error: [/opt/bin/SlicerApp-real] exit abnormally - Report the problem.",
            "crash",
        ),
        ("CRITICAL", "Stream", "Segmentation fault (core dumped)", "crash"),
    ],
)
def test_what_must_not_be_there_is_found(level: str, origin: str, message: str, kind: str) -> None:
    assert kinds(section("one") + line(level, origin, message)) == [("one", kind)]


@pytest.mark.parametrize(
    ("level", "origin", "message"),
    [
        ("DEBUG", "Qt", 'Switch to module:  "AHNetSegment"'),
        ("WARNING", "VTK", "Generic Warning: In vtkObject.cxx, line 3: deprecated"),
        ("WARNING", "Qt", "This plugin does not support propagateSizeHints()"),
        ("WARNING", "Qt", "QXcbConnection: XCB error: 3 (BadWindow)"),
        ("CRITICAL", "Stream", "test_console (AHNetSegment.AHNetSegmentTest) ... ok"),
        ("INFO", "Stream", "Testing/test_panel_cases.py::test_an_error_of_vtk PASSED"),
        ("ERROR", "Python", "The volume is empty; choose one that holds image data."),
    ],
)
def test_what_a_healthy_slicer_says_is_no_finding(level: str, origin: str, message: str) -> None:
    assert kinds(section("one") + line(level, origin, message)) == []


TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "panel.py", line 3, in update',
    "    raise ValueError",
    "ValueError: no",
]


def test_a_printed_traceback_comes_line_by_line_and_is_one_finding() -> None:
    text = section("one") + "".join(line("CRITICAL", "Stream", part) for part in [*TRACEBACK, "something else"])
    (found,) = log.findings(text)
    assert (found.section, found.kind, found.text.splitlines()) == ("one", "traceback", TRACEBACK)


def test_a_logged_traceback_is_one_finding_however_often_it_is_said() -> None:
    text = line("ERROR", "Python", "\n".join(["Not told", *TRACEBACK]))
    assert kinds(section("one") + text + text) == [("one", "traceback")]
    assert kinds(section("one") + text + section("two") + text) == [("one", "traceback"), ("two", "traceback")]


def test_errors_that_a_test_makes_on_purpose_do_not_count_but_a_crash_does() -> None:
    bad = line("CRITICAL", "Stream", TRACEBACK[0]) + line("ERROR", "VTK", "ERROR: In a.cxx, line 1")
    crash = line("CRITICAL", "Stream", "terminate called after throwing an instance of std::bad_alloc")
    assert kinds(section("one", log.EXPECTED) + bad + crash + section("two")) == [("one", "crash")]


def test_while_slicer_starts_and_ends_only_ours_counts() -> None:
    other = line("ERROR", "VTK", "ERROR: In vtkDICOM.cxx, line 1")
    ours = line("CRITICAL", "Stream", "\n".join([TRACEBACK[0], '  File "/x/AHNetSegment.py", line 1']))
    assert kinds(other + ours + section("one") + section(log.END) + other) == [(log.START, "traceback")]


# What came of it


def left(folder: Path, **changes: object) -> Path:
    """What Slicer leaves when all went well."""
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "input.png").touch()
    log_file = folder / "Slicer_1.log"
    log_file.write_text(section("a test") + line("INFO", "Qt", "well"), encoding="utf-8")
    result = {"version": "5.12.3", "log": str(log_file), "self_test": {"passed": True, "message": ""}, "tests": 0}
    (folder / "result.json").write_text(json.dumps({**result, **changes}), encoding="utf-8")
    (folder / "console.log").write_text("[section] a test\n", encoding="utf-8")
    (folder / "tests.xml").write_text(
        '<testsuites><testsuite><testcase classname="t" name="a"/>'
        '<testcase classname="t" name="b"><skipped/></testcase></testsuite></testsuites>'
    )
    return folder


def test_all_went_well(tmp_path: Path) -> None:
    found = outcome("plain", left(tmp_path / "plain"), 0, 90)
    assert found.passed
    assert found.details() == ""
    assert found.row() == ("plain", "5.12.3", "passed", "1", "0", "1", "1", "clean", "1.5")
    assert (tmp_path / "plain" / "slicer.log").is_file()


def test_a_failed_test_a_failed_self_test_and_a_finding_fail_the_run(tmp_path: Path) -> None:
    folder = left(tmp_path / "one", tests=1)
    (folder / "tests.xml").write_text('<s><testcase classname="t" name="a"><failure/></testcase></s>')
    found = outcome("one", folder, 1, 1)
    assert not found.passed
    assert found.details() == "one: failed: t.a\n"
    folder = left(tmp_path / "two", self_test={"passed": False, "message": "AssertionError: no segment"})
    assert "AssertionError: no segment" in outcome("two", folder, 1, 1).details()
    folder = left(tmp_path / "three")
    (folder / "Slicer_1.log").write_text(section("a test") + line("ERROR", "VTK", "ERROR: In a.cxx, line 1"))
    found = outcome("three", folder, 0, 1)
    assert not found.passed
    assert "a test: error of VTK" in found.details()
    assert "a.cxx" in (folder / "findings.txt").read_text(encoding="utf-8")


def test_no_test_at_all_is_no_success(tmp_path: Path) -> None:
    folder = left(tmp_path / "one", tests=5)
    (folder / "tests.xml").write_text("<s/>")
    found = outcome("one", folder, 1, 1)
    assert not found.passed
    assert found.problem == "pytest ended with status 5."


def test_a_slicer_that_crashes_is_too_slow_or_says_nothing_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "console.log").write_text("[section] Testing/test_panel_cases.py::test_pair\nSegmentation fault\n")
    found = outcome("one", folder, -11, 1)
    assert found.problem == "Slicer ended with status -11 during Testing/test_panel_cases.py::test_pair."
    assert [item.kind for item in found.findings] == ["crash"]
    assert "Slicer has left no log file" in found.details()
    assert outcome("one", folder, None, 1).problem.startswith("Slicer's time was over during Testing/test_panel")
    assert "after its tests had passed" in outcome("two", left(tmp_path / "two"), 1, 1).problem


def test_the_table_has_a_line_for_each_configuration(tmp_path: Path) -> None:
    lines = table([outcome("plain", left(tmp_path / "a"), 0, 60), Outcome("testing", tmp_path)]).splitlines()
    assert lines[0].split() == [
        "Configuration", "Slicer", "Self", "test", "Passed", "Failed", "Skipped", "Pictures", "Log", "Minutes",
    ]  # fmt: skip
    assert lines[2].split() == ["plain", "5.12.3", "passed", "1", "0", "1", "1", "clean", "1.0"]
    assert lines[3].split() == ["testing", "–", "–", "–", "–", "–", "0", "clean", "0.0"]


# Before anything is run


def test_without_a_program_nothing_is_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert runner.main(["--slicer", ""]) == 2
    assert "make test-slicer SLICER=/path/to/Slicer" in capsys.readouterr().err
    assert runner.main(["--slicer", str(tmp_path / "Slicer")]) == 2
    assert "is no program" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="makes programs of scripts")
def test_what_slicer_s_python_lacks_is_said_and_not_installed_unasked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    installed = tmp_path / "installed"
    python = f'#!/bin/sh\nif [ "$2" = pip ]; then echo "$@" > "{installed}"; else echo pytest torch; fi\n'
    for name, script in (("Slicer", "#!/bin/sh\nexit 7\n"), ("bin/PythonSlicer", python)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    words = ["--slicer", str(tmp_path / "Slicer"), "--output", str(tmp_path / "out")]
    assert runner.main(words) == 2
    assert "Slicer's Python lacks pytest and torch; INSTALL=yes installs" in capsys.readouterr().err
    assert not installed.exists()
    assert runner.main([*words, "--install"]) == 2
    assert installed.read_text().split() == ["-m", "pip", "install", "pytest", "torch"]
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="makes programs of scripts")
def test_a_slicer_whose_python_is_too_old_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    old = "#!/bin/sh\necho\necho Python 3.9.10 is older than 3.10 >&2\nexit 1\n"
    for name, script in (("Slicer", "#!/bin/sh\n"), ("bin/PythonSlicer", old)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    assert runner.main(["--slicer", str(tmp_path / "Slicer")]) == 2
    assert "cannot run the tests: Python 3.9.10 is older than 3.10" in capsys.readouterr().err


def test_the_workflow_starts_slicer_in_every_way() -> None:
    text = (Path(__file__).parents[1] / ".github" / "workflows" / "slicer.yml").read_text(encoding="utf-8")
    listed = re.search(r"configuration: \[(.+)\]", text)
    assert listed is not None
    assert listed[1].split(", ") == list(CONFIGURATIONS)


def test_every_test_of_the_panel_is_run() -> None:
    there = Path(__file__).parent
    assert {Path(name).name for name in runner.TESTS} == {
        path.name for path in there.glob("test_*.py") if path.name.startswith(("test_panel_", "test_scene_"))
    }
    given = runner.arguments(["--slicer", "x", "--", "Testing/test_panel_cases.py", "-k", "pair"])
    assert given.tests == ["Testing/test_panel_cases.py", "-k", "pair"]

"""What Slicer executes: the module's own test, then the tests of the panel; then Slicer ends.

Slicer runs this file in its main thread, from its event loop. ``AHNET_IN_SLICER`` names a JSON file::

    {"repository": "...", "folder": "...", "tests": ["Testing/test_panel_cases.py", "-k", "checked"]}

The folder gets ``result.json`` and ``tests.xml``, which JUnit's readers know.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

NAME = "AHNetSegment"
BETWEEN, END = "between tests", "end of Slicer"


class Console:
    """Slicer's standard output as pytest needs it."""

    encoding = "utf-8"

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if hasattr(self._stream, "flush"):
            self._stream.flush()

    def isatty(self) -> bool:
        return False


def say(section: str, errors_expected: bool = False) -> None:
    """Writes into Slicer's log what comes next."""
    import slicer

    from in_slicer import log

    slicer.app.processEvents()  # what was printed so far waits for the event loop
    logging.getLogger(NAME).info("%s%s", log.EXPECTED if errors_expected else log.SECTION, section)
    slicer.app.processEvents()


class Sections:
    """A plugin of pytest: each test is a section of the log."""

    def pytest_runtest_protocol(self, item: Any) -> None:
        say(item.nodeid, errors_expected=item.get_closest_marker("logs_errors") is not None)

    def pytest_runtest_logfinish(self) -> None:
        say(BETWEEN)


def self_test(modules: Path) -> dict[str, Any]:
    """The module's own test, as Slicer runs it; no driver is there yet."""
    import slicer.testing

    try:
        slicer.testing.runUnitTest([str(modules)], NAME)
    except Exception:
        return {"passed": False, "message": traceback.format_exc()}
    return {"passed": True, "message": ""}


def panel_tests(run: dict[str, Any]) -> int:
    """pytest's exit status."""
    import pytest
    import slicer

    import driver

    driver.start()
    # The module's own test has opened a panel; each test opens one of its own.
    driver.close_widget(slicer.util.getModuleWidget(NAME))
    folder = Path(run["folder"])
    options = ["--capture=no", "-v", "--tb=short", "-p", "no:faulthandler", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += [f"--rootdir={run['repository']}", "-c", str(Path(run["repository"]) / "pyproject.toml")]
    options += [f"--basetemp={folder / 'temporary' / 'pytest'}", f"--junitxml={folder / 'tests.xml'}"]
    try:
        return int(pytest.main([*options, *run["tests"]], plugins=[Sections()]))
    finally:
        driver.stop()


def main() -> None:
    """Does all that and ends Slicer with 0 if all went well, 1 otherwise."""
    import slicer

    run = json.loads(Path(os.environ["AHNET_IN_SLICER"]).read_text(encoding="utf-8"))
    folder, repository = Path(run["folder"]), Path(run["repository"])
    status, result = 1, {"version": str(slicer.app.applicationVersion), "log": str(slicer.app.errorLogModel().filePath)}
    sys.stdout = Console(sys.stdout)  # type: ignore[assignment]
    try:
        os.chdir(repository)
        sys.path.insert(0, str(repository / "Testing"))
        (folder / "temporary" / "slicer").mkdir(parents=True)
        slicer.app.temporaryPath = str(folder / "temporary" / "slicer")
        say("self test")
        result["self_test"] = self_test(repository / "AHNetSegment")
        say(BETWEEN)
        result["tests"] = panel_tests(run)
        status = int(bool(result["tests"]) or not result["self_test"]["passed"])
    except BaseException:
        result["problem"] = traceback.format_exc()
        traceback.print_exc()
    finally:
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        say(END)
        slicer.util.exit(status)


main()

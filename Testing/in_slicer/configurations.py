"""In which ways Slicer is started, and where it keeps its settings meanwhile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RUN = "AHNET_IN_SLICER"
"""Environment variable: the file that says what is to be done inside; see :mod:`in_slicer.inside`."""
SETTINGS = "AHNET_SLICER_SETTINGS"
"""Environment variable: the folder of the settings; see :mod:`driver.slicer_driver`."""
PICTURES = "AHNET_PICTURES"
"""Environment variable: the folder for pictures of the panel."""
NOT_HANDED_ON = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "AHNET_DRIVER")
"""Environment variables of the Python that starts Slicer; Slicer's own Python has others."""


@dataclass(frozen=True)
class Configuration:
    """One way of starting Slicer."""

    name: str
    testing: bool
    main_window: bool


CONFIGURATIONS = {
    found.name: found
    for found in (
        Configuration("plain", testing=False, main_window=True),
        Configuration("testing", testing=True, main_window=True),
        Configuration("no-main-window", testing=False, main_window=False),
        Configuration("testing-no-main-window", testing=True, main_window=False),
    )
}


def command(slicer: Path, configuration: Configuration, modules: Path, script: Path) -> list[str]:
    """The words that start Slicer.

    Args:
        slicer: the program.
        configuration: which way.
        modules: the folder of the module script.
        script: what Python executes once Slicer is there.
    """
    words = [str(slicer), "--no-splash", "--ignore-slicerrc", "--disable-settings"]
    words += ["--testing"] if configuration.testing else []
    words += [] if configuration.main_window else ["--no-main-window"]
    # The option for folders takes all words up to the next option.
    return [*words, "--additional-module-paths", str(modules), "--python-script", str(script)]


def environment(run: Path, settings: Path, pictures: Path, before: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that Slicer gets: that of this process with settings of its own.

    ``--disable-settings`` makes Slicer begin with empty ones, but beside those of the person: the folder of own models
    would be the person's. Qt looks for both where ``XDG_CONFIG_HOME`` says, except on Windows.
    """
    found = {
        key: value for key, value in (os.environ if before is None else before).items() if key not in NOT_HANDED_ON
    }
    found |= {RUN: str(run), SETTINGS: str(settings), "XDG_CONFIG_HOME": str(settings), PICTURES: str(pictures)}
    return found | {"PYTHONDONTWRITEBYTECODE": "1", "QTWEBENGINE_DISABLE_SANDBOX": "1"}


def python_of(slicer: Path) -> Path | None:
    """``PythonSlicer`` of a Slicer; None where there is none."""
    endings = ("", ".exe")
    folders = (slicer.parent / "bin", slicer.parent, slicer.parent.parent / "bin")
    places = (folder / f"PythonSlicer{ending}" for folder in folders for ending in endings)
    return next((place for place in places if place.is_file()), None)

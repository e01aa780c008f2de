"""Fixtures that several test files share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in (REPOSITORY / "AHNetSegment", REPOSITORY / "Testing"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def app() -> Any:
    """The application around a real scene, one for all tests; its scene is ``slicer.mrmlScene``."""
    pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")
    from slicer_app import slicer_app

    return slicer_app()


@pytest.fixture
def scene(app: Any) -> Iterator[Any]:
    """A scene that is empty before and after the test."""
    app.scene.Clear(False)
    yield app.scene
    app.scene.Clear(False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of labelled volumes beside the repository, or AHNET_SHARED's; the test is skipped without it."""
    data = Path(os.environ.get("AHNET_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not data.is_dir():
        pytest.skip("there is no folder of shared data; AHNET_SHARED names one")
    return data

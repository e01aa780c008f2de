"""Fixtures that several test files share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in (REPOSITORY / "AHNetSegment", REPOSITORY / "Testing"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


import driver


@pytest.fixture(autouse=True)
def nothing_is_swallowed() -> Iterator[None]:
    """No slot, timer or observer raises in a test, and VTK reports no error: Slicer would print it and go on.

    ``driver.swallowed`` is for tests in which one shall.
    """
    yield
    errors = driver.noted_errors()
    found = [f"{type(error).__name__}: {error}" for error in errors]
    errors.clear()
    assert not found


@pytest.fixture(scope="session")
def app() -> Any:
    """The application around a real scene without Slicer, one for all tests; its scene is ``slicer.mrmlScene``."""
    pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer; Slicer has views of its own")
    from slicer_app import slicer_app

    return slicer_app()


@pytest.fixture
def scene() -> Iterator[Any]:
    """A scene in which nobody has put anything, before and after the test."""
    if not driver.IN_SLICER:
        pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")
    found = driver.scene()
    found.Clear(False)
    yield found
    found.Clear(False)
    found.SetURL("")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of labelled volumes beside the repository, or AHNET_SHARED's; the test is skipped without it."""
    data = Path(os.environ.get("AHNET_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not data.is_dir():
        pytest.skip("there is no folder of shared data; AHNET_SHARED names one")
    return data


@pytest.fixture(scope="session")
def module() -> Any:
    """The module script, loaded as Slicer loads it."""
    driver.require()
    return driver.load_module()


@pytest.fixture
def started(scene: Any) -> Iterator[None]:
    """``qt``, ``ctk`` and ``slicer`` work, over an empty scene; nobody is left waiting for an answer."""
    driver.require()
    driver.start()
    driver.forget()
    yield
    assert not driver.answers


@pytest.fixture
def qt(started: None) -> Any:
    """The module ``qt``."""
    import qt

    return qt


@pytest.fixture
def ctk(started: None) -> Any:
    """The module ``ctk``."""
    import ctk

    return ctk


@pytest.fixture
def slicer(started: None) -> Any:
    """The module ``slicer``."""
    import slicer

    return slicer


@pytest.fixture
def widget(module: Any, started: None) -> Iterator[Any]:
    """The panel over an empty scene; its worker has ended after the test."""
    from AHNetSegmentLib.scene import worker_process

    found = driver.create_widget()
    yield found
    driver.close_widget(found)
    assert driver.pump(lambda: not worker_process._running, 20)


@pytest.fixture(scope="session")
def pump() -> Callable[..., bool]:
    """Turns Qt's event loop until something is so."""
    driver.require()
    driver.start()
    return lambda until, timeout_s=20.0: driver.pump(until, timeout_s)


@pytest.fixture
def library_as_before() -> Iterator[None]:
    """After the test the library's modules are those that other tests have imported."""

    def ours() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] in ("AHNetSegmentLib", "AHNetSegment")]

    before = {name: sys.modules[name] for name in ours()}
    yield
    for name in ours():
        del sys.modules[name]
    sys.modules.update(before)
    for name, found in before.items():
        package, _, last = name.rpartition(".")
        if package:
            setattr(before[package], last, found)

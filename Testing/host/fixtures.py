"""Fixtures for tests in the host: ``pytest_plugins = ["host.fixtures"]`` in a test file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import host


@pytest.fixture
def hosted(scene: Any) -> Iterator[None]:
    """The host is started, the scene empty, nothing noted."""
    host.start()
    for noted in (host.messages, host.answers, host.installations):
        noted.clear()
    yield
    assert not host.answers


@pytest.fixture
def qt(hosted: None) -> Any:
    """The module ``qt``."""
    import qt

    return qt


@pytest.fixture
def ctk(hosted: None) -> Any:
    """The module ``ctk``."""
    import ctk

    return ctk


@pytest.fixture
def slicer(hosted: None) -> Any:
    """The module ``slicer`` with its stand-ins."""
    import slicer

    return slicer

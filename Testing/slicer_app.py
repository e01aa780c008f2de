"""A real Slicer scene without Slicer: slicer-core's MRML with trame-slicer's application around it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def slicer_app() -> Any:
    """The application of this process, made on first use; its scene becomes ``slicer.mrmlScene``.

    One only: the displayable manager factories are singletons and know a single application.

    Raises:
        ImportError: slicer-core or trame-slicer is not installed.
    """
    import slicer
    from trame_slicer.core import SlicerApp

    app = SlicerApp()
    slicer.mrmlScene = app.scene
    return app

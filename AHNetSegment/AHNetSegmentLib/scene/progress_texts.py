"""What the panel says while the worker computes."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..engine.progress import time_text
from .worker_run import WAITING


def state_text(state: str) -> str:
    """A state that a task or a run tells, in the user's language."""
    texts = {
        WAITING: _("Waiting for another computation"),
        "Loading PyTorch": _("Loading PyTorch"),
        "Loading the model": _("Loading the model"),
        "Segmenting": _("Segmenting"),
        "Writing the result": _("Writing the result"),
        "Preparing the cases": _("Preparing the cases"),
        "Training": _("Training"),
        "Evaluating": _("Evaluating"),
    }
    return texts.get(state, state)


def show_progress(bar: Any, doing: str, done: int, total: int, seconds_left: float | None) -> str:
    """Moves a progress bar; returns what is being done, with the time left in s where it is known."""
    bar.setRange(0, total)
    bar.value = done
    if seconds_left is None:
        return f"{doing}…"
    left = _("about {time} left").format(time=time_text(seconds_left))
    return f"{doing}… {left}"

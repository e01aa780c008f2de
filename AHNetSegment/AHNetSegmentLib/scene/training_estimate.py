"""How long a training will take: asked of the worker when a person has stopped changing things."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from ..engine.errors import AHNetSegmentError
from ..engine.progress import time_text
from .timers import Once
from .worker import Worker

DEBOUNCE_MS = 1500
GIVE_UP_MS = 5000
KEPT = 20
"""So many estimates are remembered."""


class Estimate:
    """Asks the worker's task ``estimate``, one at a time, for what was wanted last.

    Args:
        worker: it is only asked when it has nothing else to do.
        show: gets the sentence to show; empty: none.
    """

    def __init__(self, worker: Worker, show: Callable[[str], None]) -> None:
        self._worker = worker
        self._show = show
        self._wanted: dict[str, Any] | None = None
        self._key = ""
        self._known: dict[str, str] = {}
        self._running = False
        self._ask_soon = Once(self._ask, DEBOUNCE_MS)
        show("")

    @property
    def running(self) -> bool:
        """Whether the worker is measuring."""
        return self._running

    def want(self, arguments: Mapping[str, Any] | None) -> None:
        """Has an estimate shown soon for these arguments of the task; None: nothing is shown."""
        key = "" if arguments is None else json.dumps(arguments, sort_keys=True)
        if key == self._key:
            return
        self._key = key
        self._wanted = None if arguments is None else dict(arguments)
        self._ask_soon.stop()
        if self._wanted is None:
            self._show("")
        elif key in self._known:
            self._show(self._known[key])
        else:
            self._show(_("Time on this computer: …"))
            self._ask_soon.want()

    def stop(self) -> None:
        """Gives up what is measured now and shows nothing."""
        self.want(None)
        if self._running:
            self._worker.cancel(grace_ms=GIVE_UP_MS)

    def _ask(self) -> None:
        if self._wanted is None:
            return
        if self._worker.state == "busy":
            self._ask_soon.want()
            return
        key = self._key
        try:
            self._worker.run(
                "estimate",
                self._wanted,
                finished=lambda result: self._measured(key, _sentence(result)),
                failed=lambda message: self._ended(key, message),
                cancelled=lambda: self._ended(key, ""),
            )
        except AHNetSegmentError as error:
            self._show(str(error))
        else:
            self._running = True

    def _measured(self, key: str, sentence: str) -> None:
        self._known = {**dict(list(self._known.items())[-KEPT:]), key: sentence}
        self._ended(key, sentence)

    def _ended(self, key: str, sentence: str) -> None:
        self._running = False
        if key == self._key:
            self._show(sentence)


def _sentence(result: Mapping[str, Any]) -> str:
    return _("About {time} on this computer, {steps} steps.").format(
        time=time_text(float(result["seconds"])), steps=result["steps"]
    )

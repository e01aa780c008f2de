"""Sentences in labels: however long the names and paths in them, the panel stays as narrow as it is."""

from __future__ import annotations

import re
from typing import Any

WORD_LENGTH = 36
"""So many characters fit beside each other into a panel of 430 px, even wide ones."""

_UNBROKEN = re.compile(rf"[^\s/-]{{{WORD_LENGTH + 1},}}")
"""A label breaks lines at spaces, and behind slashes and hyphens."""


def fitted(text: str) -> str:
    """The text with the middle of each word left out that fits into no line: the ends of a name tell most."""
    half = (WORD_LENGTH - 1) // 2
    return _UNBROKEN.sub(lambda found: f"{found[0][:half]}…{found[0][-half:]}", text)


class Sentence:
    """What a label says, kept beside it: the label itself may show less.

    A tool tip has the whole text where the label leaves something out. It is never read back: Slicer makes HTML of
    tool tips.

    Attributes:
        text: the whole text.

    Args:
        label: the ``QLabel``.
        tip: its tool tip otherwise.
        stays: whether it keeps its place while it says nothing.
    """

    def __init__(self, label: Any, tip: str = "", stays: bool = False) -> None:
        self.label = label
        self.text = ""
        self._tip, self._stays = tip, stays
        self.say("")

    def say(self, text: str) -> None:
        """Shows a text; an empty one takes the label away."""
        self.text = text
        shown = fitted(text)
        self.label.text = shown
        self.label.toolTip = self._tip if shown == text else text
        self.label.visible = self._stays or bool(text)

"""Questions to a person, and what happens where nobody is there to be asked."""

from __future__ import annotations

import slicer

TITLE = "AHNetSegment"


def nobody_is_there() -> bool:
    """Whether Slicer runs with ``--testing``.

    Its questions then show a window for three seconds and return OK, whatever the buttons are: Yes or No counts as
    No, OK or Cancel as OK.
    """
    return bool(slicer.app.testingEnabled())


def agreed(question: str) -> bool:
    """Asks a question with the answers Yes and No; No where nobody is there: what was not agreed to is not done."""
    return not nobody_is_there() and bool(slicer.util.confirmYesNoDisplay(question, windowTitle=TITLE))


def accepted(question: str) -> bool:
    """Asks a question with the answers OK and Cancel; Cancel where nobody is there."""
    return not nobody_is_there() and bool(slicer.util.confirmOkCancelDisplay(question, windowTitle=TITLE))

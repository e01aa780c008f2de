"""Enough of 3D Slicer to run a scripted module and its panel without Slicer, and not more than Slicer has.

``start()`` makes ``import qt, ctk, slicer`` work: real Qt off screen (PySide6), a real scene (slicer-core), and
stand-ins for what both lack. A stand-in offers what ``widgets.json`` says of the class in Slicer, and does what
``behaviour.json`` says, so that code that would fail in Slicer fails here::

    import host
    host.start()
    module = host.load_module(Path("AHNetSegment/AHNetSegment.py"))
    widget = host.create_widget(module)
    host.click(widget.ui.segmentButton)
    assert host.pump(lambda: not widget.busy, timeout_s=10)
    assert ("error", "...") not in host.messages

What a person would answer to a question is put into ``answers`` before. What a slot, a timer or an observer raised is
in ``errors``, as are VTK's errors; a test in which it is right takes it out with ``swallowed``.
"""

from .application import no_main_window, testing_mode
from .dialogs import UnexpectedQuestion, answers, messages
from .modules import close_widget, create_widget, load_module
from .names import unknown_names, used_names
from .pythonmodules import installations
from .running import choose, click, event_loop_gaps, grab, pump
from .start import VtkError, errors, start, swallowed

__all__ = [
    "UnexpectedQuestion",
    "VtkError",
    "answers",
    "choose",
    "click",
    "close_widget",
    "create_widget",
    "errors",
    "event_loop_gaps",
    "grab",
    "installations",
    "load_module",
    "messages",
    "no_main_window",
    "pump",
    "start",
    "swallowed",
    "testing_mode",
    "unknown_names",
    "used_names",
]

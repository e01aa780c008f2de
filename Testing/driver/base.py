"""What tests of the panel can do, whatever is under them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "AHNetSegment"
PAUSE_MS = 5


class Gaps:
    """How long the event loop stood still."""

    def __init__(self) -> None:
        self.largest_ms = 0.0
        self._last = time.perf_counter()

    def tick(self) -> None:
        """The event loop has turned."""
        now = time.perf_counter()
        self.largest_ms = max(self.largest_ms, 1000 * (now - self._last))
        self._last = now


class Driver(ABC):
    """A person before the panel.

    Attributes:
        messages: (kind, text) of everything shown, oldest first; kind: ``error warning info question status file``.
        answers: what the person answers to the next questions: True or False, a path.
        errors: exceptions that left a slot, a timer or an observer; Qt and VTK print and forget them.
    """

    messages: list[tuple[str, str]]
    answers: deque[Any]
    errors: list[BaseException]

    def forget(self) -> None:
        """Nothing was shown, nothing is answered, nothing went wrong so far."""
        for noted in (self.messages, self.answers, self.errors):
            noted.clear()

    @abstractmethod
    def start(self) -> None:
        """Makes ``import qt, ctk, slicer`` work; from now on windows that wait for a person stay closed."""

    def stop(self) -> None:
        """After the last test: nothing of the driver is left when Slicer ends."""
        self.forget()

    @abstractmethod
    def scene(self) -> Any:
        """The scene; needs no Qt."""

    @abstractmethod
    def load_module(self) -> ModuleType:
        """The Python module of the module script, as Slicer has loaded it."""

    @abstractmethod
    def create_widget(self) -> Any:
        """Opens the module as a person does. Returns the Python widget."""

    @abstractmethod
    def close_widget(self, widget: Any) -> None:
        """Ends a panel as the end of Slicer does, and deletes its widgets: ``exit()``, then ``cleanup()``."""

    @abstractmethod
    def pump(self, until: Callable[[], bool] = lambda: False, timeout_s: float = 0.05) -> bool:
        """Runs the event loop until something holds; False if it does not within the time."""

    @abstractmethod
    def click(self, button: Any) -> bool:
        """Clicks; nothing happens on a button that is hidden or disabled. Returns whether it could be clicked."""

    @abstractmethod
    def choose(self, combo: Any, text: str) -> bool:
        """Chooses the entry with a text in a combo box or node selector.

        Returns:
            Whether it could be chosen: the box is shown and enabled, and has this entry.
        """

    @abstractmethod
    def choose_folder(self, button: Any, folder: Path) -> None:
        """Chooses a folder in the window that a ``ctkDirectoryButton`` opens."""

    @abstractmethod
    def type_text(self, line: Any, text: str) -> None:
        """Types a text over that of a line edit, and Return."""

    @abstractmethod
    def grab(self, widget: Any, path: Path, width: int = 0) -> Path:
        """Saves a picture of a widget as PNG, ``width`` pixels wide and as high as it wants to be if given.

        Raises:
            OSError: the picture cannot be written.
        """

    @abstractmethod
    def no_main_window(self) -> AbstractContextManager[None]:
        """As with ``--no-main-window``."""

    @abstractmethod
    def testing_mode(self) -> AbstractContextManager[None]:
        """As with ``--testing``: nobody is there to answer."""

    @abstractmethod
    def python(self) -> str:
        """A Python whose process is the one that computes; ``PythonSlicer`` is a launcher of another process."""

    @abstractmethod
    def settings_are_temporary(self) -> bool:
        """Whether Slicer's settings, and the folder of models beside them, are nobody's."""

    @abstractmethod
    def load_volume(self, files: Sequence[Path]) -> Any:
        """Reads a volume as Slicer reads it: one file, or the files of a DICOM series. Returns the node."""

    @abstractmethod
    def save_scene(self, path: Path) -> bool:
        """Writes the scene into a bundle ``.mrb``. Returns whether it could."""

    @abstractmethod
    def load_scene(self, path: Path) -> bool:
        """Reads what :meth:`save_scene` has written. Returns whether it could."""

    @contextmanager
    def swallowed(self, kind: type[BaseException]) -> Iterator[list[BaseException]]:
        """For a test in which a slot raises: takes the exceptions of this kind out of ``errors``.

        Raises:
            AssertionError: there was none.
        """
        found: list[BaseException] = []
        before = len(self.errors)
        yield found
        found += [error for error in self.errors[before:] if isinstance(error, kind)]
        self.errors[before:] = [error for error in self.errors[before:] if not isinstance(error, kind)]
        assert found, f"no slot, timer or observer raised {kind.__name__}"

    @contextmanager
    def event_loop_gaps(self) -> Iterator[Gaps]:
        """Measures the longest time between two turns of the event loop while it is open: ``gaps.largest_ms``."""
        import qt

        gaps = Gaps()
        timer = qt.QTimer()
        timer.setTimerType(qt.Qt.PreciseTimer)
        timer.setInterval(PAUSE_MS)
        timer.connect("timeout()", gaps.tick)
        timer.start()
        try:
            yield gaps
        finally:
            gaps.tick()
            timer.stop()

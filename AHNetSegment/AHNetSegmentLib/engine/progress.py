"""A progress bar with the time left, for terminals; nothing but its last state where the output is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

WIDTH = 30


def time_text(seconds: float) -> str:
    """``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class ProgressBar:
    """One line on standard error that is drawn again at each call of :meth:`show`."""

    def __init__(self, title: str, quiet: bool = False) -> None:
        self.title = title
        self.quiet = quiet or not title
        self._started = time.monotonic()
        self._line = ""

    def show(self, done: int, total: int, note: str = "", seconds_left: float | None = None) -> bool:
        """Draws the bar; the time left is estimated from the pace unless it is given. Always True."""
        if self.quiet:
            return True
        if seconds_left is None:
            seconds_left = (time.monotonic() - self._started) / max(done, 1) * (total - done)
        filled = round(WIDTH * done / max(total, 1))
        parts = [f"{self.title} [{'#' * filled}{'.' * (WIDTH - filled)}] {done}/{total}", note]
        if done < total or seconds_left >= 1:
            parts.append(f"{time_text(seconds_left)} left")
        line = "  ".join(part for part in parts if part)
        if sys.stderr.isatty():
            sys.stderr.write("\r" + line.ljust(len(self._line)))
            sys.stderr.flush()
        self._line = line
        return True

    def close(self) -> None:
        """Ends the line."""
        if self._line:
            sys.stderr.write("\n" if sys.stderr.isatty() else self._line + "\n")
            self._line = ""

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

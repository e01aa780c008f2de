"""Where the seconds of a run go: a clock that has each of them belong to exactly one step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import TypeVar

Item = TypeVar("Item")
TOTAL = "total"
TOLD_SECONDS = 0.05


class Step(str, Enum):
    """What a run spends its time on; the values are their names in reports."""

    WAITING = "waiting"
    """For the worker's process, Python and PyTorch, or another computation."""
    MODEL = "reading_model"
    VOXELS = "moving_voxels"
    """From a file or the scene to where they are computed on, and labels back."""
    PREPARING = "preparing"
    """Checks, the intensity rule, air that is not searched, folding the network for the device."""
    RESAMPLING = "resampling"
    """To the model's grid, with the intensity rule applied."""
    NETWORK = "network"
    LABELS = "labels"
    """From logits to labels on the scan's own grid, with the mean of several views."""
    PIECES = "pieces"
    """Which classes and which of their pieces are kept."""
    SMOOTHING = "smoothing"
    REPORT = "report"
    SCENE = "scene"
    """Segments in Slicer's scene."""


class Timings:
    """A stopwatch that is always on exactly one step, or on none.

    Work on a GPU is counted where it is waited for, not where it is begun.

    Args:
        clock: seconds, never falling.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[Step, float] = {}
        self._parts: dict[str, float] = {}
        self._current: tuple[Step, str] | None = None
        self._since = 0.0

    def switch(self, step: Step | None, part: str = "") -> tuple[Step, str] | None:
        """Ends the present step and begins another one; None: none.

        Args:
            step: what begins.
            part: of the step, to be told apart as well, ``view_1`` for example.

        Returns:
            What was going on before.
        """
        now, before = self._clock(), self._current
        if before is not None:
            self.add(*before, now - self._since)
        self._current, self._since = None if step is None else (step, part), now
        return before

    def add(self, step: Step, part: str, seconds: float) -> None:
        """Adds seconds that were measured elsewhere."""
        self._seconds[step] = self._seconds.get(step, 0.0) + seconds
        if part:
            name = f"{step.value}_{part}"
            self._parts[name] = self._parts.get(name, 0.0) + seconds

    @contextmanager
    def during(self, step: Step, part: str = "") -> Iterator[None]:
        """Counts what is done inside for a step; afterwards what went on before goes on."""
        before = self.switch(step, part)
        try:
            yield
        finally:
            self._go_on(before)

    def each(self, step: Step, items: Iterator[Item], part: str = "") -> Iterator[Item]:
        """The items; what it takes to make them counts for a step, what is done with them does not."""
        while True:
            with self.during(step, part):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def split(self, step: Step, seconds: Mapping[str, float]) -> None:
        """Has another clock's seconds, as :meth:`to_dict` gave them, out of a step that they are a part of.

        What is left stays with the step. Names that are no steps and no parts of one are passed over.
        """
        names = {item.value: item for item in Step}
        inside = sum(value for name, value in seconds.items() if name in names)
        left = self._seconds.pop(step, 0.0) - inside
        for name, value in seconds.items():
            if name in names:
                self.add(names[name], "", value)
            elif any(name.startswith(f"{known}_") for known in names):
                self._parts[name] = self._parts.get(name, 0.0) + value
        self.add(step, "", max(0.0, left))

    def to_dict(self) -> dict[str, float]:
        """Seconds of each step in the order of :class:`Step`, of their parts, and ``total``, up to this moment."""
        self._go_on(self._current)
        steps = {step.value: self._seconds[step] for step in Step if step in self._seconds}
        found = {**steps, **self._parts, TOTAL: sum(steps.values())}
        return {name: round(seconds, 4) for name, seconds in found.items()}

    def _go_on(self, step: tuple[Step, str] | None) -> None:
        if step is None:
            self.switch(None)
        else:
            self.switch(*step)


def where_the_time_went(seconds: Mapping[str, float]) -> str:
    """What :meth:`Timings.to_dict` gave, the longest step first: ``6.3 s: network 5.1 s, labels 0.7 s, ...``."""
    steps = sorted(((seconds.get(step.value, 0.0), step) for step in Step), reverse=True)
    told = [f"{step.value.replace('_', ' ')} {value:.1f} s" for value, step in steps if value >= TOLD_SECONDS]
    return ": ".join(part for part in (f"{seconds[TOTAL]:.1f} s", ", ".join(told)) if part)

"""Hearing of changes of a few nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import vtk


class NodeWatch:
    """Observes some nodes, and no others.

    Any event counts: a moved control point, new voxels, another parent transform or one that has moved, however far
    up the chain, since each node hands that on to its children.

    Args:
        changed: called from within the change, perhaps many times a second: it should only note that it was.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._watched: dict[str, tuple[Any, int]] = {}

    def follow(self, nodes: Iterable[Any]) -> None:
        """Observes these nodes from now on, instead of those before; None among them is passed over."""
        wanted = {node.GetID(): node for node in nodes if node is not None}
        for key in [key for key, (node, _tag) in self._watched.items() if wanted.get(key) is not node]:
            node, tag = self._watched.pop(key)
            node.RemoveObserver(tag)
        for key, node in wanted.items():
            if key not in self._watched:
                self._watched[key] = (node, node.AddObserver(vtk.vtkCommand.AnyEvent, self._on_event))

    def stop(self) -> None:
        """Observes nothing any more."""
        self.follow(())

    def _on_event(self, _caller: Any, _event: Any) -> None:
        self._changed()

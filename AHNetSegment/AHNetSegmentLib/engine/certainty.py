"""How sure the network is of its labels, kept in passing while its logits go on to become labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .volume import Array

STRIDE = 2
"""Pixels in plane from one that is kept to the next: a mean over a piece of a structure needs no more."""


class CertaintyRecorder:
    """The largest probability at each place, of one view of a volume or as the mean of several."""

    def __init__(self) -> None:
        self._views: list[list[Tensor]] = []

    def record(self, logits: Iterator[Tensor]) -> Iterator[Tensor]:
        """Hands on the logits of a view, (n, classes, h, w) in slice order, and keeps how sure they are."""
        kept: list[Tensor] = []
        self._views.append(kept)
        for batch in logits:
            largest = batch[:, :, ::STRIDE, ::STRIDE].float().softmax(dim=1).amax(dim=1)
            kept.append(largest.mul_(255).round_().to(torch.uint8).cpu())
            yield batch

    def values(self) -> Array:
        """uint8 (D, h, w), 255 for certain, on a coarse grid of the first view's; after all logits were handed on."""
        first, *others = (torch.cat(kept).numpy() for kept in self._views)
        if not others:
            return first
        total = first.astype(np.uint16)
        for view in others:
            places = (
                np.minimum(np.arange(length) * own // length, own - 1)
                for length, own in zip(first.shape, view.shape, strict=True)
            )
            total += view[np.ix_(*places)]
        return (total // len(self._views)).astype(np.uint8)

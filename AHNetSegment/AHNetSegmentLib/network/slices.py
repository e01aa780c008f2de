"""Operations along the slice axis on a volume that comes slice by slice.

A map of `length` slices comes in batches (n, C, H, W), in order. Each operation keeps the few slices that later
results still need, and gives each result as soon as its last slice is there: what comes out is what the whole volume
in one piece would give, and nothing is computed twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from .folding import Convolution, Rectified
from .interpolation import LinearAxis, PlaneMap

_HEAP_BYTES = 32 * 2**20
"""Up to this size, the C library takes memory from its heap; above, from the system, page by page as it is used."""


class SliceQueue:
    """Slices in order, (n, C, H, W) a batch, from the oldest that was not let go to the newest."""

    def __init__(self) -> None:
        self.stop = 0
        self._batches: deque[tuple[int, Tensor]] = deque()

    def append(self, batch: Tensor) -> None:
        """Adds the next slices."""
        self._batches.append((self.stop, batch))
        self.stop += len(batch)

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
        """The slices [start, stop) without a copy: each piece with the number of its first slice."""
        for first, batch in self._batches:
            low, high = max(start, first), min(stop, first + len(batch))
            if low < high:
                yield low, batch[low - first : high - first]

    def between(self, start: int, stop: int) -> Tensor:
        """The slices [start, stop) as one batch; copied only where they came in several."""
        pieces = [piece for _, piece in self.pieces(start, stop)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def let_go(self, before: int) -> None:
        """Forgets the slices before this one."""
        while self._batches and self._batches[0][0] + len(self._batches[0][1]) <= before:
            self._batches.popleft()


class SliceStore(SliceQueue):
    """A queue for large slices that wait long: copied into memory of the queue's own, used again and again.

    Left where they were computed, they would tear holes into the memory that shorter-lived maps are taken from, and
    the process would grow.
    """

    def __init__(self) -> None:
        super().__init__()
        self._free: list[Tensor] = []

    def append(self, batch: Tensor) -> None:
        for image in batch.split(1):
            if not self._free:
                rows = 1 + _HEAP_BYTES // (image.numel() * image.element_size())
                block = torch.empty(
                    (rows, *image.shape[1:]),
                    dtype=image.dtype,
                    device=image.device,
                    memory_format=torch.channels_last,
                )
                self._free = list(block.split(1))
            super().append(self._free.pop().copy_(image))

    def let_go(self, before: int) -> None:
        while self._batches and self._batches[0][0] < before:
            self._free.append(self._batches.popleft()[1])


class RemadeSlices:
    """Slices that wait long, made a second time when they are asked for, from an input that takes less memory.

    Args:
        make: gives the slices that a batch of the input completes, in order.
    """

    def __init__(self, make: Callable[[Tensor], Iterator[Tensor]]) -> None:
        self._make = make
        self._inputs: deque[Tensor] = deque()
        self._made = SliceQueue()

    def keep(self, batch: Tensor) -> None:
        """Keeps the next slices of the input."""
        self._inputs.append(batch)

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
        """As :meth:`SliceQueue.pieces`."""
        while self._made.stop < stop:
            for batch in self._make(self._inputs.popleft()):
                self._made.append(batch)
        yield from self._made.pieces(start, stop)

    def let_go(self, before: int) -> None:
        """As :meth:`SliceQueue.let_go`."""
        self._made.let_go(before)


class AlongSlices(ABC):
    """One operation along the slices.

    Args:
        inputs: slices that will come in.
        outputs: slices that will come out.
        at_once: at most so many come out in one batch.
    """

    def __init__(self, inputs: int, outputs: int, at_once: int) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.at_once = at_once
        self.queue = SliceQueue()
        self.done = 0

    def __call__(self, batch: Tensor) -> Iterator[Tensor]:
        """Takes the next slices and gives the results that they complete."""
        self.append(batch)
        while self.done < self.outputs and self.needs(self.done)[1] <= self.queue.stop:
            stop = self.done + 1
            while stop < min(self.done + self.at_once, self.outputs) and self.needs(stop)[1] <= self.queue.stop:
                stop += 1
            result = self.compute(self.done, stop)
            self.done = stop
            if stop < self.outputs:
                self.let_go(self.needs(stop)[0])
            yield result

    def append(self, batch: Tensor) -> None:
        """Keeps the next slices of the input."""
        self.queue.append(batch)

    def let_go(self, before: int) -> None:
        """Forgets the slices of the input before this one."""
        self.queue.let_go(before)

    @abstractmethod
    def needs(self, output: int) -> tuple[int, int]:
        """The range [first, last) of input slices that one slice of the result is made of; neither ever falls."""

    @abstractmethod
    def compute(self, start: int, stop: int) -> Tensor:
        """The results [start, stop)."""


class Neighbours(AlongSlices):
    """Each slice with the one before and the one after it, as channels: (n, 3 C, H, W), C-major.

    Args:
        length: slices.
        at_once: at most so many come out in one batch.
        zero_padded: zeros beyond the first and the last slice; otherwise these slices repeated.
    """

    def __init__(self, length: int, at_once: int, zero_padded: bool) -> None:
        super().__init__(length, length, at_once)
        self.zero_padded = zero_padded

    def needs(self, output: int) -> tuple[int, int]:
        return max(0, output - 1), min(self.inputs, output + 2)

    def compute(self, start: int, stop: int) -> Tensor:
        first, last = self.needs(start)[0], self.needs(stop - 1)[1]
        slices = self.queue.between(first, last)
        if start == 0:
            slices = torch.cat([self._beyond(slices[:1]), slices])
        if stop == self.outputs:
            slices = torch.cat([slices, self._beyond(slices[-1:])])
        return torch.stack([slices[:-2], slices[1:-1], slices[2:]], dim=2).flatten(1, 2)

    def _beyond(self, edge: Tensor) -> Tensor:
        return torch.zeros_like(edge) if self.zero_padded else edge


class Maximum(AlongSlices):
    """The largest value of a slice of even number and its neighbours, as far as there are any.

    Args:
        length: slices that come in; half as many come out, rounded up.
        at_once: at most so many come out in one batch.
        before: whether the slice before counts too, or only the slice after.
    """

    def __init__(self, length: int, at_once: int, before: bool = False) -> None:
        super().__init__(length, -(-length // 2), at_once)
        self.before = int(before)

    def needs(self, output: int) -> tuple[int, int]:
        return max(0, 2 * output - self.before), min(self.inputs, 2 * output + 2)

    def compute(self, start: int, stop: int) -> Tensor:
        results = [self._largest(output) for output in range(start, stop)]
        return results[0] if len(results) == 1 else torch.cat(results)

    def _largest(self, output: int) -> Tensor:
        pieces = [piece[n : n + 1] for _, piece in self.queue.pieces(*self.needs(output)) for n in range(len(piece))]
        if len(pieces) == 1:
            return pieces[0]
        result = torch.maximum(pieces[0], pieces[1])
        return result if len(pieces) == 2 else torch.maximum(result, pieces[2], out=result)


class ThroughSlices(AlongSlices):
    """A 3 x 1 x 1 convolution of the rectified input, added to the input itself.

    Args:
        length: slices.
        at_once: at most so many come out in one batch.
        rectified: BatchNorm and ReLU before the convolution.
        taps: for the slice before, the slice itself and the slice after; beyond the ends lie zeros.
    """

    def __init__(self, length: int, at_once: int, rectified: Rectified, taps: list[Convolution]) -> None:
        super().__init__(length, length, at_once)
        self.rectified = rectified
        self.taps = taps
        self.rectified_queue = SliceQueue()

    def append(self, batch: Tensor) -> None:
        super().append(batch)
        self.rectified_queue.append(self.rectified(batch))

    def let_go(self, before: int) -> None:
        super().let_go(before)
        self.rectified_queue.let_go(before)

    def needs(self, output: int) -> tuple[int, int]:
        return max(0, output - 1), min(self.inputs, output + 2)

    def compute(self, start: int, stop: int) -> Tensor:
        pieces = [piece for _, piece in self.queue.pieces(start, stop)]
        # Always a copy: the input is still needed, and the taps add to it in place.
        total = torch.cat(pieces) if len(pieces) > 1 else pieces[0].clone(memory_format=torch.preserve_format)
        for offset, tap in zip((-1, 0, 1), self.taps, strict=True):
            low, high = max(0, start + offset), min(self.inputs, stop + offset)
            for first, piece in self.rectified_queue.pieces(low, high):
                place = first - offset - start
                tap.add_to(total[place : place + len(piece)], piece)
        return total


class Enlarged(AlongSlices):
    """Linear interpolation to more slices, and, where it is wanted, to more rows and columns.

    Args:
        length: slices that come in.
        slices: where the results lie between them.
        plane: the interpolation in plane; None: none.
        at_once: at most so many slices come out in one batch.
    """

    def __init__(self, length: int, slices: LinearAxis, plane: PlaneMap | None, at_once: int) -> None:
        super().__init__(length, len(slices), at_once)
        self.slices = slices
        self.plane = plane

    def needs(self, output: int) -> tuple[int, int]:
        return self.slices.ranges[output]

    def compute(self, start: int, stop: int) -> Tensor:
        first, last = self.needs(start)[0], self.needs(stop - 1)[1]
        batch = self.queue.between(first, last)
        if self.inputs != self.outputs:
            batch = self.slices.of_batch(batch, first, start, stop)
        return batch if self.plane is None else self.plane(batch)


class LearnedEnlarged(AlongSlices):
    """A transposed convolution whose kernel is its stride: each slice becomes `factor` slices, cropped to the size.

    Args:
        length: slices that come in.
        size: (D, H, W) of the result.
        weight: (in, out, factor, k, k).
        at_once: at most so many slices come out in one batch.
    """

    def __init__(self, length: int, size: tuple[int, int, int], weight: Tensor, at_once: int) -> None:
        super().__init__(length, size[0], at_once)
        self.size = size
        self.taps = [tap.contiguous() for tap in weight.unbind(2)]

    def needs(self, output: int) -> tuple[int, int]:
        first = output // len(self.taps)
        return first, first + 1

    def compute(self, start: int, stop: int) -> Tensor:
        count = len(self.taps)
        first, last = self.needs(start)[0], self.needs(stop - 1)[1]
        slices = self.queue.between(first, last)
        stride = self.taps[0].shape[-2:]
        parts = [F.conv_transpose2d(slices, tap, stride=(stride[0], stride[1])) for tap in self.taps]
        larger = torch.stack(parts, dim=1).flatten(0, 1)[start - first * count : stop - first * count]
        larger = larger[:, :, : self.size[1], : self.size[2]]
        return larger.contiguous(memory_format=torch.channels_last)

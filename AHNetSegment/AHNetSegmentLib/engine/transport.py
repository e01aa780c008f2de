"""Tensors to a device and back, beside its work: nothing here makes the host wait while the device computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

ON_THEIR_WAY = 4
"""So many results may be on their way back before the oldest is waited for."""


class Transport:
    """The way between the host and one device.

    On CUDA, tensors travel from and to page-locked memory on a stream of their own, while the device works on. On
    other devices they are handed over at once.

    Args:
        device: the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._waiting: deque[tuple[torch.cuda.Event, Tensor, Callable[[Tensor], None]]] = deque()

    def send(self, values: Tensor) -> Tensor:
        """A host tensor on the device."""
        if self._stream is None:
            return values.to(self.device)
        with torch.cuda.stream(self._stream):
            sent = values.contiguous().pin_memory().to(self.device, non_blocking=True)
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._stream)
        # The memory was taken on the other stream: it must not be given away while this one still reads it.
        sent.record_stream(current)
        return sent

    def fetch(self, values: Tensor, write: Callable[[Tensor], None]) -> None:
        """Calls ``write`` with a device tensor on the host: at once, or when it has arrived."""
        if self._stream is None or values.device.type == "cpu":
            write(values.cpu())
            return
        arrived = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            arrived.copy_(values, non_blocking=True)
            values.record_stream(self._stream)
            event = torch.cuda.Event()
            event.record(self._stream)
        self._waiting.append((event, arrived, write))
        while len(self._waiting) > ON_THEIR_WAY:
            self._deliver()

    def finish(self) -> None:
        """Waits for all that is on its way back."""
        while self._waiting:
            self._deliver()

    def _deliver(self) -> None:
        event, arrived, write = self._waiting.popleft()
        event.synchronize()  # type: ignore[no-untyped-call]
        write(arrived)

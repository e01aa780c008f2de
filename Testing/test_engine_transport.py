"""What travels to a device and back arrives whole; on the host itself it does not travel at all."""

from __future__ import annotations

import torch

from AHNetSegmentLib.engine.transport import Transport


def test_on_the_host_tensors_are_handed_over_at_once() -> None:
    transport = Transport(torch.device("cpu"))
    values = torch.arange(6.0)
    assert transport.send(values) is values
    written: list[torch.Tensor] = []
    transport.fetch(values, written.append)
    assert written[0] is values
    transport.finish()
    assert len(written) == 1

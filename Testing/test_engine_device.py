"""Device and precision are decided on described machines."""

from __future__ import annotations

import pytest
import torch

from AHNetSegmentLib.engine.device import Machine, choose_device, choose_precision, this_machine, window_memory_mb
from AHNetSegmentLib.engine.errors import DeviceError

PLAIN = Machine()
NEW_CPU = Machine(cpu_bfloat16=True)
OLD_GPU = Machine(cuda=True)
NEW_GPU = Machine(cuda=True, cuda_bfloat16=True, cpu_bfloat16=True)
APPLE = Machine(mps=True)


@pytest.mark.parametrize(
    ("machine", "device"), [(PLAIN, "cpu"), (NEW_CPU, "cpu"), (OLD_GPU, "cuda"), (NEW_GPU, "cuda"), (APPLE, "mps")]
)
def test_auto_takes_the_fastest_device(machine: Machine, device: str) -> None:
    assert choose_device("auto", machine).type == device


@pytest.mark.parametrize(
    ("machine", "device", "precision"),
    [
        (PLAIN, "cpu", torch.float32),
        (NEW_CPU, "cpu", torch.bfloat16),
        (OLD_GPU, "cuda", torch.float16),
        (NEW_GPU, "cuda", torch.bfloat16),
        (OLD_GPU, "cpu", torch.float32),
        (APPLE, "mps", torch.float32),
    ],
)
def test_auto_takes_a_precision_that_the_device_has_natively(
    machine: Machine, device: str, precision: torch.dtype
) -> None:
    assert choose_precision("auto", torch.device(device), machine) == precision


def test_float32_can_always_be_asked_for() -> None:
    for device in ("cpu", "cuda", "mps"):
        assert choose_precision("float32", torch.device(device), NEW_GPU) == torch.float32


@pytest.mark.parametrize(("wish", "said"), [("cuda", "no cuda"), ("mps", "no mps"), ("tpu", "unknown")])
def test_a_device_that_is_not_there_is_refused(wish: str, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        choose_device(wish, PLAIN)


def test_a_numbered_gpu_can_be_chosen() -> None:
    assert choose_device("cuda:1", NEW_GPU) == torch.device("cuda:1")


def test_this_machine_runs_what_auto_chooses_for_it() -> None:
    device = choose_device("auto")
    dtype = choose_precision("auto", device)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        product = torch.ones(4, 4, device=device) @ torch.ones(4, 4, device=device)
    assert float(product.float().sum()) == 64
    assert window_memory_mb(device) >= 64
    assert isinstance(this_machine().cpu_bfloat16, bool)

"""Device and precision are decided on described machines."""

from __future__ import annotations

import pytest
import torch

from AHNetSegmentLib.engine import device as device_module
from AHNetSegmentLib.engine.allocator import give_back_freed_memory, keep_freed_memory
from AHNetSegmentLib.engine.device import (
    Machine,
    available_in_meminfo,
    batch_bytes,
    choose_device,
    choose_precision,
    free_host_memory,
    interpolates_with_low_pass,
    is_out_of_memory,
    this_machine,
    window_memory_mb,
)
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


@pytest.mark.parametrize(("bfloat16_seconds", "faster"), [(0.5, True), (2.0, False)])
def test_bfloat16_counts_only_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, bfloat16_seconds: float, faster: bool
) -> None:
    """Some CPUs multiply bfloat16 natively at half the rate of float32."""
    monkeypatch.setattr(
        device_module,
        "_seconds_of_product",
        lambda matrix: bfloat16_seconds if matrix.dtype == torch.bfloat16 else 1.0,
    )
    monkeypatch.setattr(device_module, "cpu_has_bfloat16", lambda: True)
    device_module._bfloat16_is_faster.cache_clear()
    try:
        assert this_machine().cpu_bfloat16 == faster
    finally:
        device_module._bfloat16_is_faster.cache_clear()


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


def test_the_window_memory_is_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, window in ((8000.0, 4000.0), (50.0, 64.0)):
        monkeypatch.setattr(device_module, "free_memory_mb", lambda device, free=free: free)
        for kind in ("cpu", "cuda", "mps"):
            assert window_memory_mb(torch.device(kind)) == window


def test_a_gpu_works_on_more_slices_at_once_the_more_memory_there_is() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert batch_bytes(cpu, 1000) == batch_bytes(cpu, 100_000)
    assert batch_bytes(cpu, 1000) <= batch_bytes(gpu, 1000) < batch_bytes(gpu, 10_000) < 10_000 * 2**20 / 8


def test_only_mps_lacks_interpolation_with_a_low_pass() -> None:
    lacking = [kind for kind in ("cpu", "cuda", "mps") if not interpolates_with_low_pass(torch.device(kind))]
    assert lacking == ["mps"]


@pytest.mark.parametrize(
    ("error", "lack"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error: RuntimeError, lack: bool) -> None:
    assert is_out_of_memory(error) is lack


def test_free_memory_is_read_where_linux_tells_it() -> None:
    assert available_in_meminfo("MemTotal: 99 kB\nMemAvailable:   2048 kB\n") == 2 * 2**20
    with pytest.raises(ValueError, match="MemAvailable"):
        available_in_meminfo("MemTotal: 99 kB\n")
    assert free_host_memory() > 2**20


def test_memory_is_kept_and_given_back_only_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple[int, ...]]] = []

    class Library:
        def mallopt(self, *arguments: int) -> int:
            asked.append(("mallopt", arguments))
            return 1

        def malloc_trim(self, *arguments: int) -> int:
            asked.append(("malloc_trim", arguments))
            return 1

    monkeypatch.setattr("ctypes.CDLL", lambda name: Library())
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
    assert not give_back_freed_memory()
    assert asked == []
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    assert keep_freed_memory()
    assert give_back_freed_memory()
    assert asked == [("mallopt", (-4, 0)), ("mallopt", (-1, -1)), ("malloc_trim", (0,))]

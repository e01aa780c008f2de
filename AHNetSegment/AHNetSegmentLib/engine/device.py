"""Which device, which precision: one decision each, on facts that tests can describe."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ..network.streaming import CPU_BATCH_BYTES
from .errors import DeviceError

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_MEASURED_SIDE = 640
_MEASUREMENTS = 12


@dataclass(frozen=True)
class Machine:
    """What a machine offers.

    Attributes:
        cuda: a CUDA device is usable.
        cuda_bfloat16: it computes in bfloat16 natively.
        mps: Apple's Metal device is usable.
        cpu_bfloat16: the CPU multiplies bfloat16 natively (AVX-512 BF16, AMX, or Arm's BF16 extension), and faster
            than float32.
    """

    cuda: bool = False
    cuda_bfloat16: bool = False
    mps: bool = False
    cpu_bfloat16: bool = False


def this_machine() -> Machine:
    """What the machine that this runs on offers."""
    cuda = torch.cuda.is_available()
    return Machine(
        cuda=cuda,
        cuda_bfloat16=cuda and torch.cuda.get_device_capability()[0] >= 8,
        mps=torch.backends.mps.is_available(),
        cpu_bfloat16=cpu_has_bfloat16() and _bfloat16_is_faster(),
    )


def choose_device(wish: str = "auto", machine: Machine | None = None) -> torch.device:
    """The device to run on: the wish, or for ``auto`` the first of CUDA, MPS, CPU that there is.

    Raises:
        DeviceError: the wish is unknown or this machine has no such device.
    """
    machine = machine or this_machine()
    if wish == "auto":
        return torch.device("cuda" if machine.cuda else "mps" if machine.mps else "cpu")
    kind = wish.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"The device {wish} is unknown; choose auto, cpu, cuda or mps.")
    if (kind == "cuda" and not machine.cuda) or (kind == "mps" and not machine.mps):
        raise DeviceError(f"This machine offers no {kind} device to PyTorch; choose auto or cpu.")
    return torch.device(wish)


def choose_precision(wish: str, device: torch.device, machine: Machine | None = None) -> torch.dtype:
    """The number format of the network's layers on a device.

    ``auto`` is bfloat16 on CUDA devices that have it natively and on CPUs that gain from it, float16 on other CUDA
    devices, else float32.

    Raises:
        DeviceError: the wish is unknown, or float16 is asked for on a CPU.
    """
    machine = machine or this_machine()
    if wish not in PRECISIONS:
        raise DeviceError(f"The precision {wish} is unknown; choose one of {', '.join(PRECISIONS)}.")
    if wish != "auto":
        if wish == "float16" and device.type == "cpu":
            raise DeviceError("CPUs do not compute in float16; choose auto, bfloat16 or float32.")
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wish]
    if device.type == "cpu":
        return torch.bfloat16 if machine.cpu_bfloat16 else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if machine.cuda_bfloat16 else torch.float16
    return torch.float32


def precision_name(dtype: torch.dtype) -> str:
    """``bfloat16`` for ``torch.bfloat16``."""
    return str(dtype).removeprefix("torch.")


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 natively, however fast."""
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(bool(features.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@functools.cache
def _bfloat16_is_faster() -> bool:
    """Whether matrix products take less time in bfloat16 than in float32, measured once: about 0.1 s.

    That a CPU has the instructions does not say so: those with AVX-512 BF16 range from half to twice the speed of
    float32, and none names its rate.
    """
    matrices = [torch.ones(_MEASURED_SIDE, _MEASURED_SIDE, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    # In turn, and the shortest of many: other programs may be busy now and then.
    rounds = [[_seconds_of_product(matrix) for matrix in matrices] for _ in range(_MEASUREMENTS)]
    float32, bfloat16 = (min(seconds) for seconds in zip(*rounds, strict=True))
    return bool(bfloat16 < float32)


def _seconds_of_product(matrix: torch.Tensor) -> float:
    began = time.perf_counter()
    torch.mm(matrix, matrix)
    return time.perf_counter() - began


def free_memory_mb(device: torch.device) -> float:
    """Free memory of a device in MB; for the CPU, of the whole machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    if device.type == "mps":
        return (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()) / 2**20
    return free_host_memory() / 2**20


def window_memory_mb(device: torch.device) -> float:
    """MB for the network's maps: half of the free memory of a device, or of the machine; at least 64."""
    return max(64.0, free_memory_mb(device) / 2)


def batch_bytes(device: torch.device, memory_mb: float) -> int:
    """About how large one map may be that the network works on at once.

    A CPU wants maps that stay in its caches; a GPU wants many slices, as far as the window memory goes.
    """
    return CPU_BATCH_BYTES if device.type == "cpu" else max(CPU_BATCH_BYTES, int(memory_mb * 2**20 / 24))


def interpolates_with_low_pass(device: torch.device) -> bool:
    """Whether PyTorch has antialiased interpolation for a device; MPS lacks it, and the CPU does it there.

    It is the only operator of inference that MPS lacks: the network runs on 2D operators there.
    """
    return device.type != "mps"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of PyTorch says that a device's memory does not suffice; only CUDA has a class for it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def free_host_memory() -> float:
    """Free memory of this machine in bytes; where the system does not tell, half of what it has, or 4 GB."""
    try:
        return available_in_meminfo(Path("/proc/meminfo").read_text(encoding="ascii"))
    except (OSError, ValueError):
        pass
    if sys.platform == "win32":
        return _free_windows_memory()
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 2
    return 4.0 * 2**30


def available_in_meminfo(text: str) -> float:
    """Bytes that Linux' /proc/meminfo calls available; raises ValueError where it does not."""
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    raise ValueError("no MemAvailable")


def _free_windows_memory() -> float:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "b", "c", "d", "e", "f")),
        )

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return float(status.available)

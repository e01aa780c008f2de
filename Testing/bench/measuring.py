"""What the jobs share: seconds, the machine's rate, and volumes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from AHNetSegmentLib.engine.volume import Geometry, Volume
from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.settings import AHNetSettings

SPACING = (0.8, 0.8, 3.0)
"""Of the volume that peers are compared on, mm along (i, j, k)."""
CPU = torch.device("cpu")


def read_scan(path: str, slices: int = 0) -> Volume:
    """A CT in HU, int16 (k, j, i); with ``slices``, repeated back and forth to so many."""
    array = np.load(path)
    if slices:
        array = back_and_forth(array, slices)
    return Volume(np.ascontiguousarray(array), Geometry(array.shape[::-1], SPACING), "benchmark volume")


def back_and_forth(array: np.ndarray, slices: int) -> np.ndarray:
    """An array (k, j, i) whose slices are repeated back and forth to so many."""
    there_and_back = np.concatenate([array, array[::-1]])
    return np.concatenate([there_and_back] * (slices // len(there_and_back) + 1))[:slices]


def size_text(size: Sequence[int]) -> str:
    """``512×512×100``."""
    return "×".join(str(length) for length in size)


def median_seconds(run: Callable[[], Any], rounds: int, warm_up: int = 1) -> float:
    """The median of some runs after others that do not count."""
    times = [seconds_of(run) for _ in range(warm_up + rounds)]
    return statistics.median(times[warm_up:])


def seconds_of(run: Callable[[], Any]) -> float:
    """What one run takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def product_rate(dtype: torch.dtype, side: int, rounds: int) -> float:
    """GFLOP/s of matrix products on the CPU, the median of some."""
    left, right = (torch.randn(side, side).to(dtype) for _ in range(2))
    return 2 * side**3 / median_seconds(lambda: left @ right, rounds) / 1e9


def forward_gflop(settings: AHNetSettings, size: Sequence[int]) -> float:
    """GFLOP of AH-Net's convolutions for one volume (D, H, W)."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        AHNet(settings).eval()(torch.empty(1, settings.in_channels, *size))
    return float(counter.get_total_flops()) / 1e9

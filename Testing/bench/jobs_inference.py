"""Jobs that segment: ours against the peers', arithmetic, other runtimes, threads, a GPU."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import CPU, SPACING, forward_gflop, median_seconds, product_rate, read_scan, seconds_of
from peers import monai_ahnet, nnunet
from processes import own_peak_mb, resident_mb

from AHNetSegmentLib.engine.card import Intensity
from AHNetSegmentLib.engine.inference import InferenceSettings, segment
from AHNetSegmentLib.engine.package import load_model
from AHNetSegmentLib.engine.preprocess import intensity_map
from AHNetSegmentLib.engine.volume import Volume
from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.streaming import StreamedAHNet

OVERLAP = 0.25
"""Of the peers' windows: MONAI's default."""


def segment_with_ours(
    volume: str, model: str, precision: str, slices: int = 0, warm_up: int = 0, device: str = "cpu"
) -> dict[str, Any]:
    """Our engine from array to label map: seconds, peak memory, and what is beyond input and output.

    With ``warm_up``, so many slices are segmented first, as a process does that stays for the next scan.
    """
    loaded = load_model(Path(model))
    scan = read_scan(volume, slices)
    settings = InferenceSettings(device=device, precision=precision)
    before = resident_mb()
    if warm_up:
        segment(read_scan(volume, warm_up), loaded, settings)
    with _zeros_in_memory():
        result = segment(scan, loaded, settings)
    return {
        "seconds": result.seconds["total"],
        "steps": result.seconds,
        "precision": result.precision,
        "device": result.device,
        "peak_mb": own_peak_mb(),
        "beyond_mb": own_peak_mb() - before - result.labels.nbytes / 2**20,
    }


def segment_with_peer(volume: str, model: str, window: tuple[int, int, int]) -> dict[str, Any]:
    """MONAI's AHNet with the same weights under MONAI's sliding windows, from array to label map."""
    from monai.inferers import sliding_window_inference

    loaded = load_model(Path(model))
    rule = loaded.card.intensity
    network = monai_ahnet(loaded.network)
    del loaded
    scan = read_scan(volume)

    def run() -> np.ndarray:
        image = _slices_last(scan, rule)
        logits = sliding_window_inference(image, (*window[1:], window[0]), 1, network, OVERLAP, mode="gaussian")
        assert isinstance(logits, torch.Tensor)
        return _slices_first(logits.argmax(dim=1))

    with torch.inference_mode():
        seconds = seconds_of(run)
    return {"seconds": seconds, "peak_mb": own_peak_mb()}


def nnunet_window(
    classes: int, window: tuple[int, int, int], scan: tuple[int, int, int], rounds: int
) -> dict[str, Any]:
    """nnU-Net's architecture on one window, and how many windows MONAI's sliding windows take for a scan (D, H, W)."""
    network = nnunet(classes, window, (SPACING[2], SPACING[1], SPACING[0])).eval()
    image = torch.randn(1, 1, *window)
    with torch.inference_mode():
        seconds = median_seconds(lambda: network(image), rounds)
    windows = 1
    for length, side in zip(scan, window, strict=True):
        windows *= 1 + math.ceil(max(0, length - side) / int(side * (1 - OVERLAP)))
    parameters = sum(weight.numel() for weight in network.parameters())
    return {"seconds": seconds, "windows": windows, "parameters": parameters, "peak_mb": own_peak_mb()}


def in_one_piece(volume: str, model: str, slices: int, precisions: list[str]) -> dict[str, Any]:
    """Our network against MONAI's AHNet on the first slices without any windows, which only a large machine can do.

    Returns:
        For each precision: ``difference`` (root mean square of the logits' difference, as a share of the logits'
        standard deviation) and ``same`` (share of voxels with the same largest logit).
    """
    loaded = load_model(Path(model))
    scan = read_scan(volume, slices)
    rule = loaded.card.intensity
    with torch.inference_mode():
        expected = monai_ahnet(loaded.network)(_slices_last(scan, rule))[0].permute(3, 0, 1, 2)
        image = intensity_map(rule, scan.array).apply(torch.from_numpy(scan.array.astype(np.float32)))
        deviation = float(expected.std())
        found = {}
        for precision in precisions:
            network = StreamedAHNet(loaded.network, CPU, getattr(torch, precision))
            squares, same, first = 0.0, 0, 0
            for logits in network.run(iter(image[:, None].split(8)), image.shape):
                part = expected[first : first + len(logits)]
                squares += float((logits.float() - part).square().sum(dtype=torch.float64))
                same += int((logits.argmax(dim=1) == part.argmax(dim=1)).sum())
                first += len(logits)
            found[precision] = {
                "difference": (squares / expected.numel()) ** 0.5 / deviation,
                "same": same / image.numel(),
            }
    return found


def _slices_last(scan: Volume, rule: Intensity) -> torch.Tensor:
    """(1, 1, H, W, D), normalised, as MONAI's network has it."""
    image = intensity_map(rule, scan.array).apply(torch.from_numpy(scan.array.astype(np.float32)))
    return image.permute(1, 2, 0)[None, None]


def _slices_first(labels: torch.Tensor) -> np.ndarray:
    """Labels (1, H, W, D) as uint8 (k, j, i)."""
    return np.ascontiguousarray(labels[0].to(torch.uint8).permute(2, 0, 1).numpy())


def product(precisions: list[str], side: int, rounds: int) -> dict[str, Any]:
    """The machine's matrix-product rate, GFLOP/s."""
    return {name: product_rate(getattr(torch, name), side, rounds) for name in precisions}


def arithmetic(model: str, precision: str, size: tuple[int, int, int], side: int, rounds: int) -> dict[str, Any]:
    """The machine's matrix-product rate and what inference reaches of it, GFLOP/s, in turn."""
    dtype = getattr(torch, precision)
    loaded = load_model(Path(model))
    gflop = forward_gflop(loaded.card.network, size)
    infer = _streamed(loaded.network, dtype, size)
    with torch.inference_mode():
        rates = [(product_rate(dtype, side, 1), gflop / seconds_of(infer)) for _ in range(1 + rounds)]
        with torch.profiler.profile() as profile:
            infer()
    rate, inference = (statistics.median(values) for values in zip(*rates[1:], strict=True))
    return {
        "gflop_per_slice": gflop / size[0],
        "matrix_product": rate,
        "inference": inference,
        "share": inference / rate,
        "by_operator": _shares_of(profile),
    }


def _streamed(network: AHNet, dtype: torch.dtype, size: tuple[int, int, int]) -> Callable[[], None]:
    streamed = StreamedAHNet(network, CPU, dtype)
    slices = torch.randn(size[0], 1, *size[1:])

    @torch.inference_mode()
    def run() -> None:
        for _ in streamed.run(iter(slices.split(8)), size):
            pass

    return run


GROUPS = {
    "convolution": ("convolution", "conv2d", "addmm", "mm"),
    "copy and concatenation": ("copy_", "cat", "clone", "index", "contiguous", "stack", "fill_"),
    "pooling": ("max_pool", "avg_pool"),
    "normalisation and ReLU": ("batch_norm", "maximum", "minimum", "relu", "clamp", "addcmul"),
    "interpolation": ("upsample", "lerp"),
    "sum": ("aten::add",),
}


def _shares_of(profile: Any) -> dict[str, float]:
    """The share of the time by kind of operator."""
    found = dict.fromkeys((*GROUPS, "other"), 0.0)
    for event in profile.key_averages():
        group = next((name for name, parts in GROUPS.items() if any(part in event.key for part in parts)), "other")
        found[group] += event.self_cpu_time_total
    total = sum(found.values())
    return {name: round(value / total, 4) for name, value in found.items()}


def one_window(model: str, runtime: str, window: tuple[int, int, int], rounds: int, work: str) -> dict[str, Any]:
    """Seconds for one window in ours, ONNX Runtime or OpenVINO; None where that is not installed."""
    loaded = load_model(Path(model))
    kind, _, precision = runtime.partition(", ")
    try:
        if kind == "ours":
            run = _streamed(loaded.network, getattr(torch, precision), window)
        else:
            run = {"ONNX Runtime": _onnx_runtime, "OpenVINO": _openvino}[kind](
                _exported(loaded.network, window, Path(work)), torch.randn(1, 1, *window).numpy(), precision
            )
    except ImportError:
        return {"seconds": None}
    return {"seconds": median_seconds(run, rounds)}


def _exported(network: AHNet, window: tuple[int, int, int], work: Path) -> Path:
    """The network as an ONNX file, made once."""
    import onnxscript  # noqa: F401

    path = work / f"window-{'x'.join(map(str, window))}.onnx"
    if not path.is_file():
        plain = network.to(memory_format=torch.contiguous_format)
        # Without oneDNN the trace holds plain convolutions, which ONNX knows.
        with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
            image = torch.randn(1, 1, *window)
            torch.onnx.export(plain, (image,), str(path), dynamo=True, external_data=False, verbose=False)
    return path


def _onnx_runtime(path: Path, image: np.ndarray, precision: str) -> Callable[[], None]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options)
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: image}) and None


def _openvino(path: Path, image: np.ndarray, precision: str) -> Callable[[], None]:
    import openvino as ov

    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": hint}
    compiled = ov.Core().compile_model(str(path), "CPU", settings)
    return lambda: compiled([image]) and None


def gpu(volume: str, model: str, rounds: int) -> dict[str, Any]:
    """A scan on the first CUDA device in its own precision, then with too little of its memory."""
    loaded = load_model(Path(model))
    scan = read_scan(volume)
    settings = InferenceSettings(device="cuda")
    torch.cuda.reset_peak_memory_stats()
    runs = [segment(scan, loaded, settings) for _ in range(1 + rounds)][1:]
    memory = torch.cuda.max_memory_allocated() / 2**20
    whole = runs[-1]
    loaded.release()
    torch.cuda.empty_cache()
    share = 0.25 * memory * 2**20 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(share)
    short = segment(scan, loaded, settings)
    return {
        "seconds": statistics.median(run.seconds["total"] for run in runs),
        "steps": whole.seconds,
        "precision": whole.precision,
        "device_mb": memory,
        "allowed_mb": 0.25 * memory,
        "short_of_memory": [warning for warning in short.warnings if "memory" in warning],
        "short_device": short.device,
        "same_labels": float((short.labels == whole.labels).mean()),
    }


@contextmanager
def _zeros_in_memory() -> Iterator[None]:
    """New arrays of zeros lie in memory from the start: the output then takes the same at every moment of a run."""
    zeros = np.zeros

    def written(*arguments: Any, **options: Any) -> np.ndarray:
        array = zeros(*arguments, **options)
        array.fill(0)
        return array

    np.zeros = written  # type: ignore[assignment]
    try:
        yield
    finally:
        np.zeros = zeros  # type: ignore[assignment]


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "ours": segment_with_ours,
    "peer": segment_with_peer,
    "nnunet-window": nnunet_window,
    "in-one-piece": in_one_piece,
    "product": product,
    "arithmetic": arithmetic,
    "window": one_window,
    "gpu": gpu,
}

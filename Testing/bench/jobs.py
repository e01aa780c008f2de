"""What is measured, each in a process of its own: ``python jobs.py <job> <arguments as JSON>``; prints a JSON line."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
for folder in (REPOSITORY / "AHNetSegment", REPOSITORY / "Testing"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import numpy as np
import torch

from AHNetSegmentLib.engine.allocator import keep_freed_memory
from AHNetSegmentLib.engine.card import Intensity
from AHNetSegmentLib.engine.device import choose_precision
from AHNetSegmentLib.engine.inference import InferenceSettings, segment
from AHNetSegmentLib.engine.package import load_model
from AHNetSegmentLib.engine.preprocess import intensity_map
from AHNetSegmentLib.engine.volume import Geometry, Volume
from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.formats import Format, to_own_names
from AHNetSegmentLib.network.losses import SegmentationLoss
from AHNetSegmentLib.network.settings import AHNetSettings
from AHNetSegmentLib.network.streaming import StreamedAHNet

THREADS = 2
SPACING = (0.8, 0.8, 3.0)
CPU = torch.device("cpu")
PATCH = (32, 128, 128)
WINDOW = (32, 256, 256)
"""The peer's window, (slices, rows, columns)."""


def main() -> None:
    torch.set_num_threads(THREADS)
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps(JOBS[name](**arguments)))


def segment_with_ours(
    volume: str, model: str, precision: str, labels: str = "", slices: int = 0, warm_up: int = 0
) -> dict[str, Any]:
    """Our engine from array to label map: seconds, peak memory, and what is beyond input and output.

    With `warm_up`, so many slices are segmented first, as a process does that stays for the next scan.
    """
    loaded = load_model(Path(model))
    scan = read_scan(volume, slices)
    before = resident_mb()
    if warm_up:
        segment(read_scan(volume, warm_up), loaded, InferenceSettings(device="cpu", precision=precision))
    with zeros_in_memory():
        began = time.perf_counter()
        result = segment(scan, loaded, InferenceSettings(device="cpu", precision=precision))
        seconds = time.perf_counter() - began
    if labels:
        np.save(labels, result.labels)
    return {
        "seconds": seconds,
        "network_seconds": result.seconds["network"],
        "precision": result.precision,
        "peak_mb": peak_mb(),
        "beyond_mb": peak_mb() - before - result.labels.nbytes / 2**20,
    }


def segment_with_peer(volume: str, model: str, labels: str) -> dict[str, Any]:
    """MONAI's AHNet with the same weights under MONAI's sliding windows, from array to label map."""
    loaded = load_model(Path(model))
    rule = loaded.card.intensity
    network = peer_network(loaded.network)
    del loaded
    scan = read_scan(volume)
    began = time.perf_counter()
    found = slide(scan, rule, network)
    seconds = time.perf_counter() - began
    np.save(labels, found)
    return {"seconds": seconds, "peak_mb": peak_mb()}


def peer_in_one_piece(volume: str, model: str, labels: str, slices: int) -> dict[str, Any]:
    """MONAI's AHNet on the first slices without any windows, which only a large machine can do."""
    loaded = load_model(Path(model))
    scan = read_scan(volume, slices)
    network = peer_network(loaded.network)
    with torch.inference_mode():
        found = network(slices_last(scan, loaded.card.intensity)).argmax(dim=1)
    np.save(labels, slices_first(found))
    return {"peak_mb": peak_mb()}


@torch.inference_mode()
def slide(scan: Volume, rule: Intensity, network: torch.nn.Module) -> np.ndarray:
    """Labels (k, j, i) by MONAI's sliding windows."""
    from monai.inferers import sliding_window_inference

    image = slices_last(scan, rule)
    logits = sliding_window_inference(image, (*WINDOW[1:], WINDOW[0]), 1, network, mode="gaussian")
    assert isinstance(logits, torch.Tensor)
    return slices_first(logits.argmax(dim=1))


def slices_last(scan: Volume, rule: Intensity) -> torch.Tensor:
    """(1, 1, H, W, D), normalised, as MONAI's network has it."""
    image = intensity_map(rule, scan.array).apply(torch.from_numpy(scan.array.astype(np.float32)))
    return image.permute(1, 2, 0)[None, None]


def slices_first(labels: torch.Tensor) -> np.ndarray:
    """Labels (1, H, W, D) as uint8 (k, j, i)."""
    return np.ascontiguousarray(labels[0].to(torch.uint8).permute(2, 0, 1).numpy())


def click(volume: str, model: str, rounds: int) -> dict[str, Any]:
    """What a user waits for at the panel: from volume node to segmentation node, the model already loaded."""
    from AHNetSegmentLib.scene.segments import add_segments, new_segmentation_node
    from AHNetSegmentLib.scene.volumes import volume_from_node
    from slicer_app import slicer_app

    app = slicer_app()
    loaded = load_model(Path(model))
    (node,) = app.io_manager.load_volumes([volume])
    results = []
    for _ in range(1 + rounds):
        began = time.perf_counter()
        result = segment(volume_from_node(node), loaded, InferenceSettings(device="cpu"))
        segmentation_node = new_segmentation_node(node, "Result")
        add_segments(segmentation_node, result.labels, node, result.classes, closed_surface=False)
        seconds = time.perf_counter() - began
        surfaces = seconds_of(segmentation_node.CreateClosedSurfaceRepresentation)
        results.append((seconds, result.seconds["network"], result.seconds["total"], surfaces))
        app.scene.RemoveNode(segmentation_node)
    names = ("seconds", "network_seconds", "engine_seconds", "surface_seconds")
    found = {
        name: statistics.median(values) for name, values in zip(names, zip(*results[1:], strict=True), strict=True)
    }
    return {**found, "share": found["network_seconds"] / found["seconds"]}


def panel(volume: str, model: str, rounds: int) -> dict[str, Any]:
    """A click on Segment in the real panel with the real worker: seconds, and how long the event loop stood still."""
    import os

    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    import host
    from slicer_app import slicer_app

    host.start()
    widget = host.create_widget(host.load_module(REPOSITORY / "AHNetSegment" / "AHNetSegment.py"))
    widget.logic.shelf.add_root(Path(model).parent)
    widget.panel.list_models()
    parameters = widget.logic.getParameterNode()
    (parameters.inputVolume,) = slicer_app().io_manager.load_volumes([volume])
    parameters.model = Path(model).name
    host.pump(lambda: False, 0.5)
    results = []
    for _ in range(1 + rounds):
        parameters.outputSegmentation = None
        began = time.perf_counter()
        with host.event_loop_gaps() as gaps:
            host.click(widget.ui.segmentButton)
            host.pump(lambda: not widget.panel.busy, 600)
        assert parameters.outputSegmentation is not None, host.messages
        results.append((time.perf_counter() - began, gaps.largest_ms))
    host.close_widget(widget)
    host.pump(lambda: widget.worker.state == "off", 2)
    seconds, blocked = zip(*results[1:], strict=True)
    return {"seconds": statistics.median(seconds), "blocked_ms": max(blocked)}


def train(which: str, rounds: int, batch: int) -> dict[str, Any]:
    """Seconds of a training step: ours, or MONAI's network in a plain float32 loop."""
    torch.manual_seed(0)
    settings = AHNetSettings(classes=14, align_corners=True, padded_pyramid=True, zero_padded_slices=True)
    labels = torch.randint(0, 14, (batch, *PATCH))
    image = torch.randn(batch, 1, *PATCH)
    if which == "ours":
        keep_freed_memory()
        step = our_step(AHNet(settings), image, labels)
    else:
        step = peer_step(peer_network(AHNet(settings)), image.permute(0, 1, 3, 4, 2), labels.permute(0, 2, 3, 1))
    return {"seconds": median_seconds(step, rounds, warm_up=5), "peak_mb": peak_mb()}


def our_step(network: AHNet, image: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    network.train()
    loss = SegmentationLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    precision = choose_precision("auto", CPU)

    def step() -> None:
        with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
            logits = network(image)
        optimizer.zero_grad(set_to_none=True)
        loss(logits, labels).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimizer.step()

    return step


def peer_step(network: torch.nn.Module, image: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    network.train()
    loss = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss(network(image), labels).backward()
        optimizer.step()

    return step


def arithmetic(model: str, precision: str, rounds: int) -> dict[str, Any]:
    """The machine's matrix-product rate and what inference reaches of it, GFLOP/s, in turn."""
    from torch.utils.flop_counter import FlopCounterMode

    dtype = getattr(torch, precision)
    loaded = load_model(Path(model))
    size = (64, 512, 512)
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        AHNet(loaded.card.network).eval()(torch.empty(1, 1, *size))
    network = StreamedAHNet(loaded.network, CPU, dtype)
    volume = torch.randn(size[0], 1, *size[1:])
    left, right = (torch.randn(4096, 4096).to(dtype) for _ in range(2))

    def infer() -> None:
        for _ in network.run(iter(volume.split(8)), size):
            pass

    rates = []
    with torch.inference_mode():
        for _ in range(1 + rounds):
            product = 2 * 4096**3 / seconds_of(lambda: left @ right)
            rates.append((product / 1e9, counter.get_total_flops() / seconds_of(infer) / 1e9))
        with torch.profiler.profile() as profile:
            infer()
    product, inference = (statistics.median(values) for values in zip(*rates[1:], strict=True))
    return {
        "gflop_per_slice": counter.get_total_flops() / size[0] / 1e9,
        "matrix_product": product,
        "inference": inference,
        "share": inference / product,
        "by_operator": shares_of(profile),
    }


GROUPS = {
    "convolution": ("convolution", "conv2d", "addmm", "mm"),
    "copy and concatenation": ("copy_", "cat", "clone", "index", "contiguous", "stack", "fill_"),
    "pooling": ("max_pool", "avg_pool"),
    "normalisation and ReLU": ("batch_norm", "maximum", "minimum", "relu", "clamp", "addcmul"),
    "interpolation": ("upsample", "lerp"),
    "sum": ("aten::add",),
}


def shares_of(profile: Any) -> dict[str, float]:
    """The share of the time by kind of operator."""
    found = dict.fromkeys((*GROUPS, "other"), 0.0)
    for event in profile.key_averages():
        group = next((name for name, parts in GROUPS.items() if any(part in event.key for part in parts)), "other")
        found[group] += event.self_cpu_time_total
    total = sum(found.values())
    return {name: round(value / total, 4) for name, value in found.items()}


def one_window(model: str, runtime: str, rounds: int, work: str) -> dict[str, Any]:
    """Seconds for one window of 32 x 256 x 256 in ours, ONNX Runtime or OpenVINO."""
    loaded = load_model(Path(model))
    window = torch.randn(1, 1, *WINDOW)
    run = RUNTIMES[runtime](loaded.network, window, Path(work))
    return {"seconds": median_seconds(run, rounds, warm_up=1)}


def our_window(dtype: torch.dtype) -> Callable[[AHNet, torch.Tensor, Path], Callable[[], None]]:
    def prepare(network: AHNet, window: torch.Tensor, _: Path) -> Callable[[], None]:
        streamed = StreamedAHNet(network, CPU, dtype)
        slices = window[0].transpose(0, 1)

        @torch.inference_mode()
        def run() -> None:
            for _ in streamed.run(iter(slices.split(8)), WINDOW):
                pass

        return run

    return prepare


def exported(network: AHNet, window: torch.Tensor, work: Path) -> Path:
    """The network as an ONNX file, made once."""
    path = work / "window.onnx"
    if not path.is_file():
        plain = network.to(memory_format=torch.contiguous_format)
        # Without oneDNN the trace holds plain convolutions, which ONNX knows.
        with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
            torch.onnx.export(plain, (window,), str(path), dynamo=True, external_data=False, verbose=False)
    return path


def onnx_runtime(network: AHNet, window: torch.Tensor, work: Path) -> Callable[[], None]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(exported(network, window, work)), options)
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: window.numpy()}) and None


def openvino(precision: str) -> Callable[[AHNet, torch.Tensor, Path], Callable[[], None]]:
    def prepare(network: AHNet, window: torch.Tensor, work: Path) -> Callable[[], None]:
        import openvino as ov

        settings = {"INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": precision}
        compiled = ov.Core().compile_model(str(exported(network, window, work)), "CPU", settings)
        return lambda: compiled([window.numpy()]) and None

    return prepare


RUNTIMES: dict[str, Callable[[AHNet, torch.Tensor, Path], Callable[[], None]]] = {
    "ours, bfloat16": our_window(torch.bfloat16),
    "ours, float32": our_window(torch.float32),
    "ONNX Runtime, float32": onnx_runtime,
    "OpenVINO, float32": openvino("f32"),
    "OpenVINO, bfloat16": openvino("bf16"),
}


def peer_network(network: AHNet) -> torch.nn.Module:
    """MONAI's AHNet with the weights of ours."""
    from monai.networks.nets.ahnet import AHNet as PeerAHNet

    settings = network.settings
    peer = PeerAHNet(
        layers=settings.layers,
        spatial_dims=3,
        in_channels=settings.in_channels,
        out_channels=settings.classes,
        psp_block_num=settings.pyramid_levels,
        upsample_mode="trilinear",
    )
    theirs, ours = peer.state_dict(), network.state_dict()
    names = zip(theirs, to_own_names(theirs, Format.MONAI_AHNET), strict=True)
    weights = {their: ours[own] for their, own in names}
    # Theirs have the slice axis last.
    peer.load_state_dict({name: w.permute(0, 1, 3, 4, 2) if w.dim() == 5 else w for name, w in weights.items()})
    return peer.eval()


def read_scan(path: str, slices: int = 0) -> Volume:
    """A CT in HU, int16 (k, j, i); with `slices`, repeated back and forth to so many."""
    array = np.load(path)
    if slices:
        there_and_back = np.concatenate([array, array[::-1]])
        array = np.concatenate([there_and_back] * (slices // len(there_and_back) + 1))[:slices]
    return Volume(np.ascontiguousarray(array), Geometry(array.shape[::-1], SPACING), "benchmark volume")


def median_seconds(run: Callable[[], Any], rounds: int, warm_up: int) -> float:
    times = [seconds_of(run) for _ in range(warm_up + rounds)]
    return statistics.median(times[warm_up:])


def seconds_of(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def peak_mb() -> float:
    """Peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    """Resident memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


@contextmanager
def zeros_in_memory() -> Iterator[None]:
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
    "peer-in-one-piece": peer_in_one_piece,
    "click": click,
    "panel": panel,
    "train": train,
    "arithmetic": arithmetic,
    "window": one_window,
}

if __name__ == "__main__":
    main()

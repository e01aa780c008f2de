"""Our speed and memory against the maintained AH-Net's, on this machine: ``make bench``.

Every measurement is a process of its own with two threads; ours and the peer's take turns, and medians count. Writes
``bench.json`` part by part and prints a table that says which of its targets each figure reaches.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
for folder in (REPOSITORY / "AHNetSegment", REPOSITORY / "Testing"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import numpy as np
import SimpleITK as sitk

from AHNetSegmentLib.engine.allocator import keep_freed_memory
from AHNetSegmentLib.engine.build import train_model
from AHNetSegmentLib.engine.device import choose_device, choose_precision, precision_name
from AHNetSegmentLib.engine.files import write_text
from AHNetSegmentLib.engine.text_table import text_table
from AHNetSegmentLib.engine.training_progress import TrainingProgress

RECIPE = HERE / "abdomen-full-width.toml"
SIZE = (512, 512, 100)
SPACING = (0.8, 0.8, 3.0)
CASE = "case_0005"
AIR_HU = -1000
GROWTH = (50, 100, 200, 400)
WARM_UP = 32
ONE_PIECE = 96
"""Slices: the peer's network takes multiples of 32 alone."""


@dataclass
class Bench:
    """Where files are, how often is measured, and what was found.

    Attributes:
        data: the folder of labelled data.
        work: folder of volume, weights and labels.
        rounds: measurements of each figure.
        found: what the part that runs has found.
        rows: its rows of the table: figure, value, target, verdict.
    """

    data: Path
    work: Path
    rounds: int
    found: Any = None
    rows: list[list[str]] = field(default_factory=list)

    @property
    def volume(self) -> str:
        return str(self.work / "volume.npy")

    @property
    def model(self) -> str:
        return str(self.work / "full-width")

    @property
    def results(self) -> Path:
        return self.work / "bench.json"

    @property
    def half_width_model(self) -> str:
        return str(self.work / "half-width")

    def job(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The result of a job of jobs.py, which runs as a process of its own."""
        print(f"  {name} {json.dumps(arguments)}", file=sys.stderr, flush=True)
        command = [sys.executable, str(HERE / "jobs.py"), name, json.dumps(arguments)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if done.returncode:
            raise SystemExit(f"The job {name} failed:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def row(self, figure: str, value: str, target: str = "", reached: bool | None = None) -> None:
        """Adds a line to the table."""
        self.rows.append([figure, value, target, {None: "", True: "reached", False: "NOT REACHED"}[reached]])


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, default=REPOSITORY / ".." / "shared" / "data")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "work" / "bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default="123456", help="numbers of the parts to run")
    options = parser.parse_args()
    bench = Bench(options.data, options.work, options.rounds)
    bench.work.mkdir(parents=True, exist_ok=True)
    prepare(bench)
    for number in options.parts:
        print(f"Part {number}", file=sys.stderr, flush=True)
        bench.rows = []
        PARTS[number](bench)
        keep(bench, number)
    results = kept(bench)
    rows = [row for number in sorted(results) for row in results[number]["table"]]
    print(text_table(["Figure", "Here", "Target", ""], rows))
    print(f"\nWritten: {bench.results}")


def kept(bench: Bench) -> dict[str, Any]:
    """The results of the parts that have run, in this call or in earlier ones."""
    if not bench.results.is_file():
        return {}
    results: dict[str, Any] = json.loads(bench.results.read_text(encoding="utf-8"))
    return results


def keep(bench: Bench, number: str) -> None:
    """Writes a part's results beside those of the others, so that no later failure loses them."""
    part = {"machine": machine(), "rounds": bench.rounds, "found": bench.found, "table": bench.rows}
    results = dict(sorted({**kept(bench), number: part}.items()))
    write_text(bench.results, json.dumps(results, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    return {"cpu": torch.backends.cpu.get_cpu_capability(), "threads": 2, "torch": torch.__version__,
            "python": platform.python_version(), "system": platform.system()}  # fmt: skip


def prepare(bench: Bench) -> None:
    """The volume, and weights that were trained: half an hour at the first call, kept afterwards."""
    abdomen = bench.data / "abdomen-ct"
    if not Path(bench.volume).is_file():
        image = sitk.ReadImage(str(abdomen / "images" / f"{CASE}.nii.gz"))
        np.save(bench.volume, sitk.GetArrayFromImage(on_bench_grid(image)))
    write_volume_file(bench)
    keep_freed_memory()
    half_recipe = bench.work / "half-width.toml"
    half_recipe.write_text(half_width(RECIPE.read_text(encoding="utf-8")), encoding="utf-8")
    for recipe, model in ((RECIPE, bench.model), (half_recipe, bench.half_width_model)):
        if not (Path(model) / "model.json").is_file():
            print(f"Training {model} for the comparison", file=sys.stderr)
            train_model(recipe, abdomen, Path(model), Path(f"{model}-training"), report=show)


def half_width(recipe: str) -> str:
    """The recipe with the network settings of a bundled CT model, and with a short first stage alone."""
    changes = {
        "width = 1.0": "width = 0.5",
        "slice_strides = [2, 2, 2, 2, 2]": "slice_strides = [1, 1, 2, 2, 2]",
        "pyramid_levels = 4": "pyramid_levels = 2",
        "align_corners = true": "align_corners = false",
        "padded_pyramid = true": "padded_pyramid = false",
        "zero_padded_slices = true": "zero_padded_slices = false",
        recipe[recipe.index("# The size of the peer's windows.") : recipe.index("[[classes]]")]: "",
        "steps = 600": "steps = 150",
    }
    for before, after in changes.items():
        assert before in recipe, before
        recipe = recipe.replace(before, after)
    return recipe


def on_bench_grid(image: sitk.Image) -> sitk.Image:
    """The image around its own centre on the grid of the benchmarks, air beyond it, int16."""
    middle = image.TransformContinuousIndexToPhysicalPoint([(length - 1) / 2 for length in image.GetSize()])
    grid = sitk.Image(SIZE, sitk.sitkInt16)
    grid.SetSpacing(SPACING)
    grid.SetDirection(image.GetDirection())
    corner = grid.TransformContinuousIndexToPhysicalPoint([(length - 1) / 2 for length in SIZE])
    grid.SetOrigin([a - b for a, b in zip(middle, corner, strict=True)])
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, AIR_HU, sitk.sitkInt16)


def write_volume_file(bench: Bench) -> None:
    """The benchmark volume as a file for Slicer's own reader."""
    path = bench.work / "volume.nrrd"
    if not path.is_file():
        image = sitk.GetImageFromArray(np.load(bench.volume))
        image.SetSpacing(SPACING)
        sitk.WriteImage(image, str(path))


def show(place: TrainingProgress) -> bool:
    print(f"  step {place.step} of {place.steps}, loss {place.loss:.3f}", file=sys.stderr, flush=True)
    return True


def against_peer(bench: Bench) -> None:
    """Part 1: full width, time, memory, agreement."""
    labels = {name: str(bench.work / f"labels-{name}.npy") for name in ("peer", "bfloat16", "float32")}
    runs: dict[str, list[dict[str, Any]]] = {"peer": [], "bfloat16": [], "float32": []}
    both = {"volume": bench.volume, "model": bench.model}
    for _ in range(bench.rounds):
        for precision in ("bfloat16", "float32"):
            runs[precision].append(bench.job("ours", **both, precision=precision, labels=labels[precision]))
        runs["peer"].append(bench.job("peer", **both, labels=labels["peer"]))
    seconds = {name: median(found, "seconds") for name, found in runs.items()}
    memory = {name: median(found, "peak_mb") for name, found in runs.items()}
    maps = {name: np.load(path) for name, path in labels.items()}
    truth = reference_labels(bench)
    dice = {name: mean_dice(found, truth) for name, found in maps.items()}
    windows = {name: float((maps[name] == maps["peer"]).mean()) for name in ("bfloat16", "float32")}
    pieces = agreement_in_one_piece(bench, both)
    bench.found = {
        "seconds": seconds,
        "peak_mb": memory,
        "same_labels_as_peer_in_one_piece": pieces,
        "same_labels_as_peer_in_windows": windows,
        "mean_dice": dice,
        "runs": runs,
    }
    bench.row("1 full width, 512x512x100: peer, float32", f"{seconds['peer']:.1f} s")
    automatic = precision_name(choose_precision("auto", choose_device("cpu")))
    for name in ("bfloat16", "float32"):
        ratio = seconds["peer"] / seconds[name]
        figure = f"{seconds[name]:.1f} s: {ratio:.1f} times faster"
        if name == automatic:
            bench.row(f"1 ours, {name}, the automatic choice here", figure, "10", ratio >= 10)
        if name == "float32":
            bench.row("1 ours, float32 against float32", figure, "4", ratio >= 4)
        elif name != automatic:
            bench.row(f"1 ours, {name}", figure)
    bench.row("1 peak memory: peer", f"{memory['peer']:.0f} MB")
    for name in ("bfloat16", "float32"):
        share = memory[name] / memory["peer"]
        bench.row(f"1 peak memory: ours, {name}", f"{memory[name]:.0f} MB: {share:.2f} of it", "0.50", share <= 0.5)
    for found, what in ((pieces, f"network on {ONE_PIECE} slices in one piece"), (windows, "sliding windows")):
        for name, target in (("float32", 0.999), ("bfloat16", 0.99)):
            share = found[name]
            bench.row(f"1 same labels as the peer's {what}, {name}", f"{share:.3%}", f"{target:.1%}", share >= target)
    bench.row("1 mean Dice of the 13 classes: peer's windows, ours", f"{dice['peer']:.3f}, {dice['bfloat16']:.3f}")


def agreement_in_one_piece(bench: Bench, both: dict[str, str]) -> dict[str, float]:
    """The share of equal labels, ours against the peer's network on the same slices without windows."""
    labels = {name: str(bench.work / f"piece-{name}.npy") for name in ("peer", "bfloat16", "float32")}
    bench.job("peer-in-one-piece", **both, labels=labels["peer"], slices=ONE_PIECE)
    for name in ("bfloat16", "float32"):
        bench.job("ours", **both, precision=name, labels=labels[name], slices=ONE_PIECE)
    peer = np.load(labels["peer"])
    return {name: float((np.load(labels[name]) == peer).mean()) for name in ("bfloat16", "float32")}


def reference_labels(bench: Bench) -> np.ndarray:
    """The case's labels on the grid of the benchmarks."""
    image = sitk.ReadImage(str(bench.data / "abdomen-ct" / "labels" / f"{CASE}.nii.gz"))
    scan = on_bench_grid(image)
    nearest = sitk.Resample(image, scan, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    return sitk.GetArrayFromImage(nearest)


def mean_dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Over the classes that the case has."""
    values = []
    for label in np.unique(truth)[1:]:
        a, b = found == label, truth == label
        values.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return float(np.mean(values))


def waiting(bench: Bench) -> None:
    """Part 2: from volume node to segmentation node."""
    cases = {
        "half width, 512x512x100": (Path(bench.half_width_model), bench.work / "volume.nrrd"),
        "full width, 512x512x100": (Path(bench.model), bench.work / "volume.nrrd"),
    }
    bundled = {"hippocampus-t1": "hippocampus-t1", "abdomen-ct": "abdomen-ct", "cardiac-cine": "cardiac-cine"}
    for name, kind in bundled.items():
        model = REPOSITORY / "Resources" / "Models" / name
        if (model / "model.json").is_file():
            cases[name] = (model, sorted((bench.data / kind / "images").iterdir())[0])
    model = REPOSITORY / "Resources" / "Models" / "abdomen-ct"
    if (model / "model.json").is_file():
        cases["abdomen-ct, 512x512x100"] = (model, bench.work / "volume.nrrd")
    found = {}
    for name, (model, volume) in cases.items():
        found[name] = bench.job("click", volume=str(volume), model=str(model), rounds=bench.rounds)
        seconds, share, surfaces = (found[name][key] for key in ("seconds", "share", "surface_seconds"))
        text = f"{seconds:.2f} s, network {share:.0%}; surfaces for 3D {surfaces:.2f} s more"
        bench.row(f"2 {name}", text, "80%", share >= 0.8)
    name = "half width, 512x512x100"
    model, volume = cases[name]
    found["panel"] = bench.job("panel", volume=str(volume), model=str(model), rounds=bench.rounds)
    blocked = found["panel"]["blocked_ms"]
    text = f"{found['panel']['seconds']:.2f} s from click to segments, event loop blocked for at most {blocked:.0f} ms"
    bench.row(f"2 {name}, in the panel", text, "100 ms", blocked <= 100)
    bench.found = found


def growth(bench: Bench) -> None:
    """Part 3: seconds and memory with the number of slices."""
    runs: dict[int, list[dict[str, Any]]] = {slices: [] for slices in GROWTH}
    for _ in range(bench.rounds):
        for slices in GROWTH:
            arguments = {"volume": bench.volume, "model": bench.half_width_model, "precision": "auto"}
            runs[slices].append(bench.job("ours", **arguments, slices=slices, warm_up=WARM_UP))
    each = {slices: median(found, "seconds") / slices for slices, found in runs.items()}
    beyond = {slices: median(found, "beyond_mb") for slices, found in runs.items()}
    bench.found = {"seconds_a_slice": each, "beyond_mb": beyond, "runs": runs}
    for slices in GROWTH:
        bench.row(
            f"3 {slices} slices", f"{each[slices] * 1e3:.1f} ms a slice, {beyond[slices]:.0f} MB beyond in and out"
        )
    for name, values, limit in (("time a slice", each, 0.1), ("memory beyond in and out", beyond, 0.05)):
        spread = max(values.values()) / min(values.values()) - 1
        bench.row(f"3 {name}: largest over smallest", f"+{spread:.1%}", f"{limit:.0%}", spread <= limit)


def training(bench: Bench) -> None:
    """Part 4: steps a second."""
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
    for _ in range(bench.rounds):
        for which, found in runs.items():
            found.append(bench.job("train", which=which, rounds=3, batch=2))
    seconds = {which: median(found, "seconds") for which, found in runs.items()}
    ratio = seconds["peer"] / seconds["ours"]
    bench.found = {"seconds": seconds, "ratio": ratio, "runs": runs}
    bench.row(
        "4 a training step, two patches of 32x128x128: peer, ours",
        f"{seconds['peer']:.2f} s, {seconds['ours']:.2f} s: {ratio:.1f} times faster",
        "3",
        ratio >= 3,
    )


def arithmetic(bench: Bench) -> None:
    """Part 5: the share of the machine's matrix-product rate."""
    found = {name: bench.job("arithmetic", model=bench.model, precision=name, rounds=bench.rounds)
             for name in ("bfloat16", "float32")}  # fmt: skip
    bench.found = found
    for name, rates in found.items():
        bench.row(
            f"5 matrix product and inference, {name}",
            f"{rates['matrix_product']:.0f} and {rates['inference']:.0f} GFLOP/s: {rates['share']:.0%}",
            "40%",
            rates["share"] >= 0.4,
        )
    shares = found["bfloat16"]["by_operator"]
    moving = sum(shares[name] for name in ("copy and concatenation", "pooling", "normalisation and ReLU"))
    bench.row("5 copies, concatenation, pooling, normalisation, bfloat16", f"{moving:.0%}", "33%", moving < 1 / 3)


def ceiling(bench: Bench) -> None:
    """Part 6: one window in other runtimes."""
    names = ("ours, bfloat16", "ours, float32", "ONNX Runtime, float32", "OpenVINO, float32", "OpenVINO, bfloat16")
    seconds: dict[str, float] = {}
    for name in names:
        found = bench.job("window", model=bench.model, runtime=name, rounds=bench.rounds, work=str(bench.work))
        seconds[name] = found["seconds"]
        bench.row(f"6 one window of 32x256x256: {name}", f"{seconds[name]:.2f} s")
    bench.found = seconds


def median(runs: Sequence[dict[str, Any]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


PARTS: dict[str, Callable[[Bench], None]] = {
    "1": against_peer,
    "2": waiting,
    "3": growth,
    "4": training,
    "5": arithmetic,
    "6": ceiling,
}

if __name__ == "__main__":
    main()

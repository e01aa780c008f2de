"""Parts of the bench that segment: against the peers, clicks, growth, arithmetic, other runtimes, threads, a GPU."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inputs import bench_volume, training_cases, usual_scan
from measuring import size_text
from results import ABDOMEN, Bench, median

from AHNetSegmentLib.engine.card import read_card
from AHNetSegmentLib.engine.device import choose_device, choose_precision, precision_name
from AHNetSegmentLib.engine.package import CARD_FILE, model_folders
from AHNetSegmentLib.engine.timings import TOTAL, Step

RECIPE = Path(__file__).with_name("abdomen-full-width.toml")
CLASSES = 14
OUTSIDE = 0.25
"""No more of a usual CT's seconds may be spent outside of the network once the worker is warm."""


def full_width(bench: Bench) -> dict[str, str]:
    """Volume and model of the comparison with the peer; the weights are trained at the first call."""
    model = bench.work / ("full-width" if bench.sizes.trained else "full-width-untrained")
    if not (model / CARD_FILE).is_file():
        cases = training_cases(bench.data, bench.work) if bench.sizes.trained else bench.data
        bench.job(
            "weights",
            recipe=str(RECIPE),
            data=str(cases),
            model=str(model),
            work=f"{model}-training",
            trained=bench.sizes.trained,
        )
    return {"volume": str(bench_volume(bench.data, bench.work, bench.sizes.volume)), "model": str(model)}


def against_peers(bench: Bench) -> None:
    """Part 1: full width, time and memory against MONAI's AH-Net; nnU-Net's architecture; the same network?"""
    both, sizes = full_width(bench), bench.sizes
    runs: dict[str, list[dict[str, Any]]] = {"peer": [], **{name: [] for name in bench.precisions}}
    for _ in range(bench.rounds):
        for precision in bench.precisions:
            runs[precision].append(bench.job("ours", **both, precision=precision))
        runs["peer"].append(bench.job("peer", **both, window=sizes.window))
    other = bench.job(
        "nnunet-window", classes=CLASSES, window=sizes.window, scan=sizes.volume[::-1], rounds=bench.rounds
    )
    seconds = {name: median(found, "seconds") for name, found in runs.items()}
    memory = {name: median(found, "peak_mb") for name, found in runs.items()}
    pieces = bench.job("in-one-piece", **both, slices=sizes.piece, precisions=list(bench.precisions))
    bench.found = {"seconds": seconds, "peak_mb": memory, "in_one_piece": pieces, "nnunet": other, "runs": runs}
    what = f"full width, {size_text(sizes.volume)}"
    bench.row(f"1 MONAI's AHNet, {what}, float32", f"{seconds['peer']:.1f} s")
    automatic = precision_name(choose_precision("auto", choose_device("cpu")))
    for name in bench.precisions:
        ratio = seconds["peer"] / seconds[name]
        figure = f"{seconds[name]:.1f} s: {ratio:.1f} times faster"
        if name == automatic:
            bench.row(f"1 ours, {name}, the automatic choice here", figure, "10", ratio >= 10)
        if name == "float32":
            bench.row("1 ours, float32 against float32", figure, "4", ratio >= 4)
        elif name != automatic:
            bench.row(f"1 ours, {name}", figure)
    if "bfloat16" not in bench.precisions:
        bench.row("1 ours, bfloat16", "not run: this processor does not multiply it")
    windows = f"{other['windows']} windows of {size_text(sizes.window)}"
    bench.row(
        f"1 nnU-Net's architecture (DynUNet, {other['parameters'] / 1e6:.0f} million weights), {windows}",
        f"{other['seconds'] * other['windows']:.0f} s: one window takes {other['seconds']:.1f} s",
    )
    bench.row("1 peak memory: MONAI's AHNet", f"{memory['peer']:.0f} MB")
    for name in bench.precisions:
        share = memory[name] / memory["peer"]
        bench.row(f"1 peak memory: ours, {name}", f"{memory[name]:.0f} MB: {share:.2f} of it", "0.50", share <= 0.5)
    for name, target in (("float32", 0.999), ("bfloat16", 0.99)):
        if name in pieces:
            same, difference = pieces[name]["same"], pieces[name]["difference"]
            bench.row(
                f"1 same weights, {sizes.piece} slices in one piece, MONAI's AHNet and ours, {name}",
                f"{same:.3%} same labels, logits differ by {difference:.1e} of their deviation",
                f"{target:.1%}",
                same >= target,
            )


def clicks(bench: Bench) -> None:
    """Part 2: from a click to segments in the scene, each bundled model on its usual scan."""
    sizes = bench.sizes
    bench.found = {}
    for folder in model_folders():
        card = read_card(folder / CARD_FILE)
        scan = usual_scan(card, bench.data, bench.work, sizes.ct, sizes.head, sizes.cine)
        if scan is None:
            bench.row(f"2 {folder.name}", "not run: nilearn, which holds the head, is not installed")
            continue
        jobs = [
            bench.job("clicks", volume=str(scan.path), model=str(folder), rounds=bench.rounds, roi=scan.roi)
            for _ in range(bench.rounds)
        ]
        cold = median_steps([job["cold"] for job in jobs])
        warm = median_steps([run for job in jobs for run in job["warm"]])
        blocked, surfaces = max(job["blocked_ms"] for job in jobs), median(jobs, "surface_seconds")
        bench.found[folder.name] = {"scan": scan.name, "cold": cold, "warm": warm, "jobs": jobs}
        name = f"2 {folder.name}, {scan.name}"
        outside = 1 - warm["network"] / warm["wall"]
        target = (f"{OUTSIDE:.0%}", outside <= OUTSIDE) if card.modality == "CT" else ()
        bench.row(f"{name}: worker cold", f"{cold['wall']:.2f} s: {steps_text(cold)}")
        bench.row(f"{name}: worker warm", f"{warm['wall']:.2f} s: {steps_text(warm)}")
        bench.row(f"{name}: outside of the network, worker warm", f"{outside:.0%}", *target)
        bench.row(f"{name}: surfaces for 3D", f"{surfaces:.2f} s more")
        bench.row(f"{name}: event loop blocked, worker warm", f"for at most {blocked:.0f} ms", "100 ms", blocked <= 100)


def median_steps(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each step's seconds; a step that a run lacks took none there."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median(run.get(name, 0.0) for run in runs) for name in names}


def steps_text(seconds: Mapping[str, float]) -> str:
    """Steps in the order of a run, with the network's views, and what the panel itself takes."""
    told = []
    for step in Step:
        if step.value not in seconds:
            continue
        views = [f"{value:.2f}" for name, value in seconds.items() if name.startswith(f"{step.value}_")]
        text = f"{step.value.replace('_', ' ')} {seconds[step.value]:.2f}"
        told.append(f"{text} ({' + '.join(views)})" if views else text)
    rest = seconds["wall"] - seconds[TOTAL]
    return ", ".join([*told, f"panel {max(0.0, rest):.2f}"])


def growth(bench: Bench) -> None:
    """Part 3: seconds and memory with the number of slices, in the bundled model of the abdomen."""
    volume = str(bench_volume(bench.data, bench.work, bench.sizes.volume))
    runs: dict[int, list[dict[str, Any]]] = {slices: [] for slices in bench.sizes.growth}
    for _ in range(bench.rounds):
        for slices, found in runs.items():
            arguments = {"volume": volume, "model": str(ABDOMEN), "precision": "auto"}
            found.append(bench.job("ours", **arguments, slices=slices, warm_up=bench.sizes.growth_warm_up))
    each = {slices: median(found, "seconds") / slices for slices, found in runs.items()}
    beyond = {slices: median(found, "beyond_mb") for slices, found in runs.items()}
    bench.found = {"seconds_a_slice": each, "beyond_mb": beyond, "runs": runs}
    plane = size_text(bench.sizes.volume[:2])
    for slices in runs:
        figure = f"{each[slices] * 1e3:.1f} ms a slice, {beyond[slices]:.0f} MB beyond in and out"
        bench.row(f"3 abdomen-ct, {slices} slices of {plane}", figure)
    for name, values, limit in (("time a slice", each, 0.1), ("memory beyond in and out", beyond, 0.05)):
        spread = max(values.values()) / min(values.values()) - 1
        bench.row(f"3 {name}: largest over smallest", f"+{spread:.1%}", f"{limit:.0%}", spread <= limit)


def arithmetic(bench: Bench) -> None:
    """Part 5: the share of the machine's matrix-product rate that inference reaches."""
    model = full_width(bench)["model"]
    columns, rows, depth = bench.sizes.volume
    found = {
        name: bench.job(
            "arithmetic",
            model=model,
            precision=name,
            size=(min(64, depth), rows, columns),
            side=bench.sizes.product,
            rounds=bench.rounds,
        )
        for name in bench.precisions
    }
    bench.found = found
    for name, rates in found.items():
        bench.row(
            f"5 matrix product and inference, {name}",
            f"{rates['matrix_product']:.0f} and {rates['inference']:.0f} GFLOP/s: {rates['share']:.0%}",
            "40%",
            rates["share"] >= 0.4,
        )
        shares = rates["by_operator"]
        moving = sum(shares[part] for part in ("copy and concatenation", "pooling", "normalisation and ReLU"))
        bench.row(f"5 copies, concatenation, pooling, normalisation, {name}", f"{moving:.0%}", "33%", moving < 1 / 3)


def runtimes(bench: Bench) -> None:
    """Part 6: one window in other runtimes."""
    model, window = full_width(bench)["model"], bench.sizes.window
    bench.found = {}
    for name in ("ours", "ONNX Runtime", "OpenVINO"):
        for precision in bench.precisions:
            if (name, precision) == ("ONNX Runtime", "bfloat16"):
                continue
            runtime = f"{name}, {precision}"
            arguments = {"model": model, "runtime": runtime, "window": window, "work": str(bench.work)}
            seconds = bench.job("window", **arguments, rounds=bench.rounds)["seconds"]
            bench.found[runtime] = seconds
            text = "not run: not installed" if seconds is None else f"{seconds:.2f} s"
            bench.row(f"6 one window of {size_text(window)}: {runtime}", text)


def threads(bench: Bench) -> None:
    """Part 7: from one thread to as many as there are, in the bundled model of the abdomen."""
    available = len(os.sched_getaffinity(0))
    counts = sorted({*(2**power for power in range(12) if 2**power < available), available})
    if len(counts) == 1:
        bench.row("7 threads", "not run: this machine has one core")
        return
    runs = {
        count: bench.job(
            "scaling",
            threads=count,
            recipe=str(ABDOMEN / "recipe.toml"),
            window=bench.sizes.window,
            patch=bench.sizes.abdomen_patch,
            batch=bench.sizes.batch,
            side=bench.sizes.product,
            rounds=bench.rounds,
        )
        for count in counts
    }
    bench.found = runs
    first = runs[1]
    for count, found in runs.items():
        gains = (
            first["inference_seconds"] / found["inference_seconds"],
            first["step_seconds"] / found["step_seconds"],
            found["matrix_product"] / first["matrix_product"],
        )
        bench.row(
            f"7 abdomen-ct's network, {count} thread{'s' if count > 1 else ''}",
            f"window {found['inference_seconds']:.2f} s, training step {found['step_seconds']:.2f} s; "
            f"{gains[0]:.1f} and {gains[1]:.1f} times as fast as one, the matrix product {gains[2]:.1f} times",
        )


def gpu(bench: Bench) -> None:
    """Part 8: on a GPU."""
    import torch

    if not torch.cuda.is_available():
        bench.row("8 GPU", "not run: PyTorch finds no CUDA device here")
        return
    card = torch.cuda.get_device_name(0)
    both = full_width(bench)
    found = bench.job("gpu", **both, rounds=bench.rounds)
    step = bench.job(
        "step",
        which="ours",
        patch=bench.sizes.patch,
        batch=bench.sizes.batch,
        rounds=bench.rounds,
        warm_up=3,
        device="cuda",
    )
    bench.found = {"card": card, "inference": found, "step": step}
    steps = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in found["steps"].items())
    bench.row(
        f"8 {card}, full width, {size_text(bench.sizes.volume)}, {found['precision']}",
        f"{found['seconds']:.2f} s ({steps}), {found['device_mb']:.0f} MB of the card",
    )
    bench.row(
        f"8 {card}, allowed {found['allowed_mb']:.0f} MB",
        f"ended on {found['short_device']}: {'; '.join(found['short_of_memory']) or 'nothing was short'}; "
        f"{found['same_labels']:.3%} same labels",
        "99.0%",
        found["same_labels"] >= 0.99,
    )
    bench.row(
        f"8 {card}, a training step, {bench.sizes.batch} × {size_text(bench.sizes.patch)}, {step['precision']}",
        f"{step['seconds'] * 1e3:.0f} ms",
    )

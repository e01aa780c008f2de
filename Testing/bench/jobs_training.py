"""Jobs that train: the weights that are compared, steps of ours and of the peers', threads."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import CPU, SPACING, forward_gflop, median_seconds, product_rate
from peers import monai_ahnet, nnunet
from processes import own_peak_mb

from AHNetSegmentLib.engine.allocator import keep_freed_memory
from AHNetSegmentLib.engine.build import card_of, train_model
from AHNetSegmentLib.engine.dataset import PreparedCase
from AHNetSegmentLib.engine.device import precision_name
from AHNetSegmentLib.engine.errors import Cancelled
from AHNetSegmentLib.engine.package import save_model
from AHNetSegmentLib.engine.recipe import Recipe, Stage, read_recipe
from AHNetSegmentLib.engine.training import Trainer
from AHNetSegmentLib.engine.training_progress import TrainingOptions, TrainingProgress
from AHNetSegmentLib.network.ahnet import AHNet
from AHNetSegmentLib.network.settings import AHNetSettings
from AHNetSegmentLib.network.streaming import StreamedAHNet

CLASSES = 14
Size = tuple[int, int, int]


def weights(recipe: str, data: str, model: str, work: str, trained: bool) -> dict[str, Any]:
    """The model for the comparison with the peer, trained for some minutes or not at all."""
    keep_freed_memory()
    if trained:
        train_model(Path(recipe), Path(data), Path(model), Path(work), report=_show)
    else:
        settings = read_recipe(Path(recipe))
        torch.manual_seed(0)
        save_model(Path(model), card_of(settings), AHNet(settings.network).state_dict(), settings.storage)
    return {}


def _show(place: TrainingProgress) -> bool:
    print(f"  step {place.step} of {place.steps}, loss {place.loss:.3f}", file=sys.stderr, flush=True)
    return True


def step(which: str, patch: Size, batch: int, rounds: int, warm_up: int, device: str = "cpu") -> dict[str, Any]:
    """Seconds of a training step at full width: ours as it trains, or a peer's network in a plain float32 loop."""
    torch.manual_seed(0)
    image, labels = torch.randn(batch, 1, *patch), torch.randint(0, CLASSES, (batch, *patch))
    settings = AHNetSettings(classes=CLASSES, align_corners=True, padded_pyramid=True, zero_padded_slices=True)
    if which == "ours":
        keep_freed_memory()
        with tempfile.TemporaryDirectory() as work:
            trainer = _trainer(settings, patch, batch, Path(work), device)
            run = _step_of(trainer, image, labels)
            seconds = median_seconds(run, rounds, warm_up)
        return {"seconds": seconds, "precision": precision_name(trainer.precision), "peak_mb": own_peak_mb()}
    if which == "nnU-Net":
        network = nnunet(CLASSES, patch, (SPACING[2], SPACING[1], SPACING[0])).train()
    else:
        network = monai_ahnet(AHNet(settings)).train()
        image, labels = image.permute(0, 1, 3, 4, 2), labels.permute(0, 2, 3, 1)
    seconds = median_seconds(_peer_step(network, image, labels), rounds, warm_up)
    return {"seconds": seconds, "precision": "float32", "peak_mb": own_peak_mb()}


def _step_of(trainer: Trainer, image: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    trainer.network.train()
    stage, labelled = trainer.recipe.stages[0], torch.ones(len(image), CLASSES, dtype=torch.bool)

    def run() -> None:
        # The loss waits for the device, as the trainer does when it reports.
        float(trainer._step(stage, image, labels, labelled))

    return run


def _peer_step(network: torch.nn.Module, image: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    loss = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def run() -> None:
        optimizer.zero_grad()
        loss(network(image), labels).backward()
        optimizer.step()

    return run


def _trainer(
    settings: AHNetSettings, patch: Size, batch: int, work: Path, device: str = "cpu", workers: int = 0
) -> Trainer:
    """A trainer for the network, with one case of noise."""
    recipe_path = Path(__file__).with_name("abdomen-full-width.toml")
    recipe = replace(
        read_recipe(recipe_path), network=settings, stages=(Stage("all", 100_000, 1e-3, batch=batch, patch=patch),)
    )
    options = TrainingOptions(device=device, workers=workers, report_every=100_000)
    return Trainer(recipe, [_noise(recipe, patch)], work, options)


def _noise(recipe: Recipe, patch: Size) -> PreparedCase:
    random = np.random.default_rng(0)
    size = tuple(2 * length for length in patch)
    labels = random.integers(0, CLASSES, size, dtype=np.uint8)
    centres = tuple(np.argwhere(labels == label)[:1000] for label in range(1, CLASSES))
    image = random.standard_normal((1, *size), dtype=np.float32).astype(np.float16)
    spacing = tuple(step or 1.0 for step in recipe.spacing)
    return PreparedCase("noise", image, labels, (spacing[0], spacing[1], spacing[2]), centres)


def rate(recipe: str, patch: Size, batch: int, rounds: int, warm_up: int, side: int) -> dict[str, Any]:
    """The step of a bundled model's training: its share of the machine's product rate, and what it waits for patches.

    Returns:
        ``gflop`` of a step (three times the forward pass), ``seconds`` of a step with its patches at hand,
        ``waiting`` (share of the time that steps wait for patches) by the number of processes that make them,
        ``matrix_product`` (GFLOP/s in the precision of the step), ``share`` of it, ``by_operator``.
    """
    keep_freed_memory()
    settings = read_recipe(Path(recipe)).network
    gflop = 3 * batch * forward_gflop(settings, patch)
    image, labels = torch.randn(batch, 1, *patch), torch.randint(0, CLASSES, (batch, *patch))
    waiting = {}
    with tempfile.TemporaryDirectory() as work:
        trainer = _trainer(settings, patch, batch, Path(work))
        run = _step_of(trainer, image, labels)
        seconds = median_seconds(run, rounds, warm_up)
        with torch.profiler.profile() as profile:
            run()
        product = product_rate(trainer.precision, side, 3)
        for workers in (1, 2):
            waiting[str(workers)] = _waiting(settings, patch, batch, workers, warm_up + rounds)
    return {
        "gflop": gflop,
        "seconds": seconds,
        "precision": precision_name(trainer.precision),
        "matrix_product": product,
        "share": gflop / seconds / product,
        "waiting": waiting,
        "by_operator": _shares_of(profile),
        "peak_mb": own_peak_mb(),
    }


def _waiting(settings: AHNetSettings, patch: Size, batch: int, workers: int, steps: int) -> float:
    """The share of a training's time that passes between a step's end and the next one's begin."""
    with tempfile.TemporaryDirectory() as work:
        trainer = _trainer(settings, patch, batch, Path(work), workers=workers)
        inner, moments = trainer._step, []

        def timed(*arguments: Any) -> torch.Tensor:
            began = time.perf_counter()
            loss = inner(*arguments)
            moments.append((began, time.perf_counter()))
            return loss

        trainer._step = timed  # type: ignore[method-assign]
        with suppress(Cancelled):
            trainer.run(go_on=lambda: len(moments) < 1 + steps)
    # The first step waits for the processes to start.
    whole = moments[-1][1] - moments[0][1]
    return max(0.0, 1 - sum(end - began for began, end in moments[1:]) / whole)


GROUPS = {
    "convolution": ("convolution", "conv2d", "conv3d", "addmm", "mm"),
    "normalisation": ("batch_norm", "native_batch_norm"),
    "ReLU": ("relu", "threshold"),
    "copies and concatenation": ("copy_", "cat", "clone", "contiguous", "slice_backward", "fill_", "zero_"),
    "interpolation and pooling": ("upsample", "pool"),
    "optimiser and average": ("_foreach", "adam", "norm"),
}


def _shares_of(profile: Any) -> dict[str, float]:
    """The share of the time by kind of operator."""
    found = dict.fromkeys((*GROUPS, "rest"), 0.0)
    for event in profile.key_averages():
        group = next((name for name, parts in GROUPS.items() if any(part in event.key for part in parts)), "rest")
        found[group] += event.self_cpu_time_total
    total = sum(found.values())
    return {name: round(value / total, 4) for name, value in found.items()}


def scaling(recipe: str, window: Size, patch: Size, batch: int, side: int, rounds: int) -> dict[str, Any]:
    """Product, inference and step of a bundled model's network, with the threads that this process has."""
    keep_freed_memory()
    settings = read_recipe(Path(recipe)).network
    streamed = StreamedAHNet(AHNet(settings).eval(), CPU, torch.float32)
    slices = torch.randn(window[0], 1, *window[1:])

    @torch.inference_mode()
    def infer() -> None:
        for _ in streamed.run(iter(slices.split(8)), window):
            pass

    image, labels = torch.randn(batch, 1, *patch), torch.randint(0, CLASSES, (batch, *patch))
    with tempfile.TemporaryDirectory() as work:
        trainer = _trainer(settings, patch, batch, Path(work))
        return {
            "matrix_product": product_rate(torch.float32, side, rounds),
            "inference_seconds": median_seconds(infer, rounds),
            "step_seconds": median_seconds(_step_of(trainer, image, labels), rounds),
        }


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "weights": weights,
    "step": step,
    "rate": rate,
    "scaling": scaling,
}

"""How long a fine-tuning will take, measured with a few steps of its own size on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..network.ahnet import AHNet
from ..network.losses import SegmentationLoss
from .card import UNCODED, ClassCard, ModelCard
from .device import choose_device, choose_precision
from .division import HELD_OUT_SHARE
from .errors import Cancelled
from .finetune_plan import FinetuneSettings, Grid, Identity, plan_recipe
from .preprocess import ModelGrid
from .recipe import Recipe, Stage
from .volume import Geometry


@dataclass(frozen=True)
class Estimate:
    """Seconds of all steps and validations, seconds of a step that trains all layers, steps of all stages."""

    seconds: float
    seconds_per_step: float
    steps: int


def estimate(
    base: ModelCard | None,
    classes: int,
    scans: Sequence[Geometry],
    settings: FinetuneSettings,
    device: str = "auto",
    precision: str = "auto",
    go_on: Callable[[], bool] = lambda: True,
) -> Estimate:
    """Measures two steps of each stage of the 3D network, and a validation's pace.

    The 2D network of a training from scratch is taken to cost as much a step as the locked 3D one.

    Raises:
        Cancelled: ``go_on`` answered False.
        RecipeError: the settings do not fit each other, or the cases' slices lie in different planes.
    """
    named = tuple(ClassCard(n + 1, f"structure {n + 1}", (0, 0, 0), UNCODED) for n in range(classes))
    cases = [(f"case {number}", geometry) for number, geometry in enumerate(scans, start=1)]
    recipe = plan_recipe(Identity("estimate", "Estimate"), named, cases, base, settings)
    bench = _Bench(recipe, device, precision)
    seconds = {}
    for kind in ("decoder", "all"):
        if not go_on():
            raise Cancelled("The estimate was stopped.")
        seconds[kind] = bench.step(next(stage for stage in recipe.stages if stage.kind == kind))
    total = sum(stage.steps * seconds["all" if stage.kind == "all" else "decoder"] for stage in recipe.stages)
    steps = sum(stage.steps for stage in recipe.stages)
    grids = [Grid.of(geometry, recipe.plane) for geometry in scans]
    voxels = sum(float(np.prod(ModelGrid.of(grid.shape, grid.spacing, recipe.spacing).model)) for grid in grids)
    validations = steps / recipe.validate_every if len(grids) > 2 else 0
    total += validations * HELD_OUT_SHARE * voxels * bench.seconds_per_voxel(recipe.stages[-1])
    return Estimate(total, seconds["all"], steps)


class _Bench:
    """Times steps on random numbers."""

    def __init__(self, recipe: Recipe, device: str, precision: str) -> None:
        self.recipe = recipe
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.network = AHNet(recipe.network).to(self.device).train()
        self.loss = SegmentationLoss(gamma=0.0)

    def step(self, stage: Stage) -> float:
        """Seconds of a step of a stage; the first one, which warms up, does not count."""
        self.network.lock_encoder(stage.kind == "decoder")
        optimizer = torch.optim.AdamW([p for p in self.network.parameters() if p.requires_grad], fused=True)
        images = torch.rand(stage.batch, 1, *stage.patch, device=self.device)
        labels = torch.zeros(stage.batch, *stage.patch, dtype=torch.uint8, device=self.device)
        for _ in range(2):
            began = self._now()
            with self._autocast():
                logits = self.network(images)
            optimizer.zero_grad()
            self.loss(logits, labels).backward()
            optimizer.step()
        return self._now() - began

    @torch.no_grad()
    def seconds_per_voxel(self, stage: Stage) -> float:
        """Seconds that inference takes, per voxel of the model's grid."""
        images = torch.rand(1, 1, *stage.patch, device=self.device)
        self.network.eval()
        began = self._now()
        with self._autocast():
            self.network(images)
        return (self._now() - began) / images.numel()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

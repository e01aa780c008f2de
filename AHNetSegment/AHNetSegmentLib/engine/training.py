"""Training AH-Net in stages: the 2D network on slices, the transfer, the 3D decoder, then everything.

A run is decided by its recipe and data: batches depend on seed, stage and step alone, so a run that was killed goes
on from its last checkpoint and ends with the same weights (on one machine, in float32).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..network.ahnet import AHNet
from ..network.losses import SegmentationLoss
from ..network.mcgcn import MCGCN, slice_triplets
from ..network.transfer import transfer_encoder
from .dataset import BatchStream, PreparedCase
from .device import choose_device, choose_precision
from .errors import Cancelled, OutputError, RecipeError, ResourceError
from .files import write_file, write_text
from .recipe import Recipe, Stage

CHECKPOINT_FILE = "checkpoint.pt"
LOG_FILE = "log.json"
GRADIENT_NORM = 12.0
POLYNOMIAL_DECAY = 0.9
AVERAGE_WARM_UP = 10


@dataclass(frozen=True)
class TrainingOptions:
    """What may differ between machines and leaves the result the same, but for rounding.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto``, ``float32``, ``bfloat16``, ``float16``.
        workers: processes that prepare batches ahead of the step; 0: none.
        checkpoint_seconds: time between checkpoints.
        report_every: steps between reports; checkpoints fall on them too.
    """

    device: str = "auto"
    precision: str = "auto"
    workers: int = 1
    checkpoint_seconds: float = 120.0
    report_every: int = 20


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run is.

    Attributes:
        stage: index of the stage.
        kind: its kind.
        step: steps done in it.
        steps: steps that it has.
        loss: mean loss since the last report.
        seconds: run time so far, earlier runs included.
        seconds_left: estimate for the stages that remain, from the pace of this one.
    """

    stage: int
    kind: str
    step: int
    steps: int
    loss: float
    seconds: float
    seconds_left: float


Report = Callable[[TrainingProgress], bool]
"""Called every few steps; returning False stops the run with a checkpoint."""

Validate = Callable[[AHNet], dict[str, Any]]
"""Measures the averaged network at the end of each 3D stage; the result goes into the log."""


@dataclass
class _State:
    """All that a checkpoint holds."""

    stage: int = 0
    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Runs a recipe's stages over prepared cases.

    Args:
        recipe: what to do.
        cases: what to train on.
        work: folder of checkpoint and log; a checkpoint of the same recipe and cases in it is continued.
        options: device, precision, worker processes.

    Raises:
        RecipeError: the folder holds the checkpoint of another recipe or other cases.
        DeviceError: this machine lacks the device.
    """

    def __init__(
        self, recipe: Recipe, cases: Sequence[PreparedCase], work: Path, options: TrainingOptions | None = None
    ) -> None:
        self.recipe = recipe
        self.cases = cases
        self.work = Path(work)
        self.options = options or TrainingOptions()
        self.device = choose_device(self.options.device)
        self.precision = choose_precision(self.options.precision, self.device)
        self.loss = SegmentationLoss(
            focal_weight=recipe.focal_weight, dice_weight=recipe.dice_weight, gamma=recipe.focal_gamma
        )
        self._identity = hashlib.sha256(repr((recipe, [case.name for case in cases])).encode("utf-8")).hexdigest()
        self._state = _State()
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self._start_stage(self._new_network(recipe.stages[0]))
        self._resume()

    @property
    def log(self) -> list[dict[str, Any]]:
        """What was reported: one entry every few steps and one for each validation."""
        return self._state.log

    @property
    def seconds(self) -> float:
        """Run time so far, earlier runs included."""
        return self._state.seconds

    def run(self, report: Report | None = None, validate: Validate | None = None) -> dict[str, Tensor]:
        """Runs what remains of the stages.

        Returns:
            The averaged weights of the 3D network, on the CPU in float32.

        Raises:
            Cancelled: ``report`` asked to stop; a checkpoint was written.
            OutputError: a checkpoint cannot be written.
            ResourceError: a worker process was ended from outside.
        """
        while self._state.stage < len(self.recipe.stages):
            try:
                self._run_stage(report or _always)
            except (RuntimeError, OutputError) as error:
                # A signal handler of the DataLoader raises it wherever the run is then, in a checkpoint's writing too.
                if "DataLoader worker" not in str(error):
                    raise
                raise ResourceError(
                    "A process that prepares batches was ended from outside, most often for lack of memory; start the "
                    "training again, with fewer workers: it goes on from its last checkpoint."
                ) from error
            network = self._averaged_network()
            if validate is not None and isinstance(network, AHNet):
                self._log_entry(validation=validate(network))
            self._finish_stage()
            self._save()
        return {name: value.float().cpu() for name, value in self.average.items()}

    def _run_stage(self, report: Report) -> None:
        stage = self.recipe.stages[self._state.stage]
        started, first = time.monotonic(), self._state.step
        saved, before = started, self._state.seconds
        losses: list[Tensor] = []
        self.network.train()
        for images, labels in self._batches():
            losses.append(self._step(stage, images, labels))
            self._state.step += 1
            now = time.monotonic()
            self._state.seconds = before + now - started
            if self._state.step % self.options.report_every and self._state.step != stage.steps:
                continue
            # Read now only: to read a loss is to wait for the device.
            mean, losses = float(torch.stack(losses).mean()), []
            self._log_entry(loss=round(mean, 5))
            pace = (now - started) / (self._state.step - first)
            left = pace * (stage.steps - self._state.step + sum(s.steps for s in self._later_stages()))
            place = (self._state.stage, stage.kind, self._state.step, stage.steps)
            go_on = report(TrainingProgress(*place, mean, self._state.seconds, left))
            if not go_on or now - saved > self.options.checkpoint_seconds:
                saved = now
                self._save()
            if not go_on:
                raise Cancelled(f"Training stopped at step {self._state.step}; start it again to go on from there.")

    def _later_stages(self) -> tuple[Stage, ...]:
        return self.recipe.stages[self._state.stage + 1 :]

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        stream = BatchStream(self.cases, self.recipe, self._state.stage, self._state.step)
        if not len(stream):
            return
        workers = min(self.options.workers, len(stream))
        yield from DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=self.device.type == "cuda",
        )

    def _step(self, stage: Stage, images: Tensor, labels: Tensor) -> Tensor:
        done = self._state.step / stage.steps
        for group in self.optimizer.param_groups:
            group["lr"] = stage.learning_rate * (1 - done) ** POLYNOMIAL_DECAY
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        if stage.kind == "slices":
            images, labels = _inner_slices(images, labels)
        with torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32):
            logits = self.network(images)
        loss: Tensor = self.loss(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._update_average()
        return loss.detach()

    def _update_average(self) -> None:
        steps = self._state.step + 1
        decay = min(self.recipe.average, steps / (steps + AVERAGE_WARM_UP))
        state = self.network.state_dict()
        floats = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[name] for name in floats], [state[name] for name in floats], 1 - decay)
        for name, value in state.items():
            if not value.is_floating_point():
                self.average[name].copy_(value)

    def _new_network(self, stage: Stage) -> AHNet | MCGCN:
        return self._new_plane_network() if stage.kind == "slices" else self._new_volume_network()

    def _new_plane_network(self) -> MCGCN:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            return MCGCN(self.recipe.plane_network).to(self.device)

    def _new_volume_network(self) -> AHNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            return AHNet(self.recipe.network).to(self.device)

    def _start_stage(self, network: AHNet | MCGCN) -> None:
        stage = self.recipe.stages[min(self._state.stage, len(self.recipe.stages) - 1)]
        self.network = network
        if isinstance(network, AHNet):
            network.lock_encoder(stage.kind == "decoder")
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        free = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            free, lr=stage.learning_rate, weight_decay=self.recipe.weight_decay, fused=True
        )

    def _finish_stage(self) -> None:
        """Goes to the next stage: from the averaged weights, transferred to 3D where it comes from 2D."""
        self._state.stage += 1
        self._state.step = 0
        if self._state.stage == len(self.recipe.stages):
            return
        network = self._averaged_network()
        following = self.recipe.stages[self._state.stage]
        if isinstance(network, MCGCN) and following.kind != "slices":
            volume_network = self._new_volume_network()
            transfer_encoder(network, volume_network)
            network = volume_network
        self._start_stage(network)

    def _averaged_network(self) -> AHNet | MCGCN:
        """A copy of the network with the averaged weights, in evaluation mode."""
        network = type(self.network)(self.network.settings).to(self.device)  # type: ignore[arg-type]
        network.load_state_dict(self.average)
        return network.eval()

    def _log_entry(self, **values: Any) -> None:
        place = {"stage": self._state.stage, "step": self._state.step, "seconds": round(self._state.seconds, 1)}
        self._state.log.append({**place, **values})

    def _save(self) -> None:
        checkpoint = {
            "identity": self._identity,
            **vars(self._state),
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        write_file(self.work / CHECKPOINT_FILE, lambda beside: torch.save(checkpoint, beside))
        write_text(self.work / LOG_FILE, json.dumps(self._state.log, indent=1) + "\n")

    def _resume(self) -> None:
        path = self.work / CHECKPOINT_FILE
        if not path.is_file():
            return
        saved = torch.load(path, map_location=self.device, weights_only=True)
        if saved["identity"] != self._identity:
            raise RecipeError(f"{path} belongs to another recipe or other cases; choose another work folder.")
        self._state = _State(saved["stage"], saved["step"], saved["seconds"], saved["log"])
        index = min(self._state.stage, len(self.recipe.stages) - 1)
        self._start_stage(self._new_network(self.recipe.stages[index]))
        self.network.load_state_dict(saved["network"])
        self.average = saved["average"]
        self.optimizer.load_state_dict(saved["optimizer"])
        self._scaler.load_state_dict(saved["scaler"])


def _inner_slices(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Patches (N, C, D, H, W) as slices with their true neighbours: (N * (D - 2), 3 C, H, W), labels likewise."""
    cases, slices = labels.shape[:2]
    triplets = slice_triplets(images).unflatten(0, (cases, slices))
    return triplets[:, 1:-1].flatten(0, 1), labels[:, 1:-1].flatten(0, 1)


def _always(_: TrainingProgress) -> bool:
    return True

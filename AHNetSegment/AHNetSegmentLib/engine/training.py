"""Training AH-Net in stages: the 2D network on slices, the transfer, the 3D decoder, then everything.

A run is decided by its recipe and data: batches depend on seed, stage and step alone, so a run that was killed goes
on from its last checkpoint and ends with the same weights (on one machine, in float32).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..network.ahnet import AHNet
from ..network.checkpoints import load_weights
from ..network.losses import SegmentationLoss
from ..network.mcgcn import MCGCN, slice_triplets
from ..network.transfer import transfer_encoder
from .dataset import BatchStream, PreparedCase
from .device import choose_device, choose_precision, is_out_of_memory
from .distribution import Processes
from .errors import Cancelled, OutputError, RecipeError, ResourceError
from .files import write_file, write_text
from .measures import mean_of_defined
from .recipe import Recipe, Stage, said
from .training_progress import LOG_FILE, GoOn, Report, TrainingOptions, TrainingProgress, TrainingState, Validate

CHECKPOINT_FILE = "checkpoint.pt"
GRADIENT_NORM = 12.0
POLYNOMIAL_DECAY = 0.9
AVERAGE_WARM_UP = 10


class Trainer:
    """Runs a recipe's stages over prepared cases.

    Args:
        recipe: what to do.
        cases: what to train on.
        work: folder of checkpoint and log; a checkpoint of the same recipe, cases and base in it is continued. Words
            of the recipe and the stages after the one that the checkpoint is in may have changed.
        options: device, precision, worker processes.
        base: what the first stage's network begins with, as far as it fits; None: random weights.
        processes: that train together; each has its own batches, and the first one validates and writes.
        validation: stamps of the cases that validate; others in their place make it another run.

    Raises:
        RecipeError: the folder holds the checkpoint of another recipe, other cases or another base.
        CheckpointError: the base does not suit the network at all.
        DeviceError: this machine lacks the device.
    """

    def __init__(
        self,
        recipe: Recipe,
        cases: Sequence[PreparedCase],
        work: Path,
        options: TrainingOptions | None = None,
        base: Mapping[str, Tensor] | None = None,
        processes: Processes | None = None,
        validation: Sequence[str] = (),
    ) -> None:
        self.recipe = recipe
        self.cases = cases
        self.work = Path(work)
        self.options = options or TrainingOptions()
        self.processes = processes or Processes()
        self.device = choose_device(self.processes.device(self.options.device))
        self.precision = choose_precision(self.options.precision, self.device)
        self.loss = SegmentationLoss(
            focal_weight=recipe.focal_weight, dice_weight=recipe.dice_weight, gamma=recipe.focal_gamma
        )
        seen = [(case.name, case.labelled, case.stamp) for case in cases]
        self._facts = (seen, list(validation), _digest(base), self.processes.count)
        self._state = TrainingState()
        self._best: dict[str, Tensor] | None = None
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        network = self._new_network(recipe.stages[0])
        if base is not None:
            load_weights(network, base)
        self._start_stage(network)
        self._resume()

    @property
    def log(self) -> list[dict[str, Any]]:
        """What was reported: one entry every few steps and one for each validation."""
        return self._state.log

    @property
    def total(self) -> int:
        """Steps done in all stages."""
        return self._state.total

    @property
    def seconds(self) -> float:
        """Run time so far, earlier runs included."""
        return self._state.seconds

    def run(
        self, report: Report | None = None, validate: Validate | None = None, go_on: GoOn | None = None
    ) -> dict[str, Tensor]:
        """Runs what remains of the stages.

        Args:
            report: told every few steps.
            validate: measures the network as the recipe's ``validate_every`` says.
            go_on: asked after each step.

        Returns:
            The averaged weights of the 3D network, on the CPU in float32: those of the best validation where the
            recipe validates on the way, else the last ones.

        Raises:
            Cancelled: ``report`` or ``go_on`` asked to stop; a checkpoint was written.
            OutputError: a checkpoint cannot be written.
            RecipeError: the loss is no number any more.
            ResourceError: memory ran out, or a worker process was ended from outside.
        """
        while self._state.stage < len(self.recipe.stages):
            try:
                _Stage(self, report or _always, validate, go_on or _true).run()
            except (RuntimeError, OutputError) as error:
                # A signal handler of the DataLoader raises it wherever the run is then, in a checkpoint's writing too.
                if isinstance(error, RuntimeError) and is_out_of_memory(error):
                    raise ResourceError(
                        f"The memory of the {self.device.type} device does not suffice for the training; close other "
                        "programs, or start anew with fewer or smaller patches a step, or on another device."
                    ) from error
                if "DataLoader worker" not in str(error):
                    raise
                raise ResourceError(
                    "A process that prepares batches was ended from outside, most often for lack of memory; start the "
                    "training again, with fewer workers: it goes on from its last checkpoint."
                ) from error
            self._finish_stage()
            self.save()
        return {name: value.float().cpu() for name, value in (self._best or self.average).items()}

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        stream = BatchStream(self.cases, self.recipe, self._state.stage, self._state.step, self.processes)
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

    def _step(self, stage: Stage, images: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
        done = self._state.step / stage.steps
        for group in self.optimizer.param_groups:
            group["lr"] = stage.learning_rate * (1 - done) ** POLYNOMIAL_DECAY
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        if stage.kind == "slices":
            images, labels = _inner_slices(images, labels)
            labelled = labelled.repeat_interleave(len(labels) // len(labelled), dim=0)
        with torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32):
            logits = self._parallel(images)
        loss: Tensor = self.loss(logits, labels, None if bool(labelled.all()) else labelled)
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._update_average()
        self._state.step += 1
        self._state.total += 1
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
        self._parallel = self.processes.wrap(network)

    def _finish_stage(self) -> None:
        """Goes to the next stage: from the averaged or best weights, transferred to 3D where it comes from 2D."""
        self._state.stage += 1
        self._state.step = self._state.waited = 0
        if self._state.stage == len(self.recipe.stages):
            return
        network = self._averaged_network(self._best)
        following = self.recipe.stages[self._state.stage]
        if isinstance(network, MCGCN) and following.kind != "slices":
            volume_network = self._new_volume_network()
            transfer_encoder(network, volume_network)
            network = volume_network
        self._start_stage(network)

    def _averaged_network(self, weights: Mapping[str, Tensor] | None = None) -> AHNet | MCGCN:
        """A copy of the network with the averaged or other weights, in evaluation mode."""
        network = type(self.network)(self.network.settings).to(self.device)  # type: ignore[arg-type]
        network.load_state_dict(weights or self.average)
        return network.eval()

    def log_entry(self, **values: Any) -> None:
        """Adds to the log what was reported."""
        state = self._state
        kind = self.recipe.stages[state.stage].kind
        place = {"stage": state.stage, "kind": kind, "step": state.step, "total": state.total}
        place["seconds"] = round(state.seconds, 1)
        state.log.append({**place, **values})

    def save(self) -> None:
        """Writes checkpoint and log; raises OutputError where that fails."""
        if not self.processes.is_first:
            return
        begun = min(self._state.stage + 1, len(self.recipe.stages))
        checkpoint = {
            "identity": self._identity(begun),
            "stages": begun,
            **vars(self._state),
            "network": self.network.state_dict(),
            "average": self.average,
            "best_weights": self._best,
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
        begun = saved.get("stages", 0)
        if saved["identity"] != self._identity(begun):
            raise RecipeError(
                f"{path} belongs to another recipe or other cases; put those back, or start anew in another folder."
            )
        self._state = TrainingState(**{name: saved[name] for name in vars(self._state)})
        self._best = saved["best_weights"]
        was_complete = self._state.stage == begun
        self._state.stage = begun - 1
        self._start_stage(self._new_network(self.recipe.stages[begun - 1]))
        self.network.load_state_dict(saved["network"])
        self.average = saved["average"]
        self.optimizer.load_state_dict(saved["optimizer"])
        # Empty where the run began in another number format.
        if saved["scaler"]:
            self._scaler.load_state_dict(saved["scaler"])
        if was_complete:
            self._finish_stage()

    def _identity(self, stages: int) -> str:
        """Of all that decides the weights up to the end of so many stages."""
        facts = (said(self.recipe.up_to(stages)), *self._facts)
        return hashlib.sha256(repr(facts).encode("utf-8")).hexdigest()


class _Stage:
    """One stage of a :class:`Trainer`, from where it stands to its end.

    Args:
        trainer: whose stage.
        report: see :meth:`Trainer.run`, as the others.
        validate: measures the network.
        go_on: asked after each step.
    """

    def __init__(self, trainer: Trainer, report: Report, validate: Validate | None, go_on: GoOn) -> None:
        self._trainer, self._report, self._go_on = trainer, report, go_on
        self._state = trainer._state
        self._stage = trainer.recipe.stages[self._state.stage]
        self._validate = validate if self._stage.kind != "slices" else None
        self._started, self._first, self._before = time.monotonic(), self._state.step, self._state.seconds
        self._saved = self._started
        self._losses: list[Tensor] = []

    def run(self) -> None:
        self._trainer.network.train()
        # A run may have been stopped between the last step and what follows it.
        self._validate_if_due()
        if self._is_over():
            return
        for batch in self._trainer._batches():
            self._losses.append(self._trainer._step(self._stage, *batch))
            self._state.seconds = self._before + time.monotonic() - self._started
            if self._state.step % self._trainer.options.report_every == 0 or self._state.step == self._stage.steps:
                self._tell_loss()
            if not self._trainer.processes.agree(self._go_on()):
                self._stop()
            self._validate_if_due()
            if self._is_over():
                return

    def _is_over(self) -> bool:
        patience = self._trainer.recipe.patience
        return self._state.step == self._stage.steps or bool(patience and self._state.waited >= patience)

    def _tell_loss(self) -> None:
        # Read now only: to read a loss is to wait for the device.
        mean, self._losses = float(torch.stack(self._losses).mean()), []
        if not math.isfinite(mean):
            raise RecipeError(
                f"The training has diverged after {self._state.total} steps: its loss is no number any more; start it "
                "anew with a smaller learning rate."
            )
        self._trainer.log_entry(loss=round(mean, 5))
        self._tell(loss=mean)
        if time.monotonic() - self._saved > self._trainer.options.checkpoint_seconds:
            self._save()

    def _validate_if_due(self) -> None:
        state, every = self._state, self._trainer.recipe.validate_every
        at_end = state.step == self._stage.steps
        due = at_end or bool(every and state.step and state.step % every == 0)
        if self._validate is None or not due or state.validated == state.total:
            return
        # It may take long, and be stopped.
        self._save()
        found = None
        if self._trainer.processes.is_first:
            network = self._trainer._averaged_network()
            assert isinstance(network, AHNet)
            found = self._validate(network)
        found = self._trainer.processes.agree(found)
        assert found is not None
        state.seconds = self._before + time.monotonic() - self._started
        state.validated = state.total
        best = bool(every) and self._keep_best(found["dice"])
        self._trainer.log_entry(validation=found, best=best)
        self._tell(validation=found, best=best)

    def _keep_best(self, dice: Mapping[str, float | None]) -> bool:
        """Keeps the averaged weights where no earlier ones were better; returns whether they are kept."""
        state = self._state
        score = mean_of_defined(dice.values())
        if state.best is not None and not score > state.best:
            state.waited += 1
            return False
        state.best, state.waited = (-math.inf if math.isnan(score) else score), 0
        self._trainer._best = {name: value.clone() for name, value in self._trainer.average.items()}
        return True

    def _tell(self, loss: float = math.nan, validation: dict[str, Any] | None = None, best: bool = False) -> None:
        state, stages = self._state, self._trainer.recipe.stages
        pace = (time.monotonic() - self._started) / max(state.step - self._first, 1)
        left = pace * (self._stage.steps - state.step + sum(stage.steps for stage in stages[state.stage + 1 :]))
        place = (state.stage, self._stage.kind, state.step, self._stage.steps, state.total)
        progress = TrainingProgress(*place, loss, state.seconds, left, validation, best)
        if not self._trainer.processes.agree(self._report(progress)):
            self._stop()

    def _save(self) -> None:
        self._trainer.save()
        self._saved = time.monotonic()

    def _stop(self) -> None:
        self._save()
        raise Cancelled(f"Training stopped after {self._state.total} steps; start it again to go on from there.")


def _inner_slices(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Patches (N, C, D, H, W) as slices with their true neighbours: (N * (D - 2), 3 C, H, W), labels likewise."""
    cases, slices = labels.shape[:2]
    triplets = slice_triplets(images).unflatten(0, (cases, slices))
    return triplets[:, 1:-1].flatten(0, 1), labels[:, 1:-1].flatten(0, 1)


def _digest(weights: Mapping[str, Tensor] | None) -> str:
    digest = hashlib.sha256()
    for name, value in sorted((weights or {}).items()):
        digest.update(name.encode("utf-8"))
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _always(_: TrainingProgress) -> bool:
    return True


def _true() -> bool:
    return True

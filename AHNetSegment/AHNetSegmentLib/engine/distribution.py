"""Training on several devices at once: one process per device, started by ``torchrun``."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, nn

Value = TypeVar("Value")

PATIENCE = timedelta(hours=6)
"""So long do processes wait for the first one, which validates and writes alone."""


class Processes:
    """The processes that train one network together; alone, one process does as if there were no others.

    Attributes:
        rank: number of this process, from 0.
        count: of processes.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count

    @classmethod
    def join(cls) -> Processes:
        """Joins the processes that ``torchrun`` has started; alone without it.

        Each takes the GPU of its local rank where there is one for each, and NCCL; the CPU and gloo otherwise.
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        on_gpus = torch.cuda.is_available() and torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
        if on_gpus:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if on_gpus else "gloo", timeout=PATIENCE)
        return cls(distributed.get_rank(), count)

    @property
    def is_first(self) -> bool:
        """Whether this process validates, reports and writes."""
        return self.rank == 0

    def device(self, wish: str) -> str:
        """This process's device: the wish where it is alone or names none of several GPUs."""
        if self.count > 1 and wish in ("auto", "cuda"):
            return f"cuda:{os.environ['LOCAL_RANK']}" if distributed.get_backend() == "nccl" else "cpu"
        return wish

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over all processes; on GPUs BatchNorm's statistics too."""
        if self.count == 1:
            return network
        first = next(network.parameters())
        if first.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return nn.parallel.DistributedDataParallel(network)

    def agree(self, value: Value) -> Value:
        """The first process's value, in every process; the others wait for it."""
        if self.count == 1:
            return value
        values: list[Any] = [value]
        distributed.broadcast_object_list(values, src=0)
        agreed: Value = values[0]
        return agreed

    def leave(self) -> None:
        """Ends the connection to the other processes."""
        if self.count > 1 and distributed.is_initialized():
            distributed.destroy_process_group()

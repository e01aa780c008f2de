"""What the parts of the bench share: where files are, sizes, jobs, rows of the table, and the file of results."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import run_job

from AHNetSegmentLib.engine.device import cpu_has_bfloat16
from AHNetSegmentLib.engine.files import write_text

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "Resources" / "Models"
ABDOMEN = MODELS / "abdomen-ct"
Size = tuple[int, int, int]
BUSY = 0.5
"""Programs that want to run, on average of a minute, beyond which a machine counts as busy."""


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        volume: (i, j, k) of the CT that peers are compared on.
        piece: slices of it that go through the networks in one piece; the peer's takes multiples of 32 alone.
        window: (slices, rows, columns) of the peers' windows.
        patch: (slices, rows, columns) of a patch of the step that is compared, at full width.
        batch: patches a step.
        abdomen_patch: of a patch of the abdomen model's training.
        growth: numbers of slices.
        growth_warm_up: slices that are segmented first, as a process does that stays for the next scan.
        ct: (i, j, k) of a usual CT.
        head: voxels of a usual head along each axis.
        cine: (i, j, k) of a usual cine MR.
        product: rows and columns of the matrices whose product is the machine's rate.
        trained: whether the weights that are compared are trained for some minutes.
    """

    volume: Size = (512, 512, 100)
    piece: int = 96
    window: Size = (32, 256, 256)
    patch: Size = (32, 128, 128)
    batch: int = 2
    abdomen_patch: Size = (12, 144, 160)
    growth: tuple[int, ...] = (50, 100, 200, 400)
    growth_warm_up: int = 32
    ct: Size = (512, 512, 300)
    head: int = 256
    cine: Size = (256, 256, 12)
    product: int = 3072
    trained: bool = True


QUICK = Sizes(
    volume=(128, 128, 32),
    piece=32,
    window=(32, 128, 128),
    patch=(32, 128, 128),
    batch=1,
    abdomen_patch=(4, 32, 32),
    growth=(8, 16),
    growth_warm_up=4,
    ct=(64, 64, 24),
    head=64,
    cine=(64, 64, 4),
    product=256,
    trained=False,
)
"""To see that everything runs; the figures say nothing. MONAI's AHNet takes no smaller windows."""


@dataclass
class Bench:
    """One part's surroundings and what it has found.

    Attributes:
        data: folder of labelled data.
        work: folder of volumes and weights.
        sizes: how large everything is.
        rounds: measurements of each figure, of which the median counts.
        threads: of each job.
        before: git revision that part 9 compares with; empty: none.
        run: runs a job, see :func:`.processes.run_job`.
        found: everything that was measured.
        rows: of the table: figure, value, target, verdict.
    """

    data: Path
    work: Path
    sizes: Sizes
    rounds: int
    threads: int
    before: str = ""
    run: Callable[[str, int, dict[str, Any]], dict[str, Any]] = run_job
    found: Any = None
    rows: list[list[str]] = field(default_factory=list)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The number formats that this processor has natively."""
        return ("bfloat16", "float32") if cpu_has_bfloat16() else ("float32",)

    def job(self, name: str, threads: int = 0, **arguments: Any) -> dict[str, Any]:
        """The result of a job, in a process of its own."""
        print(f"  {name} {json.dumps(arguments)}", file=sys.stderr, flush=True)
        return self.run(name, threads or self.threads, arguments)

    def row(self, figure: str, value: str, target: str = "", reached: bool | None = None) -> None:
        """Adds a line to the table."""
        self.rows.append([figure, value, target, {None: "", True: "reached", False: "NOT REACHED"}[reached]])


def median(runs: Sequence[Mapping[str, Any]], name: str) -> float:
    """Of one figure of several runs."""
    return statistics.median(run[name] for run in runs)


def machine(bench: Bench) -> dict[str, Any]:
    """What the figures are measured on, with its matrix-product rate now, in GFLOP/s."""
    import torch

    load = os.getloadavg()[0]
    rates = bench.job("product", precisions=list(bench.precisions), side=bench.sizes.product, rounds=3)
    return {
        "processor": _processor(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "native_bfloat16": cpu_has_bfloat16(),
        "threads": bench.threads,
        "matrix_product": rates,
        "load": round(load, 2),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def machine_text(facts: Mapping[str, Any]) -> str:
    """A machine in one line; files of earlier versions know less of it."""
    rates = [f"{name} {rate:.0f}" for name, rate in facts.get("matrix_product", {}).items()]
    parts = [
        f"{facts['threads']} threads of {facts.get('processor') or 'a processor'} with {facts['cpu']}",
        {True: "which multiplies bfloat16", False: "without bfloat16", None: ""}[facts.get("native_bfloat16")],
        f"matrix product in GFLOP/s: {', '.join(rates)}" if rates else "",
        f"torch {facts['torch']}",
        f"busy with other programs (load {facts['load']:.1f}): too slow" if facts.get("load", 0) > BUSY else "",
    ]
    return ", ".join(part for part in parts if part)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def read_results(path: Path) -> dict[str, Any]:
    """The results of the parts that have run, in this call or in earlier ones."""
    if not path.is_file():
        return {}
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def keep_results(path: Path, number: str, part: Mapping[str, Any]) -> None:
    """Writes a part's results beside those of the others, so that no later failure loses them."""
    results = dict(sorted({**read_results(path), number: part}.items()))
    write_text(path, json.dumps(results, indent=1) + "\n")

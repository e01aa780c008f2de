"""Parts of the bench that train: steps, and validation Dice over wall time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import size_text
from results import ABDOMEN, REPOSITORY, Bench, median

CURVE = Path(__file__).with_name("dice_over_time.py")
MINUTES = (10, 20, 30, 40, 50, 60)


def steps(bench: Bench) -> None:
    """Part 4: a training step against the peers', and the abdomen model's against the machine's product rate."""
    sizes = bench.sizes
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "MONAI's AHNet": [], "nnU-Net": []}
    for _ in range(bench.rounds):
        for which, found in runs.items():
            warm_up = 5 if which == "ours" else 1
            found.append(
                bench.job(
                    "step", which=which, patch=sizes.patch, batch=sizes.batch, rounds=bench.rounds, warm_up=warm_up
                )
            )
    seconds = {which: median(found, "seconds") for which, found in runs.items()}
    memory = {which: median(found, "peak_mb") for which, found in runs.items()}
    rate = bench.job(
        "rate",
        recipe=str(ABDOMEN / "recipe.toml"),
        patch=sizes.abdomen_patch,
        batch=sizes.batch,
        rounds=2 * bench.rounds,
        warm_up=3,
        side=sizes.product,
    )
    ratio = seconds["MONAI's AHNet"] / seconds["ours"]
    bench.found = {"seconds": seconds, "peak_mb": memory, "ratio": ratio, "abdomen": rate, "runs": runs}
    what = f"{sizes.batch} patches of {size_text(sizes.patch)}"
    for which in ("MONAI's AHNet", "nnU-Net"):
        name = "nnU-Net's architecture (DynUNet)" if which == "nnU-Net" else which
        bench.row(f"4 a training step, {what}: {name}", f"{seconds[which]:.2f} s, {memory[which]:.0f} MB")
    precision = runs["ours"][0]["precision"]
    figure = f"{seconds['ours']:.2f} s: {ratio:.1f} times faster than MONAI's AHNet, {memory['ours']:.0f} MB"
    bench.row(f"4 a training step, {what}: ours, {precision}", figure, "4", ratio >= 4)
    patch = f"{sizes.batch} patches of {size_text(sizes.abdomen_patch)}"
    bench.row(
        f"4 abdomen-ct's training step, {patch}, {rate['precision']}",
        f"{rate['gflop']:.0f} GFLOP in {rate['seconds']:.2f} s: {rate['share']:.0%} of the matrix product's "
        f"{rate['matrix_product']:.0f} GFLOP/s",
        "30%",
        rate["share"] >= 0.3,
    )
    shares = ", ".join(f"{name} {share:.0%}" for name, share in rate["by_operator"].items())
    bench.row("4 where its time goes", shares)
    for workers, share in rate["waiting"].items():
        bench.row(f"4 its waiting for patches, made by {workers} more process{'es' * (workers != '1')}", f"{share:.1%}")


def curve(bench: Bench) -> None:
    """Part 9: validation Dice of the abdomen's recipe over an hour, and of an earlier revision's."""
    bench.found = {}
    revisions = {"now": REPOSITORY}
    with _worktree(bench.before, bench.work) as folder:
        if folder is not None:
            revisions = {f"before ({bench.before})": folder, **revisions}
        for name, root in revisions.items():
            bench.found[name] = _curve_of(bench, root, name.partition(" ")[0])
    for name, points in bench.found.items():
        text = ", ".join(f"{point['minutes']:.0f} min {point['dice']:.3f}" for point in points)
        bench.row(f"9 abdomen-ct from its base, validation Dice, {name}", f"{text} ({points[-1]['steps']} steps)")


def _curve_of(bench: Bench, root: Path, name: str) -> list[dict[str, float]]:
    marks = MINUTES if bench.sizes.trained else (0.02, 0.04)
    arguments = {
        "recipe": str(ABDOMEN / "recipe.toml"),
        "data": str(bench.data / "abdomen-ct"),
        "work": str(bench.work / f"curve-{name}"),
        "marks": marks,
        "quick": not bench.sizes.trained,
    }
    print(f"  dice over time {name} {json.dumps(arguments)}", file=sys.stderr, flush=True)
    environment = {**os.environ, "PYTHONPATH": str(root / "AHNetSegment")}
    command = [sys.executable, str(CURVE), str(bench.threads), json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, encoding="utf-8", check=True)
    points: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return points


@contextmanager
def _worktree(revision: str, work: Path) -> Iterator[Path | None]:
    """A checkout of a revision beside this one while it is open; None without a revision."""
    if not revision:
        yield None
        return
    folder = work / "before"
    git = ["git", "-C", str(REPOSITORY), "worktree"]
    subprocess.run([*git, "add", "--force", "--detach", str(folder), revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)

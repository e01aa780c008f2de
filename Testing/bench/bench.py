"""Speed and memory of this machine with ours and the peers' networks: ``make bench``.

``make bench BENCH="1 3"`` runs some parts, ``BENCH=--quick`` all of them with tiny sizes. Every measurement is a
process of its own; ours and the peers' take turns, and medians count. Writes ``bench.json`` part by part, from which
``make bench-tables`` writes the README's table, and prints which targets are reached and what was not run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
for folder in (REPOSITORY / "AHNetSegment", REPOSITORY / "Testing", HERE):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import parts_inference
import parts_training
from results import QUICK, Bench, Sizes, keep_results, machine, machine_text, read_results

from AHNetSegmentLib.engine.text_table import text_table

RESULTS = HERE / "bench.json"


@dataclass(frozen=True)
class Part:
    """A part of the bench: what it does, in a few words, and whether it must be named to be run."""

    run: Callable[[Bench], None]
    title: str
    named_only: bool = False


PARTS = {
    "1": Part(parts_inference.against_peers, "full width against MONAI's AHNet and nnU-Net's architecture"),
    "2": Part(parts_inference.clicks, "each bundled model from click to segments"),
    "3": Part(parts_inference.growth, "time and memory with the number of slices"),
    "4": Part(parts_training.steps, "the training step"),
    "5": Part(parts_inference.arithmetic, "the share of the matrix-product rate"),
    "6": Part(parts_inference.runtimes, "other runtimes"),
    "7": Part(parts_inference.threads, "threads"),
    "8": Part(parts_inference.gpu, "GPU"),
    "9": Part(parts_training.curve, "validation Dice over an hour of training, twice with --before", named_only=True),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs parts and prints the table of them."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"numbers of parts, of {' '.join(PARTS)}")
    parser.add_argument("--data", type=Path, default=REPOSITORY / ".." / "shared" / "data")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "work" / "bench")
    parser.add_argument("--output", type=Path, help=f"file of the results; default: {RESULTS.name}")
    parser.add_argument("--rounds", type=int, help="measurements of each figure; default: 3, quickly: 1")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--before", default="", help="git revision that part 9 compares with")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs; the figures say nothing")
    options = parser.parse_args(arguments)
    if unknown := [number for number in options.parts if number not in PARTS]:
        parser.error(f"there is no part {' '.join(unknown)}; parts are {' '.join(PARTS)}")
    output = options.output or (options.work / "quick.json" if options.quick else RESULTS)
    chosen = options.parts or [number for number, part in PARTS.items() if not part.named_only]
    options.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in chosen:
        print(f"Part {number}: {PARTS[number].title}", file=sys.stderr, flush=True)
        bench = Bench(
            options.data,
            options.work,
            QUICK if options.quick else Sizes(),
            options.rounds or (1 if options.quick else 3),
            options.threads,
            options.before,
        )
        facts = machine(bench)
        PARTS[number].run(bench)
        part = {"machine": facts, "rounds": bench.rounds, "found": bench.found, "table": bench.rows}
        keep_results(output, number, part)
        rows += bench.rows
    results = read_results(output)
    print(text_table(["Figure", "Here", "Target", ""], rows))
    for text in dict.fromkeys(machine_text(results[number]["machine"]) for number in chosen):
        print(f"\nMeasured on {text}")
    for number, part in PARTS.items():
        if number not in chosen:
            reason = "an hour and more; name it to run it" if part.named_only else "not asked for"
            print(f"Skipped: part {number}, {part.title} ({reason})")
    print(f"Written: {output}")


if __name__ == "__main__":
    main()

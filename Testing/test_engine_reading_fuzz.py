"""Thousands of damaged files: reading each ends in a volume or in one sentence, never in a crash, hang or traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from reader_fuzz import KINDS

pytest.importorskip("resource", reason="memory is measured as on Linux and macOS")

TESTING = Path(__file__).resolve().parent
INPUTS = int(os.environ.get("AHNET_FUZZ", "3000"))
"""Of each kind."""

AT_ONCE = 500
SECONDS_EACH = 2.0
MOST_MB = 500


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_reading_a_damaged_file_ends_in_a_volume_or_a_sentence(kind: str, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    bad: list[str] = []
    said = ""
    number = 0
    while number < INPUTS:
        count = min(AT_ONCE, INPUTS - number)
        lines, error, died = run(kind, number, count, tmp_path / "input")
        said += error
        for line in lines:
            if "how" in line:
                how = line["how"] if line["how"] in ("result", "sentence") else "other"
                counts[how] += 1
                number = line["ended"] + 1
                if how == "other":
                    bad.append(f"{line['ended']}: {line['how']}")
            elif line.get("grown_mb", 0) > MOST_MB:
                bad.append(f"{number}: {line['grown_mb']:.0f} MB of memory")
        if died:
            counts["other"] += 1
            bad.append(f"{number}: {died}")
            number += 1
    print(f"\n{kind}: {sum(counts.values())} damaged inputs, {dict(counts)}")
    assert bad == []
    assert said == ""
    assert counts["result"] + counts["sentence"] == INPUTS
    # Else it would test nothing: some must pass, and most must not.
    assert counts["result"] > INPUTS // 100
    assert counts["sentence"] > INPUTS // 4


def run(kind: str, first: int, count: int, folder: Path) -> tuple[list[dict], str, str]:  # type: ignore[type-arg]
    """What a process said of some inputs, what stands on its standard error, and how it died, if it did."""
    command = [sys.executable, str(TESTING / "reader_fuzz.py"), kind, str(first), str(count), str(folder)]
    path = os.pathsep.join([str(TESTING), str(TESTING.parent / "AHNetSegment")])
    environment = {**os.environ, "PYTHONPATH": path}
    try:
        done = subprocess.run(
            command, capture_output=True, env=environment, timeout=60 + SECONDS_EACH * count, check=False
        )
        output, error, code = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        output, error, code = late.stdout or b"", late.stderr or b"", "hangs"  # type: ignore[assignment]
    lines = [json.loads(line) for line in output.decode().splitlines()]
    return lines, error.decode(errors="replace"), f"the process ended with {code}" if code else ""

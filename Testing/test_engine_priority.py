"""A training gives way to Slicer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "AHNetSegment"


@pytest.mark.skipif(sys.platform == "win32", reason="niceness is POSIX's")
@pytest.mark.parametrize("before", [0, 4])
def test_a_process_gives_way_once(before: int) -> None:
    code = "import os; from AHNetSegmentLib.engine.priority import give_way\n"
    code += f"os.nice({before} - os.nice(0) if os.nice(0) < {before} else 0)\n"
    code += "give_way(); first = os.nice(0); give_way(); print(first, os.nice(0))"
    done = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY, capture_output=True, encoding="utf-8", check=True)
    expected = max(10, os.nice(0))
    assert done.stdout.split() == [str(expected), str(expected)]

"""Jobs as processes of their own, and the memory that each of them took."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

JOBS = Path(__file__).resolve().with_name("jobs.py")


def run_job(name: str, threads: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a job of jobs.py finds, in a process of its own.

    Raises:
        SystemExit: it failed; the end of what it said is shown.
    """
    command = [sys.executable, str(JOBS), name, str(threads), json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise SystemExit(f"The job {name} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def own_peak_mb() -> float:
    """The most resident memory that this process has had since it was executed, in MB.

    From Linux' VmHWM, which begins anew with a program. ``getrusage`` does not: its peak holds that of the process that
    this one was forked from.
    """
    return _status_mb("VmHWM")


def resident_mb() -> float:
    """Resident memory of this process now, in MB."""
    return _status_mb("VmRSS")


def _status_mb(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return float(line.split()[1]) / 1024
    raise SystemExit(f"This system does not tell {name} in /proc/self/status; make bench needs Linux.")

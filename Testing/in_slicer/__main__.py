"""Starts a Slicer in each way, has it run the tests, and says what came of them: ``python -m in_slicer --slicer ...``.

Needs no package. Nothing is installed into Slicer's Python unless ``--install`` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .configurations import CONFIGURATIONS, Configuration, command, environment, python_of
from .summary import Outcome, outcome, table

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = ("pytest", "torch")
"""What Slicer's Python must have besides what comes with Slicer."""
TESTS = sorted(
    str(path.relative_to(REPOSITORY))
    for kind in ("panel", "scene")
    for path in REPOSITORY.glob(f"Testing/test_{kind}_*.py")
)
MINUTES = 90
"""A configuration that takes longer is stopped."""


class Refused(Exception):
    """One sentence on why nothing was run."""


def main(words: Sequence[str] | None = None) -> int:
    """0: all went well; 1: something failed; 2: nothing was run."""
    given = arguments(words)
    try:
        slicer = find_slicer(given.slicer)
        provide(slicer, given.install)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2
    outcomes = []
    for name in given.configurations or CONFIGURATIONS:
        folder = given.output.resolve() / name
        print(f"{name}: running; the log comes into {folder}", flush=True)
        outcomes.append(run(slicer, CONFIGURATIONS[name], folder, given.tests or TESTS, 60 * given.minutes))
    for found in outcomes:
        print(found.details(), end="")
    print(table(outcomes))
    return int(not all(found.passed for found in outcomes))


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="make test-slicer", description=__doc__)
    parser.add_argument("--slicer", required=True, help="the program Slicer of an installation or a build")
    parser.add_argument("--install", action="store_true", help=f"install {' and '.join(NEEDED)} into Slicer's Python")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "work" / "test-slicer", help="folder for logs")
    parser.add_argument("--configurations", nargs="+", choices=list(CONFIGURATIONS), help="default: all")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for each configuration")
    parser.add_argument("tests", nargs="*", help="files, tests and options for pytest; default: all of panel and scene")
    # What pytest takes may look like an option of ours: it comes behind --.
    return parser.parse_args(words)


def find_slicer(text: str) -> Path:
    """The program.

    Raises:
        Refused: there is none.
    """
    if not text:
        raise Refused("Name the program: make test-slicer SLICER=/path/to/Slicer")
    found = shutil.which(text)
    if found is None:
        raise Refused(
            f"{text} is no program; name that of an installed Slicer: make test-slicer SLICER=/path/to/Slicer"
        )
    return Path(found).absolute()


def provide(slicer: Path, install: bool) -> None:
    """Sees to it that Slicer's Python has what the tests need.

    Raises:
        Refused: something is missing and may not be or could not be installed.
    """
    python = python_of(slicer)
    if python is None:
        raise Refused(f"There is no PythonSlicer beside {slicer}; name the program of an installed or built Slicer.")
    missing = missing_packages(python)
    if missing and install:
        subprocess.run([str(python), "-m", "pip", "install", *missing], check=False)
        missing = missing_packages(python)
    if missing:
        raise Refused(
            f"Slicer's Python lacks {' and '.join(missing)}; INSTALL=yes installs what is missing into it with pip, "
            "and Slicer's PyTorch extension has a torch that fits your graphics card."
        )


def missing_packages(python: Path) -> list[str]:
    """Those of ``NEEDED`` that a Python cannot find.

    Raises:
        Refused: the Python does not run.
    """
    code = (
        "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n) is None]); "
        "sys.exit(None if sys.version_info >= (3, 10) else 'Python ' + sys.version.split()[0] + ' is older than 3.10')"
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([str(python), "-c", code, *NEEDED], capture_output=True, text=True, env=clean, check=False)
    if done.returncode:
        reason = done.stderr.strip() or f"exit status {done.returncode}"
        raise Refused(f"{python} cannot run the tests: {reason}")
    return done.stdout.split()


def run(slicer: Path, configuration: Configuration, folder: Path, tests: Sequence[str], seconds: float) -> Outcome:
    """Runs one configuration; the folder is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    pictures, settings = folder / "pictures", folder / "temporary" / "settings"
    for made in (pictures, settings):
        made.mkdir(parents=True)
    asked = folder / "run.json"
    asked.write_text(json.dumps({"repository": str(REPOSITORY), "folder": str(folder), "tests": list(tests)}))
    words = command(slicer, configuration, REPOSITORY / "AHNetSegment", Path(__file__).with_name("inside.py"))
    began = time.monotonic()
    with (folder / "console.log").open("wb") as console:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=environment(asked, settings, pictures),
            start_new_session=True,
        )
        status = wait(process, seconds)
    found = outcome(configuration.name, folder, status, time.monotonic() - began)
    shutil.rmtree(folder / "temporary", ignore_errors=True)
    return found


def wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status; None if the time was over and the process was ended."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)  # the program that was started is a launcher
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())

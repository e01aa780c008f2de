"""The worker seen from Slicer: whatever becomes of its process, the event loop goes on and hears of it once."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import driver
from AHNetSegmentLib.engine.package import find_model
from AHNetSegmentLib.engine.tasks import geometry_to_dict
from AHNetSegmentLib.engine.volume import Geometry

TASKS = """
import sys; sys.modules['torch'] = None
import os, signal, time
import AHNetSegmentLib
from AHNetSegmentLib.engine import server
from AHNetSegmentLib.engine.errors import VolumeError

def echo(arguments, context):
    context.state("Echoing")
    context.progress(1, 2)
    context.progress(2, 2)
    return {"arguments": arguments, "library": AHNetSegmentLib.__file__}

def endless(arguments, context):
    while context.progress(1, 2):
        time.sleep(0.01)
    return {}

def deaf(arguments, context):
    context.state("Deaf")
    time.sleep(60)

def fail(arguments, context):
    raise VolumeError(f"{arguments['name']} is too green; choose a red one.")

def broken(arguments, context):
    raise ValueError("seven")

def die(arguments, context):
    context.state("Dying")
    os.kill(os.getpid(), arguments["signal"])
    time.sleep(60)

def leave(arguments, context):
    sys.stderr.write(arguments["words"])
    sys.stderr.flush()
    os._exit(3)

def shout(arguments, context):
    os.write(2, bytes(arguments["bytes"]) * arguments["times"])
    return {}

for task in (echo, endless, deaf, fail, broken, die, leave, shout):
    server.TASKS[task.__name__] = task
server.main()
"""


class Told:
    """What a worker told of a run, in order."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, Any]] = []
        self.progress: list[tuple[int, int, float | None]] = []
        self.states: list[str] = []

    def callables(self) -> dict[str, Callable[..., None]]:
        return {
            "finished": lambda result: self.ends.append(("finished", result)),
            "failed": lambda message: self.ends.append(("failed", message)),
            "cancelled": lambda: self.ends.append(("cancelled", None)),
            "progress": lambda *values: self.progress.append(values),
            "state": self.states.append,
        }


class Bench:
    """A worker, an event loop and what came of the last run."""

    def __init__(self, worker: Any, pump: Callable[..., bool]) -> None:
        self.worker, self.pump, self.told = worker, pump, Told()

    def begin(self, task: str, state: str = "", **arguments: Any) -> None:
        """Starts a task and waits until it has said that it is in some state."""
        self.told = Told()
        self.worker.run(task, arguments, **self.told.callables())
        if state:
            assert self.pump(lambda: state in self.told.states), self.told.ends

    def end(self, timeout_s: float = 20.0) -> tuple[str, Any]:
        """How the task ended; nothing comes after it."""
        assert self.pump(lambda: self.told.ends, timeout_s)
        self.pump(lambda: False, 0.05)
        assert len(self.told.ends) == 1
        return self.told.ends[0]

    def run(self, task: str, **arguments: Any) -> tuple[str, Any]:
        self.begin(task, **arguments)
        return self.end()


@pytest.fixture
def make(pump: Callable[..., bool]) -> Iterator[Callable[..., Bench]]:
    """Makes workers whose process is a Python with the tasks above, or another program."""
    from AHNetSegmentLib.scene.worker import Worker

    made = []

    def worker(program: str = "", arguments: tuple[str, ...] = ("-c", TASKS), **options: Any) -> Bench:
        class Other(Worker):
            def command(self) -> tuple[str, list[str]]:
                return program or driver.python(), list(arguments)

        made.append(Other(**options))
        return Bench(made[-1], pump)

    yield worker
    for item in made:
        item.stop()
    from AHNetSegmentLib.scene import worker_process

    assert pump(lambda: not worker_process._running, 5)


@pytest.fixture
def bench(make: Callable[..., Bench]) -> Bench:
    return make()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc").is_dir()


def test_a_run_ends_with_its_result_from_the_event_loop(bench: Bench) -> None:
    assert bench.worker.state == "off"
    bench.begin("echo", path=Path("a folder"), number=3)
    assert bench.worker.state == "busy"
    assert bench.told.ends == []
    kind, result = bench.end()
    assert kind == "finished"
    assert result["arguments"] == {"path": "a folder", "number": 3}
    assert bench.told.states[-1] == "Echoing"
    assert bench.told.progress == [(1, 2, None), (2, 2, None)]
    assert bench.worker.state == "idle"


def test_the_worker_stays_warm_and_starting_it_again_is_harmless(bench: Bench) -> None:
    bench.worker.start()
    assert bench.worker.state == "starting"
    assert bench.pump(lambda: bench.worker.state == "idle")
    pid = bench.worker.pid
    bench.worker.start()
    bench.run("echo")
    bench.run("echo")
    assert bench.worker.pid == pid


def test_a_second_run_is_refused_while_the_first_goes_on(bench: Bench) -> None:
    from AHNetSegmentLib.scene.worker import BusyError

    bench.begin("deaf", "Deaf")
    with pytest.raises(BusyError, match="busy with another computation; wait"):
        bench.worker.run("echo", {}, **Told().callables())
    assert bench.told.ends == []


def test_another_run_may_begin_where_one_is_told_to_have_ended(bench: Bench) -> None:
    second = Told()
    first = {**Told().callables(), "finished": lambda _: bench.worker.run("echo", {"n": 2}, **second.callables())}
    bench.worker.run("echo", {"n": 1}, **first)
    assert bench.pump(lambda: second.ends)
    assert second.ends[0][1]["arguments"] == {"n": 2}


def test_a_foreseen_error_gives_its_sentence_and_nothing_of_it_is_in_the_log(bench: Bench) -> None:
    assert bench.run("fail", name="Muster, Erika") == ("failed", "Muster, Erika is too green; choose a red one.")
    assert "Erika" not in bench.worker.log
    assert bench.worker.state == "idle"


def test_an_unforeseen_error_is_in_the_log(bench: Bench) -> None:
    assert bench.run("broken") == ("failed", "The computation failed: ValueError: seven; see the log.")
    assert bench.pump(lambda: "ValueError: seven" in bench.worker.log, 2)


def test_cancel_leaves_the_process_warm(bench: Bench) -> None:
    bench.begin("endless")
    assert bench.pump(lambda: bench.told.progress)
    pid, began = bench.worker.pid, time.monotonic()
    bench.worker.cancel()
    bench.worker.cancel()
    assert bench.end() == ("cancelled", None)
    assert time.monotonic() - began < 1
    assert bench.run("echo")[0] == "finished"
    assert bench.worker.pid == pid


def test_cancel_kills_a_process_that_does_not_answer(bench: Bench) -> None:
    bench.begin("deaf", "Deaf")
    pid, began = bench.worker.pid, time.monotonic()
    bench.worker.cancel()
    assert bench.pump(lambda: bench.told.ends, 3)
    assert time.monotonic() - began < 1
    assert bench.end() == ("cancelled", None)
    assert bench.pump(lambda: not is_alive(pid), 2)
    assert bench.run("echo")[0] == "finished"
    assert bench.worker.pid != pid


def test_cancel_before_the_process_is_ready_is_answered_at_once(bench: Bench) -> None:
    bench.begin("echo")
    bench.worker.cancel()
    assert bench.end(0.5) == ("cancelled", None)
    assert bench.run("echo")[0] == "finished"


def test_cancel_without_a_run_does_nothing(bench: Bench) -> None:
    bench.worker.cancel()
    bench.run("echo")
    bench.worker.cancel()
    assert bench.run("echo")[0] == "finished"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize("ends_by", ["cancel", "kill"])
def test_behind_a_launcher_the_real_process_is_killed(make: Callable[..., Bench], ends_by: str) -> None:
    script = f'"{driver.python()}" "$@" || echo "error: [x] exit abnormally - Report the problem." >&2; exit 1'
    bench = make("/bin/sh", ("-c", script, "sh", "-c", TASKS))
    bench.begin("deaf", "Deaf")
    pid = bench.worker.pid
    if ends_by == "cancel":
        bench.worker.cancel()
        assert bench.end(1.5) == ("cancelled", None)
    else:
        os.kill(pid, signal.SIGKILL)
        kind, message = bench.end()
        assert kind == "failed"
        assert "out of memory?" in message
    assert bench.pump(lambda: not is_alive(pid), 2)


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (9, "ended unexpectedly (out of memory?); close other programs or choose a smaller region of interest"),
        (11, "ended unexpectedly (Segmentation fault); try again, and see the log"),
        (15, "ended unexpectedly (terminated); try again"),
    ],
)
def test_a_process_that_is_killed_fails_the_run_and_the_next_one_works(bench: Bench, number: int, words: str) -> None:
    kind, message = bench.run("die", signal=number)
    assert kind == "failed"
    assert words in message
    assert bench.worker.state == "off"
    assert bench.run("echo")[0] == "finished"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("Traceback\nImportError: libgomp.so.1 is missing\n\n", "ended unexpectedly (ImportError: libgomp.so.1 is"),
        ("ModuleNotFoundError: No module named 'torch'\n", "PyTorch is not installed"),
        ("RuntimeError: CUDA out of memory. Tried a lot", "out of memory?"),
        ("goodbye", "ended unexpectedly (goodbye)"),
        ("", "ended unexpectedly (exit code 3, without a word)"),
    ],
)
def test_a_process_that_leaves_names_its_last_error_line(bench: Bench, written: str, words: str) -> None:
    kind, message = bench.run("leave", words=written)
    assert kind == "failed"
    assert words in message
    assert "non-zero" not in message


def test_a_process_that_ends_before_it_is_ready_fails_the_run(make: Callable[..., Bench]) -> None:
    bench = make(arguments=("-c", "import no_such_module_at_all"))
    kind, message = bench.run("echo")
    assert kind == "failed"
    assert "ModuleNotFoundError: No module named 'no_such_module_at_all'" in message


def test_a_program_that_does_not_exist_fails_the_run_from_the_event_loop(
    make: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = make(str(tmp_path / "NoPython"))
    bench.begin("echo")
    assert bench.told.ends == []
    kind, message = bench.end()
    assert kind == "failed"
    assert message.startswith("The worker process could not be started (")
    assert bench.worker.state == "off"


def test_an_idle_process_that_dies_is_replaced(bench: Bench) -> None:
    bench.run("echo")
    os.kill(bench.worker.pid, signal.SIGTERM)
    assert bench.pump(lambda: bench.worker.state == "off")
    assert bench.run("echo")[0] == "finished"


def test_after_stop_nothing_is_told_and_the_process_ends(bench: Bench) -> None:
    bench.begin("deaf", "Deaf")
    pid = bench.worker.pid
    bench.worker.stop()
    assert bench.worker.state == "off"
    assert bench.pump(lambda: not is_alive(pid), 1)
    bench.pump(lambda: False, 0.1)
    assert bench.told.ends == []
    assert bench.run("echo")[0] == "finished"


def test_stop_also_drops_a_result_that_is_on_its_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = bench.worker._settle

    def settle_and_stop(*values: Any) -> None:
        settle(*values)
        bench.worker.stop()

    monkeypatch.setattr(bench.worker, "_settle", settle_and_stop)
    bench.begin("echo")
    assert bench.pump(lambda: bench.worker.state == "off")
    bench.pump(lambda: False, 0.1)
    assert bench.told.ends == []


@pytest.mark.logs_errors
def test_an_error_in_what_is_told_loses_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()

    def raise_error(*_: Any) -> None:
        raise ValueError("in the panel")

    with caplog.at_level(logging.ERROR):
        bench.worker.run("echo", {}, **{**told.callables(), "progress": raise_error, "state": raise_error})
        assert bench.pump(lambda: told.ends)
    assert told.ends[0][0] == "finished"
    assert "in the panel" in caplog.text


def test_partial_lines_and_several_lines_at_once_are_put_together(make: Callable[..., Bench]) -> None:
    script = r"""
import json, sys, time
out = sys.stdout.buffer
def send(text, pause=0.05):
    out.write(text); out.flush(); time.sleep(pause)
send(b'a line of a launcher\r\n{"event": "rea'); send(b'dy", "pid": 1'); send(b'}\n7\n\n')
sys.stdin.readline()
send(b'{"event": "state", "id": 1, "text": "\\u00e4"}\n{"event": "progress", "id": 1, "done": 1, "total": 2, "seconds')
send(b'_left": null}\r\n{"event": "result", "id": 99, "result": {}}\n')
send(b'{"event": "result", "id": 1, "result": {"a": 1}}\n')
sys.stdin.readline()
"""
    bench = make(arguments=("-c", script))
    bench.begin("anything")
    assert bench.end() == ("finished", {"a": 1})
    assert bench.told.states == ["ä"]
    assert bench.told.progress == [(1, 2, None)]
    assert bench.worker.log.splitlines() == ["a line of a launcher", "7"]
    bench.worker._child.pid = None


def test_the_log_is_limited_and_takes_any_bytes(make: Callable[..., Bench]) -> None:
    bench = make(log_lines=50)
    assert bench.run("shout", bytes=list(b"caf\xe9 \xff\r\n"), times=20_000)[0] == "finished"
    assert bench.pump(lambda: len(bench.worker.log.splitlines()) == 50)
    assert set(bench.worker.log.splitlines()) == {"caf\ufffd \ufffd"}
    assert bench.run("shout", bytes=list(b"no end "), times=500_000)[0] == "finished"
    assert bench.run("shout", bytes=list(b"\nlast\n"), times=1)[0] == "finished"
    assert bench.pump(lambda: bench.worker.log.endswith("last"))
    assert len(bench.worker.log) < 50 * 2_100


def test_a_library_in_a_folder_with_spaces_and_umlauts_is_found(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AHNetSegmentLib.scene import worker_process

    here = Path(worker_process.__file__).resolve().parents[1]
    there = tmp_path / "Öl & Salz 3" / here.name
    shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(worker_process, "__file__", str(there / "scene" / "worker_process.py"))
    kind, result = bench.run("echo", text="Ä")
    assert kind == "finished"
    assert Path(result["library"]).parent == there
    assert result["arguments"] == {"text": "Ä"}


@pytest.mark.skipif(sys.platform == "win32", reason="makes a program of a script")
def test_slicers_own_python_is_preferred(pump: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from AHNetSegmentLib.engine.errors import ResourceError
    from AHNetSegmentLib.scene.worker_process import python_program

    programs = [tmp_path / "Slicer" / "bin" / "PythonSlicer", tmp_path / "other" / "PythonSlicer"]
    for program in programs:
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    slicer = SimpleNamespace(app=SimpleNamespace(slicerHome=str(tmp_path / "Slicer")))
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    monkeypatch.setenv("PATH", str(programs[1].parent))
    assert python_program() == str(programs[0])
    monkeypatch.setitem(sys.modules, "slicer", None)
    assert python_program() == str(programs[1])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert python_program() == sys.executable
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/SlicerApp-real")
    with pytest.raises(ResourceError, match="No Python was found"):
        python_program()


def test_the_real_worker_segments(make: Callable[..., Bench], tmp_path: Path) -> None:
    from AHNetSegmentLib.scene.worker import ARGUMENTS

    volume = np.random.default_rng(0).normal(50, 10, (24, 32, 28)).astype(np.float32)
    np.save(tmp_path / "volume.npy", volume)
    bench = make(arguments=ARGUMENTS)
    bench.begin(
        "segment",
        volume=tmp_path / "volume.npy",
        geometry=geometry_to_dict(Geometry((28, 32, 24))),
        model=find_model("hippocampus-t1"),
        output=tmp_path,
        device="cpu",
        precision="float32",
    )
    kind, result = bench.end(timeout_s=120)
    assert kind == "finished", result
    assert np.load(result["labels"]).shape == volume.shape
    assert bench.told.states[-3:] == ["Loading the model", "Segmenting", "Writing the result"]
    done, total, _ = bench.told.progress[-1]
    assert done == total
    assert str(tmp_path) not in bench.worker.log

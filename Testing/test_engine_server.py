"""The worker is a process of its own: commands in, events out, and nothing that goes wrong in it gets further."""

from __future__ import annotations

import io
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AHNetSegmentLib.engine import server
from AHNetSegmentLib.engine.inference import InferenceSettings, segment
from AHNetSegmentLib.engine.package import find_model, load_model
from AHNetSegmentLib.engine.tasks import geometry_from_dict, geometry_to_dict
from AHNetSegmentLib.engine.volume import Region, Volume
from engine_helpers import noise_volume

LIBRARY = Path(server.__file__).resolve().parents[2]
WITH_OTHER_TASKS = """
import os, sys, time
from AHNetSegmentLib.engine import server

def noisy(arguments, context):
    print("printed to standard output", flush=True)
    os.write(1, b"written to file descriptor 1\\n")
    os.system("echo printed by another process")
    return {"read": sys.stdin.read()}

def endless(arguments, context):
    done = 0
    while context.progress(done, 10**9):
        done += 1
    return {"stopped": True}

def deaf(arguments, context):
    context.state("Deaf")
    time.sleep(60)

def broken(arguments, context):
    raise ValueError("seven\\n is too many")

def greedy(arguments, context):
    raise MemoryError

def odd(arguments, context):
    return {"what": object()}

for task in (noisy, endless, deaf, broken, greedy, odd):
    server.TASKS[task.__name__] = task
"""


class Child:
    """A worker process, and its events as they come."""

    def __init__(self, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, *arguments], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment
        )
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.put(json.loads(line))

    def send(self, text: str | bytes | dict[str, Any]) -> None:
        assert self.process.stdin is not None
        text = json.dumps(text) if isinstance(text, dict) else text
        self.process.stdin.write((text.encode() if isinstance(text, str) else text) + b"\n")
        self.process.stdin.flush()

    def wait_for(self, *names: str) -> dict[str, Any]:
        """The next event of one of these names; those before it are passed over."""
        while True:
            event = self.events.get(timeout=30)
            if event["event"] in names:
                return event

    def end(self, number: int) -> dict[str, Any]:
        """How a task ended."""
        while True:
            event = self.wait_for("result", "cancelled", "error")
            if event["id"] == number:
                return event

    def close(self) -> float:
        """Closes standard input; returns how long the process took to end, in seconds."""
        assert self.process.stdin is not None
        began = time.monotonic()
        self.process.stdin.close()
        self.process.wait(timeout=20)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def children() -> Iterator[list[Child]]:
    made: list[Child] = []
    yield made
    for child in made:
        child.process.kill()
        child.process.wait()


@pytest.fixture
def child(children: list[Child]) -> Child:
    """The real worker, warm from one test to the next unless one ends it."""
    if not children or children[-1].process.poll() is not None:
        children.append(Child("-m", "AHNetSegmentLib.engine.server"))
    return children[-1]


@pytest.fixture(scope="module")
def other() -> Iterator[Child]:
    """A worker with tasks that misbehave, without PyTorch."""
    made = Child("-c", f"import sys; sys.modules['torch'] = None\n{WITH_OTHER_TASKS}\nserver.main()")
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture(scope="module")
def model() -> Path:
    return find_model("hippocampus-t1")


def brain(shape: tuple[int, int, int] = (36, 50, 34)) -> Volume:
    """A bright sausage in the middle of noise: the model takes it for a hippocampus."""
    place = np.stack(np.mgrid[: shape[0], : shape[1], : shape[2]])
    radii = np.array([5, 18, 6]).reshape(3, 1, 1, 1)
    centre = np.array(shape).reshape(3, 1, 1, 1) / 2
    inside = (((place - centre) / radii) ** 2).sum(axis=0) < 1
    array = 40 + 60 * inside + np.random.default_rng(0).normal(0, 8, shape)
    return replace(noise_volume(shape, spacing=(1.0, 1.1, 0.9), origin=(3.0, -20.5, 1 / 3)), array=array.astype("f4"))


def arguments_for(folder: Path, model: Path, volume: Volume, **changes: Any) -> dict[str, Any]:
    np.save(folder / "volume.npy", volume.array)
    (folder / "output").mkdir(exist_ok=True)
    return {
        "volume": str(folder / "volume.npy"),
        "name": "Häd 1",
        "geometry": geometry_to_dict(volume.geometry),
        "model": str(model),
        "region": None,
        "device": "cpu",
        "precision": "float32",
        "window_memory": None,
        "keep_largest": None,
        "probabilities": False,
        "output": str(folder / "output"),
        **changes,
    }


def run(child: Child, number: int, arguments: dict[str, Any]) -> dict[str, Any]:
    child.send({"command": "segment", "id": number, "arguments": arguments})
    return child.end(number)


def test_a_geometry_goes_through_json_without_any_loss() -> None:
    geometry = brain().geometry
    assert geometry_from_dict(json.loads(json.dumps(geometry_to_dict(geometry)))) == geometry


def test_labels_and_probabilities_equal_those_of_the_engine_in_this_process(
    child: Child, model: Path, tmp_path: Path
) -> None:
    volume = brain()
    box = {"start": [1, 2, 0], "stop": [33, 47, 36]}
    exact = {"device": "cpu", "precision": "float32"}
    choice: dict[str, Any] = {**exact, "keep_largest": True, "probabilities": True, "classes": [2]}
    mask = np.ones((36, 45, 32), bool)
    mask[:, :, :9] = False
    np.save(tmp_path / "mask.npy", mask)
    settings = InferenceSettings(region=Region((1, 2, 0), (33, 47, 36)), **{**choice, "classes": (2,)})
    expected = segment(volume, load_model(model), settings)
    expected.labels[:, :, :10] = 0
    assert expected.probabilities is not None
    expected.probabilities[:, :, :, :10] = 0
    assert np.unique(expected.labels).tolist() == [0, 2]

    files = {"mask": str(tmp_path / "mask.npy"), "report": True}
    event = run(child, 1, arguments_for(tmp_path, model, volume, region=box, **files, **choice))
    assert event["event"] == "result", event
    result = event["result"]
    labels, probabilities = np.load(result["labels"]), np.load(result["probabilities"])
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(probabilities, expected.probabilities)
    assert labels.dtype == np.uint8
    assert result["region"] == box
    assert (result["device"], result["precision"]) == ("cpu", "float32")
    assert result["warnings"] == []
    assert result["seconds"]["total"] > 0
    assert result["model"]["name"] == "hippocampus-t1"
    for item in result["segments"]:
        assert item["voxels"] == int((labels == item["label"]).sum())
        assert item["ml"] == pytest.approx(item["voxels"] * volume.geometry.voxel_ml)
    assert result["report"]["runs"][0]["segments"][0]["ml"] == pytest.approx(result["segments"][0]["ml"], abs=0.01)


def test_states_and_progress_come_before_the_result(child: Child, model: Path, tmp_path: Path) -> None:
    child.send({"command": "segment", "id": 2, "arguments": arguments_for(tmp_path, model, brain((40, 60, 60)))})
    events = []
    while not events or events[-1]["event"] != "result":
        events.append(child.events.get(timeout=30))
    assert all(event["id"] == 2 for event in events)
    texts = [event["text"] for event in events if event["event"] == "state"]
    assert texts[-3:] == ["Loading the model", "Segmenting", "Writing the result"]
    steps = [event for event in events if event["event"] == "progress"]
    assert steps[-1]["done"] == steps[-1]["total"]
    assert [step["done"] for step in steps] == sorted(step["done"] for step in steps)
    assert set(steps[0]) == {"event", "id", "done", "total", "seconds_left"}


def test_cancel_in_the_middle_leaves_the_worker_usable(child: Child, model: Path, tmp_path: Path) -> None:
    big = arguments_for(tmp_path, model, noise_volume((120, 160, 160), seed=1))
    child.send({"command": "segment", "id": 3, "arguments": big})
    child.send({"command": "segment", "id": 4, "arguments": big})
    child.wait_for("progress")
    began = time.monotonic()
    child.send({"command": "cancel", "id": 4})
    child.send({"command": "cancel", "id": 3})
    assert child.end(3) == {"event": "cancelled", "id": 3}
    assert time.monotonic() - began < 10
    assert child.end(4) == {"event": "cancelled", "id": 4}
    assert not (tmp_path / "output" / "labels.npy").exists()
    assert run(child, 5, arguments_for(tmp_path, model, brain()))["event"] == "result"


def test_a_model_that_is_gone_and_a_volume_that_is_gone_give_their_sentences(
    child: Child, model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    arguments = arguments_for(tmp_path, copy, brain())
    assert run(child, 6, arguments)["event"] == "result"
    shutil.rmtree(copy)
    event = run(child, 7, arguments)
    assert event["message"] == f"The model folder {copy} does not exist; choose another model or import it again."
    assert event["details"] == ""
    event = run(child, 8, {**arguments, "model": str(model), "volume": str(tmp_path / "gone.npy")})
    assert event["message"].startswith("Häd 1 could not be read from the temporary folder; choose")
    event = run(child, 9, {**arguments, "model": str(model), "region": {"start": [0, 0, 0], "stop": [99, 1, 1]}})
    assert event["message"].startswith("The region of interest lies outside Häd 1;")


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"7",
        b'"segment"',
        b"{}",
        b'{"command": "segment"}',
        b'{"command": ["segment"], "id": 1}',
        b'{"command": "segment", "id": 1, "arguments": 3}',
        b'{"command": "dance", "id": 1}',
        b"[" * 100_000,
    ],
    ids=lambda line: line[:20],
)
def test_a_malformed_command_gets_an_error_event_and_nothing_dies(other: Child, line: bytes) -> None:
    other.send(b"")
    other.send(b'{"command": "cancel", "id": 12345}')
    other.send(line)
    event = other.wait_for("error")
    assert "install the extension again" in event["message"]
    assert other.process.poll() is None


def test_what_libraries_print_does_not_break_the_protocol(other: Child) -> None:
    other.send({"command": "noisy", "id": 20, "arguments": {}})
    assert other.end(20) == {"event": "result", "id": 20, "result": {"read": ""}}


def test_an_unforeseen_error_names_its_last_line_and_keeps_its_traceback(other: Child) -> None:
    other.send({"command": "broken", "id": 21, "arguments": {}})
    event = other.end(21)
    assert event["message"] == "The computation failed: ValueError: seven is too many; see the log."
    assert "Traceback" in event["details"]
    other.send({"command": "odd", "id": 22, "arguments": {}})
    assert "does not go into JSON" in other.end(22)["message"]


def test_memory_that_runs_out_has_its_sentence(other: Child) -> None:
    other.send({"command": "greedy", "id": 23, "arguments": {}})
    event = other.end(23)
    assert event["message"].startswith("The memory of this machine does not suffice;")
    assert event["details"] == ""


def test_a_missing_pytorch_has_its_sentence(other: Child) -> None:
    other.send({"command": "segment", "id": 24, "arguments": {}})
    event = other.end(24)
    assert event["message"].startswith("PyTorch is not installed")
    assert event["details"] == ""


def test_progress_comes_about_ten_times_a_second_with_the_time_left(other: Child) -> None:
    other.send({"command": "endless", "id": 25, "arguments": {}})
    began = time.monotonic()
    steps = [other.wait_for("progress") for _ in range(9)]
    assert time.monotonic() - began > 0.7
    assert steps[0]["seconds_left"] is None
    assert steps[-1]["seconds_left"] > 0
    other.send({"command": "cancel", "id": 25})
    assert other.end(25)["event"] == "cancelled"


def test_the_worker_ends_within_a_second_when_its_standard_input_closes() -> None:
    busy = Child("-c", f"import sys; sys.modules['torch'] = None\n{WITH_OTHER_TASKS}\nserver.main()")
    busy.send({"command": "deaf", "id": 1, "arguments": {}})
    while busy.wait_for("state")["text"] != "Deaf":
        pass
    assert busy.close() < 1


def test_the_worker_ends_within_a_second_in_the_middle_of_a_computation(
    child: Child, model: Path, tmp_path: Path
) -> None:
    arguments = arguments_for(tmp_path, model, noise_volume((120, 160, 160), seed=1))
    child.send({"command": "segment", "id": 30, "arguments": arguments})
    child.wait_for("progress")
    assert child.close() < 1


def test_quit_leaves() -> None:
    codes: list[int] = []
    server.Server(io.BytesIO(b'{"command": "quit"}\n'), io.BytesIO(), codes.append)._read()
    assert codes[0] == 0

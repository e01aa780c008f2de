"""The bench runs, and says what it measured: here with tiny sizes, most of it in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parent / "bench"
sys.path.insert(0, str(BENCH))

import inputs
import jobs_inference
import jobs_training
import parts_inference
import parts_training
import peers
import tables
from measuring import SPACING, read_scan
from results import ABDOMEN, QUICK, Bench, keep_results, machine_text, read_results

import bench as bench_program
from AHNetSegmentLib.engine.card import read_card

TINY = replace(QUICK, volume=(64, 64, 8), growth=(4, 8), abdomen_patch=(4, 32, 32), window=(4, 32, 32), product=64)
BALLAST = """
import subprocess, sys
ballast = bytearray(400 * 2**20)
for place in range(0, len(ballast), 4096):
    ballast[place] = 1
child = "import sys; sys.path.insert(0, sys.argv[1]); from processes import own_peak_mb; print(own_peak_mb())"
print(subprocess.run([sys.executable, "-c", child, sys.argv[1]], capture_output=True, check=True).stdout.decode())
"""


def in_process(name: str, threads: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """A job in this process; its arguments and result go through JSON all the same."""
    jobs = {**jobs_inference.JOBS, **jobs_training.JOBS}
    found: dict[str, Any] = json.loads(json.dumps(jobs[name](**json.loads(json.dumps(arguments)))))
    return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench with a volume of noise instead of labelled data."""
    made = Bench(tmp_path / "data", tmp_path, TINY, 1, 1, run=in_process)
    random = np.random.default_rng(0)
    volume = random.integers(-200, 300, TINY.volume[::-1], dtype=np.int16)
    np.save(tmp_path / f"volume-{inputs.size_name(TINY.volume)}.npy", volume)
    return made


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the bench measures memory on Linux alone")
def test_a_job_s_peak_memory_is_its_own_and_not_that_of_the_process_that_started_it() -> None:
    done = subprocess.run([sys.executable, "-c", BALLAST, str(BENCH)], capture_output=True, check=True)
    assert 2 < float(done.stdout) < 200


def test_growth_is_measured_on_the_bundled_model(bench: Bench) -> None:
    parts_inference.growth(bench)
    assert list(bench.found["seconds_a_slice"]) == [4, 8]
    assert min(bench.found["seconds_a_slice"].values()) > 0
    assert [row[0] for row in bench.rows[:2]] == [f"3 abdomen-ct, {count} slices of 64×64" for count in (4, 8)]


def test_the_share_of_the_product_rate_and_the_waiting_for_patches_are_told(bench: Bench) -> None:
    arguments = {"patch": TINY.abdomen_patch, "batch": 2, "rounds": 1, "warm_up": 1, "side": 64}
    found = bench.job("rate", recipe=str(ABDOMEN / "recipe.toml"), **arguments)
    assert found["share"] == pytest.approx(found["gflop"] / found["seconds"] / found["matrix_product"])
    assert set(found["waiting"]) == {"1", "2"}
    assert all(0 <= share < 1 for share in found["waiting"].values())
    assert sum(found["by_operator"].values()) == pytest.approx(1, abs=0.01)


def test_threads_are_compared_with_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_inference.os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    seen = []

    def run(name: str, threads: int, arguments: dict[str, Any]) -> dict[str, Any]:
        seen.append((name, threads))
        return {"matrix_product": 10.0 * threads, "inference_seconds": 6.0 / threads, "step_seconds": 6.0}

    parts_inference.threads(replace(bench, run=run))
    assert seen == [("scaling", 1), ("scaling", 2), ("scaling", 3)]


def test_the_scaling_job_measures_product_inference_and_step(bench: Bench) -> None:
    arguments = {"window": TINY.window, "patch": TINY.abdomen_patch, "batch": 2, "side": 64, "rounds": 1}
    found = bench.job("scaling", recipe=str(ABDOMEN / "recipe.toml"), **arguments)
    assert set(found) == {"matrix_product", "inference_seconds", "step_seconds"}
    assert min(found.values()) > 0


def test_a_usual_ct_keeps_its_field_of_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitk = inputs.sitk
    images = tmp_path / "abdomen-ct" / "images"
    images.mkdir(parents=True)
    case = sitk.GetImageFromArray(np.random.default_rng(0).integers(-100, 100, (6, 20, 20), dtype=np.int16))
    case.SetSpacing((1.5, 1.5, 3.0))
    sitk.WriteImage(case, str(images / f"{inputs.CT_CASE}.nii.gz"))
    monkeypatch.setattr(inputs, "USUAL_CT", (40, 40, 9))
    scan = inputs.usual_scan(read_card(ABDOMEN / "model.json"), tmp_path, tmp_path, (40, 40, 9), 16, (16, 16, 3))
    assert scan is not None
    image = sitk.ReadImage(str(scan.path))
    assert image.GetSize() == (40, 40, 9)
    assert [n * step for n, step in zip(image.GetSize(), image.GetSpacing(), strict=True)] == pytest.approx(
        [30, 30, 18]
    )
    assert image.TransformContinuousIndexToPhysicalPoint((19.5, 19.5, 4.0)) == pytest.approx(
        case.TransformContinuousIndexToPhysicalPoint((9.5, 9.5, 2.5))
    )


def test_slices_are_repeated_back_and_forth(tmp_path: Path) -> None:
    np.save(tmp_path / "volume.npy", np.arange(3, dtype=np.int16)[:, None, None] * np.ones((1, 2, 2), np.int16))
    scan = read_scan(str(tmp_path / "volume.npy"), 8)
    assert scan.array[:, 0, 0].tolist() == [0, 1, 2, 2, 1, 0, 0, 1]
    assert scan.geometry.spacing == SPACING


def test_nnunet_s_stages_follow_patch_and_spacing() -> None:
    kernels, strides = peers.nnunet_plan((32, 256, 256), (3.0, 0.8, 0.8))
    assert kernels == [[1, 3, 3], *[[3, 3, 3]] * 6]
    assert strides == [[1, 1, 1], [1, 2, 2], *[[2, 2, 2]] * 3, *[[1, 2, 2]] * 2]
    kernels, strides = peers.nnunet_plan((16, 16, 16), (1.0, 1.0, 1.0))
    assert (kernels, strides) == ([[3, 3, 3]] * 3, [[1, 1, 1], [2, 2, 2], [2, 2, 2]])


def test_where_the_seconds_of_a_click_go_is_told_in_their_order() -> None:
    runs = [
        {
            "network": 3.0 + n,
            "waiting": 1.0,
            "network_view_1": 2.0 + n,
            "network_view_2": 1.0,
            "total": 4.0,
            "wall": 6.0,
        }
        for n in range(3)
    ]
    del runs[0]["waiting"], runs[1]["waiting"]
    found = parts_inference.median_steps(runs)
    assert (found["network"], found["waiting"]) == (4.0, 0.0)
    assert parts_inference.steps_text(found) == "waiting 0.00, network 4.00 (3.00 + 1.00), panel 2.00"


def test_what_is_not_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["8", "--quick", "--threads", "1", "--work", str(tmp_path), "--data", str(tmp_path)]
    bench_program.main(arguments)
    said = capsys.readouterr().out
    assert "Skipped: part 1, full width against MONAI's AHNet and nnU-Net's architecture (not asked for)" in said
    assert "Skipped: part 9, validation Dice over an hour" in said
    assert "name it to run it" in said
    part = read_results(tmp_path / "quick.json")["8"]
    assert part["machine"]["matrix_product"]["float32"] > 0
    assert part["table"][0][0].startswith("8 ")
    with pytest.raises(SystemExit):
        bench_program.main(["12"])


def test_parts_that_ran_earlier_stay(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    for number, rounds in (("3", 1), ("1", 2), ("3", 4)):
        keep_results(path, number, {"rounds": rounds})
    assert read_results(path) == {"1": {"rounds": 2}, "3": {"rounds": 4}}
    assert read_results(tmp_path / "none.json") == {}


def test_a_busy_machine_and_bfloat16_are_named() -> None:
    facts = {"threads": 2, "cpu": "AVX2", "processor": "X", "native_bfloat16": False, "torch": "2.13"}
    assert machine_text(facts) == "2 threads of X with AVX2, without bfloat16, torch 2.13"
    facts |= {"load": 3.0, "matrix_product": {"float32": 99.6}}
    assert "matrix product in GFLOP/s: float32 100" in machine_text(facts)
    assert machine_text(facts).endswith("busy with other programs (load 3.0): too slow")


def test_the_readme_s_table_is_that_of_the_results() -> None:
    readme = tables.README.read_text(encoding="utf-8")
    assert tables.with_table(readme, tables.table(read_results(tables.RESULTS))) == readme, "run make bench-tables"


def test_dice_over_time_runs_with_the_package_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [{"minutes": 10.0, "steps": 7, "dice": 0.5}]
    asked = []

    def run(command: list[str], **options: Any) -> Any:
        asked.append((Path(command[1]).name, options["env"]["PYTHONPATH"]))
        return subprocess.CompletedProcess(command, 0, stdout=f"noise\n{json.dumps(points)}\n")

    monkeypatch.setattr(parts_training.subprocess, "run", run)
    made = Bench(tmp_path, tmp_path, TINY, 1, 1)
    parts_training.curve(made)
    assert asked == [("dice_over_time.py", str(parts_training.REPOSITORY / "AHNetSegment"))]
    assert made.rows == [
        ["9 abdomen-ct from its base, validation Dice, now", "10 min 0.500 (7 steps)", "", ""],
    ]

"""Several processes train one network (DistributedDataParallel over gloo, as torchrun starts it)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from AHNetSegmentLib.engine.image_io import write_volume
from AHNetSegmentLib.engine.package import load_model
from AHNetSegmentLib.engine.training_progress import LOG_FILE
from AHNetSegmentLib.engine.volume import Volume
from finetune_helpers import SETTINGS, base_model, blob

TESTING = Path(__file__).resolve().parent
PATHS = os.pathsep.join([str(TESTING), str(TESTING.parent / "AHNetSegment")])

DIGESTS = """
import hashlib, sys
from pathlib import Path
from finetune_helpers import OPTIONS, task
from AHNetSegmentLib.engine.distribution import Processes
from AHNetSegmentLib.engine.finetune import _Finetuning
from AHNetSegmentLib.engine.training_progress import Watch
from AHNetSegmentLib.engine.package import load_model

base, folder = map(Path, sys.argv[1:])
processes = Processes.join()
work = _Finetuning(task(load_model(base)), folder, OPTIONS, Watch(), processes)
trainer = work._trainer(work._recipe())
seen = []
step = trainer._step
trainer._step = lambda stage, images, *rest: (seen.append(float(images.sum())), step(stage, images, *rest))[1]
trainer.run(None, lambda network: {"dice": {"Anterior": 0.5 - 0.01 * trainer.total}})
digest = hashlib.sha256()
for name, value in trainer.network.named_parameters():
    digest.update(value.detach().numpy().tobytes())
(folder / f"rank-{processes.rank}.txt").write_text(f"{digest.hexdigest()} {sum(seen)} {trainer.total}")
processes.leave()
"""


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environment = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=300)


@pytest.mark.slow
def test_two_processes_see_other_patches_and_end_with_the_same_weights(tmp_path: Path) -> None:
    base = base_model(tmp_path / "models")
    script = tmp_path / "digests.py"
    script.write_text(DIGESTS)
    done = torchrun(str(script), str(base.folder), str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    one, other = (Path(tmp_path / f"rank-{rank}.txt").read_text().split() for rank in (0, 1))
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[2] == other[2] == str(SETTINGS.steps)


@pytest.mark.slow
def test_torchrun_writes_one_model(tmp_path: Path) -> None:
    base = base_model(tmp_path / "models")
    for number in range(3):
        case = blob(number)
        write_volume(tmp_path / "data" / "images" / f"{number}.nii.gz", case.image)
        write_volume(tmp_path / "data" / "labels" / f"{number}.nii.gz", Volume(case.labels, case.image.geometry))
    command = ["-m", "AHNetSegmentLib", "finetune", "--cases", str(tmp_path / "data"), "--base", str(base.folder)]
    command += ["--name", "mine", "--work", str(tmp_path / "work"), "--steps", "6", "--patch", "6", "24", "24"]
    command += ["--validate-every", "3", "--device", "cpu", "--precision", "float32", "--workers", "0"]
    done = torchrun(*command)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("Written: ") == 1
    card = load_model(tmp_path / "work" / "model").card
    assert card.training["processes"] == 2
    log = json.loads((tmp_path / "work" / LOG_FILE).read_text())
    assert log[-1]["total"] == 6
    again = torchrun(*command)
    assert again.returncode == 0, again.stderr[-2000:]
    for value in load_model(tmp_path / "work" / "model").network.state_dict().values():
        assert torch.isfinite(value).all()
    assert np.isfinite(card.figures["mean_dice"])

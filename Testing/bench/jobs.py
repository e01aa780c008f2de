"""What is measured, each in a process of its own: ``python jobs.py <job> <threads> <arguments as JSON>``.

Prints a JSON line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
for folder in (REPOSITORY / "AHNetSegment", REPOSITORY / "Testing", REPOSITORY / "Testing" / "bench"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def main() -> None:
    import jobs_inference
    import jobs_scene
    import jobs_training

    found: dict[str, Callable[..., dict[str, Any]]] = {
        **jobs_inference.JOBS,
        **jobs_scene.JOBS,
        **jobs_training.JOBS,
    }
    name, threads, arguments = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    import torch

    torch.set_num_threads(threads)
    print(json.dumps(found[name](**arguments)))


if __name__ == "__main__":
    main()

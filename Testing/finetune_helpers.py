"""Tiny labelled cases, a tiny base model and a short fine-tuning for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from AHNetSegmentLib.engine.cases import ArrayCase
from AHNetSegmentLib.engine.finetune import FinetuneTask
from AHNetSegmentLib.engine.finetune_plan import FinetuneSettings, Identity
from AHNetSegmentLib.engine.package import Model, load_model, save_model
from AHNetSegmentLib.engine.training_progress import TrainingOptions
from AHNetSegmentLib.engine.volume import Geometry, Volume
from AHNetSegmentLib.network.settings import AHNetSettings
from engine_helpers import card, classes, random_model

OPTIONS = TrainingOptions(device="cpu", precision="float32", workers=0, report_every=1)
SETTINGS = FinetuneSettings(steps=8, batch=2, seed=5, validate_every=3, patch=(6, 24, 24), checkpoint_seconds=1e-6)
SHAPE = (7, 26, 30)
"""(k, j, i)."""
NETWORK = AHNetSettings(
    classes=3, width=0.125, slice_strides=(1, 1, 2, 2, 1), pyramid_levels=1, layers=(1, 1, 1, 1), growth=8, bottleneck=2
)


def blob(number: int, names: Sequence[int] = (1, 2), **facts: Any) -> ArrayCase:
    """A bright ball (class 1) with a brighter one beside it (class 2), somewhere; 1.0 x 1.1 x 3.0 mm.

    Args:
        number: decides the place.
        names: which of both the label map has.
        facts: of the case.
    """
    rng = np.random.default_rng(number)
    k, j, i = np.meshgrid(*(np.arange(length) for length in SHAPE), indexing="ij")
    centre = rng.uniform((3, 10, 9), (4, 15, 14))
    labels = np.zeros(SHAPE, np.uint8)
    image = rng.normal(30, 4, SHAPE)
    for label, shift in ((1, 0.0), (2, 10.0)):
        inside = ((k - centre[0]) * 3) ** 2 + (j - centre[1]) ** 2 + (i - centre[2] - shift) ** 2 < 30
        image[inside] += 25 * label
        if label in names:
            labels[inside] = label
    volume = Volume(image.astype(np.float32), Geometry(SHAPE[::-1], (1.0, 1.1, 3.0)), f"Jane Doe {number}")
    return ArrayCase(f"Jane Doe {number}", volume, labels, **facts)


def base_model(folder: Path, **changes: Any) -> Model:
    """A tiny model with random weights, in a folder."""
    model = random_model(**{"network": NETWORK, **changes})
    save_model(folder / model.card.name, model.card, dict(model.network.state_dict()), "float32")
    return load_model(folder / model.card.name)


def task(base: Model | None, cases: Sequence[Any] | None = None, **changes: Any) -> FinetuneTask:
    """Four blobs, labelled with both classes of the base."""
    facts: dict[str, Any] = {
        "identity": Identity("mine", "Mine", modality="MR"),
        "classes": classes(2),
        "cases": tuple(cases or [blob(number) for number in range(4)]),
        "base": base,
        "settings": SETTINGS,
    }
    return FinetuneTask(**{**facts, **changes})


__all__ = ["OPTIONS", "SETTINGS", "SHAPE", "base_model", "blob", "card", "classes", "task"]

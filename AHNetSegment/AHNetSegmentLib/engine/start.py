"""Where a fine-tuning begins: the base model's weights, with a head for the new classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..network.ahnet import AHNet
from ..network.settings import AHNetSettings
from .card import ClassCard
from .package import Model

HEAD = "decoder.head.conv.weight"


def known_classes(base: Sequence[ClassCard], classes: Sequence[ClassCard]) -> dict[int, int]:
    """The base's label of each label that both have, by the classes' names in upper or lower case."""
    labels = {item.name.casefold(): item.label for item in base}
    return {item.label: labels[item.name.casefold()] for item in classes if item.name.casefold() in labels}


def starting_weights(
    model: Model, network: AHNetSettings, classes: Sequence[ClassCard], seed: int
) -> Mapping[str, Tensor]:
    """All weights of the base; in the head those of the classes that it knows, and random ones for the others.

    Args:
        model: the base.
        network: settings of the new network, which differ from the base's in classes and slice pooling at most.
        classes: of the new model.
        seed: decides the random ones.

    Raises:
        ModelError: the base's weights cannot be used.
    """
    weights = dict(model.network.state_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = AHNet(network).state_dict()[HEAD]
    old = weights[HEAD]
    found = known_classes(model.card.classes, classes)
    for label, before in found.items():
        head[label] = old[before]
    if found:
        head[0] = old[0]
    return {**weights, HEAD: head}

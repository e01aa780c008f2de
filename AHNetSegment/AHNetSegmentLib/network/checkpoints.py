"""Weights from files, ours and foreign: torchvision's ResNet-50, MONAI's AHNet, FCN and MCFCN.

Files are read with `weights_only=True`: nothing in them can run. What fits is loaded, and a report says what did
not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Union

import torch
from torch import nn

from .ahnet import AHNet
from .formats import Format, StateDict, ahnet_settings, mcgcn_settings, recognise, to_own_names
from .mcgcn import MCGCN, SLICE_TAPS
from .resnet import ResNet2d
from .settings import AHNetSettings, MCGCNSettings
from .transfer import encoder_weights

Source = Union[str, "os.PathLike[str]", Mapping[str, Any]]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "network_weights", "network", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "state_dict.", "model.", "network.", "net.")
_ENCODER = "encoder."


class CheckpointError(ValueError):
    """A file's weights cannot be used; the message is one sentence that names the file and says what to do."""


@dataclass(frozen=True)
class ShapeMismatch:
    """A tensor that the file and the network have in different shapes."""

    name: str
    found: tuple[int, ...]
    expected: tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """What came of loading weights; tensors go by the network's names.

    Attributes:
        format: what the file was recognised as.
        loaded: tensors that the network took.
        missing: tensors of the network that the file lacks. They keep the values that they had.
        unexpected: tensors of the file that the network lacks.
        mismatched: tensors that both have, in different shapes. The network's keep the values that they had.
        notes: sentences that put the above in context.
    """

    format: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[ShapeMismatch, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all that was looked for was there and was loaded."""
        return not (self.missing or self.unexpected or self.mismatched)

    def summary(self) -> str:
        """The report in sentences."""
        sentences = [f"Recognised {self.format}; loaded {len(self.loaded)} tensors.", *self.notes]
        if self.missing:
            sentences.append(f"Missing from the file: {_listed(self.missing)}.")
        if self.unexpected:
            sentences.append(f"Not part of the network: {_listed(self.unexpected)}.")
        if self.mismatched:
            shapes = [f"{item.name} (file {item.found}, network {item.expected})" for item in self.mismatched]
            sentences.append(f"Of another shape: {_listed(shapes)}.")
        return " ".join(sentences)


def load_weights(network: AHNet | MCGCN | ResNet2d, source: Source) -> LoadReport:
    """Loads weights into a network, in place, as far as they fit.

    | network | takes |
    | --- | --- |
    | AHNet | AHNet, MONAI AHNet; the encoder, by transfer, of MC-GCN, MONAI FCN and torchvision ResNet-50 |
    | MCGCN | MC-GCN, MONAI FCN and MCFCN; the encoder of torchvision ResNet-50 |
    | ResNet2d | torchvision ResNet-50; the encoder of MC-GCN, MONAI FCN and MCFCN |

    Args:
        network: changed in place; a locked encoder too.
        source: a file, or a state dict.

    Raises:
        CheckpointError: the file cannot be read safely, is none of these, or does not suit the network at all.
    """
    title = _title(source)
    foreign = read_state_dict(source)
    found = recognise(foreign)
    if found is None:
        raise CheckpointError(
            f"{title} holds none of the known networks (AH-Net, MC-GCN, MONAI's 3D AHNet, FCN or MCFCN, or a ResNet "
            f"with bottlenecks such as ResNet-50): choose another file."
        )
    weights = to_own_names(foreign, found)
    try:
        weights, encoder_only = _for_network(weights, found, network)
    except ValueError as error:
        raise CheckpointError(f"{title} does not fit: {error}") from error
    _check_width(title, weights, network)
    report = _load(network, weights, encoder_only)
    notes = (*_notes_on_parts(report, encoder_only), *_notes_on_settings(network, foreign, found))
    return LoadReport(found.value, report.loaded, report.missing, report.unexpected, report.mismatched, notes)


def settings_from_monai(source: Source) -> AHNetSettings:
    """The settings with which AHNet computes what MONAI's AHNet of this file or state dict computes.

    The weights do not tell MONAI's "nearest" upsampling from "trilinear"; they are taken for the latter.

    Raises:
        CheckpointError: the file cannot be read safely, or holds something else.
    """
    try:
        return ahnet_settings(read_state_dict(source))
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{_title(source)} cannot be used: {error}") from error


def mcgcn_settings_from_monai(source: Source) -> MCGCNSettings:
    """The settings with which MCGCN computes what MONAI's FCN or MCFCN of this file or state dict computes.

    Raises:
        CheckpointError: the file cannot be read safely, or holds something else.
    """
    try:
        return mcgcn_settings(read_state_dict(source))
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{_title(source)} cannot be used: {error}") from error


def read_state_dict(source: Source) -> StateDict:
    """The tensors of a file or a dictionary, taken out of the wrappings that training programs put around them.

    Args:
        source: a file as `torch.save` writes it, or a dictionary; either may hold the state dict under a name such
            as "state_dict", and the tensors' names may all begin with a prefix such as "module.".

    Raises:
        CheckpointError: the file cannot be read, is not safe to read, or holds no state dict.
    """
    title = _title(source)
    content = source if isinstance(source, Mapping) else _read_safely(Path(source))
    inner = _unwrapped(content)
    if not isinstance(inner, Mapping) or not inner or not all(_is_entry(*entry) for entry in inner.items()):
        raise CheckpointError(
            f"{title} holds no state dict: save one with torch.save(network.state_dict(), path) and choose that."
        )
    return _without_prefixes(dict(inner))


def _read_safely(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}): choose another file.") from error
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged or holds more than tensors, which is not safe to open: save its weights alone, with "
            f"torch.save(network.state_dict(), path), in the program that made it."
        ) from error


def _unwrapped(content: Any) -> Any:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    return content


def _is_entry(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, torch.Tensor)


def _without_prefixes(weights: StateDict) -> StateDict:
    prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in weights)), None)
    if prefix is None:
        return weights
    return _without_prefixes({name[len(prefix) :]: value for name, value in weights.items()})


def _for_network(weights: StateDict, found: Format, network: nn.Module) -> tuple[StateDict, bool]:
    """The weights that concern this network, under its names, and whether these are an encoder alone.

    Raises:
        ValueError: this format has nothing for this network.
    """
    volumetric = found in (Format.AHNET, Format.MONAI_AHNET)
    if isinstance(network, AHNet):
        if volumetric:
            return weights, False
        if found is Format.MONAI_MCFCN or "projection.0.weight" in weights:
            raise ValueError("its input channels are projected, so they cannot become slices; choose another file.")
        encoder = encoder_weights(_encoder_part(weights), network.settings.in_channels)
        return {_ENCODER + name: value for name, value in encoder.items()}, True
    if volumetric:
        raise ValueError("it is a 3D network, and the weights were to go into a 2D one; load it into an AHNet.")
    if isinstance(network, MCGCN):
        if found is Format.RESNET:
            return _repeated_stem(weights, _ENCODER + "conv1.weight", network.settings.in_channels), True
        return weights, False
    assert isinstance(network, ResNet2d)
    return _repeated_stem(_encoder_part(weights), "conv1.weight", network.in_channels // SLICE_TAPS), False


def _encoder_part(weights: StateDict) -> StateDict:
    return {name[len(_ENCODER) :]: value for name, value in weights.items() if name.startswith(_ENCODER)}


def _repeated_stem(weights: StateDict, name: str, volumes: int) -> StateDict:
    """A first convolution for the slices of one volume, shared by several: repeated, and divided by their number."""
    weight = weights[name]
    if volumes > 1 and weight.shape[1] == SLICE_TAPS:
        return {**weights, name: weight.repeat(1, volumes, 1, 1) / volumes}
    return weights


def _check_width(title: str, weights: StateDict, network: nn.Module) -> None:
    name = "conv1.weight" if isinstance(network, ResNet2d) else _ENCODER + "conv1.weight"
    found, expected = weights[name].shape[0], network.state_dict()[name].shape[0]
    if found != expected:
        raise CheckpointError(
            f"{title} starts with {found} channels and the network with {expected}: make the network with "
            f"width={found / 64:g}."
        )


def _load(network: nn.Module, weights: StateDict, encoder_only: bool) -> LoadReport:
    own = network.state_dict()
    wanted = [name for name in own if not encoder_only or name.startswith(_ENCODER)]
    fitting = {name: weights[name] for name in wanted if name in weights and weights[name].shape == own[name].shape}
    network.load_state_dict(fitting, strict=False)
    return LoadReport(
        format="",
        loaded=tuple(fitting),
        # Files from before PyTorch 0.4.1 do not count batches, and nothing that is computed depends on it.
        missing=tuple(n for n in wanted if n not in weights and not n.endswith(".num_batches_tracked")),
        unexpected=tuple(name for name in weights if name not in own),
        mismatched=tuple(
            ShapeMismatch(name, tuple(weights[name].shape), tuple(own[name].shape))
            for name in wanted
            if name in weights and name not in fitting
        ),
    )


def _notes_on_parts(report: LoadReport, encoder_only: bool) -> list[str]:
    if encoder_only:
        return ["The file gives the encoder only; the decoder keeps the weights that it had."]
    for item in report.mismatched:
        if item.name == "decoder.head.conv.weight" and item.found[0] != item.expected[0]:
            return [f"The head was left out: the file has {item.found[0]} classes, the network {item.expected[0]}."]
        if item.name == "decoder.gcn.0.left.0.weight" and item.found[0] != item.expected[0]:
            return [f"The decoder was left out: the file has {item.found[0]} classes, the network {item.expected[0]}."]
    return []


def _notes_on_settings(network: nn.Module, foreign: StateDict, found: Format) -> list[str]:
    """Whether the network computes as MONAI does with these weights."""
    same: AHNetSettings | MCGCNSettings
    if isinstance(network, AHNet) and found is Format.MONAI_AHNET:
        same, maker = ahnet_settings(foreign), "settings_from_monai"
    elif isinstance(network, MCGCN) and found in (Format.MONAI_FCN, Format.MONAI_MCFCN):
        same, maker = mcgcn_settings(foreign), "mcgcn_settings_from_monai"
    else:
        return []
    own, other = network.settings.to_dict(), same.to_dict()
    differing = sorted(name for name in own if own[name] != other[name] and name != "classes")
    if not differing:
        return []
    return [f"The network computes otherwise than MONAI's ({', '.join(differing)}): {maker} gives the same settings."]


def _listed(names: list[str] | tuple[str, ...], limit: int = 5) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _title(source: Source) -> str:
    return "The state dict" if isinstance(source, Mapping) else str(source)

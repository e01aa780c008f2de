"""A model package: a folder with a card (``model.json``) and weights (``weights.pt``), and the library of packages.

Nothing in a package can execute: the weights are a plain dictionary of tensors, read with ``weights_only=True``
after their SHA-256 was compared with the card's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .allocator import give_back_freed_memory
from .card import ModelCard, read_card, write_card
from .errors import ModelError, OutputError
from .files import new_folder, sha256
from .resources import bundled_models_folder

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..network.ahnet import AHNet
    from ..network.streaming import StreamedAHNet

CARD_FILE = "model.json"
WEIGHTS_FILE = "weights.pt"
PACKAGE_FILES = (CARD_FILE, WEIGHTS_FILE, "recipe.toml")
"""What a model's folder may hold."""
SCALE_KEY = ".scale"


class Model:
    """A model: its card, its network and its folder.

    Args:
        card: what the model is.
        network: in evaluation mode on the CPU in float32; None: read from the folder when it is asked for.
        folder: the package.
    """

    def __init__(self, card: ModelCard, network: AHNet | None, folder: Path) -> None:
        self.card = card
        self.folder = folder
        self._network = network
        self._can_be_read = network is None
        self._folded: dict[tuple[str, str], StreamedAHNet] = {}

    @property
    def network(self) -> AHNet:
        """The network in evaluation mode on the CPU in float32.

        Raises:
            ModelError: it must be read, and the weights are missing, changed, unsafe or do not fit the card.
        """
        return self._network or self.read()

    def read(self) -> AHNet:
        """Reads the network from the folder; raises as :attr:`network`."""
        self._network = _read_network(self.card, self.folder)
        return self._network

    def for_inference(self, device: torch.device, precision: torch.dtype) -> StreamedAHNet:
        """The network as inference runs it; kept for the next call with the same device and precision.

        Raises:
            ModelError: as :attr:`network`.
        """
        from ..network.streaming import StreamedAHNet

        key = (str(device), str(precision))
        if key not in self._folded:
            self._folded.clear()
            self._folded[key] = StreamedAHNet(self.network, device, precision)
            if self._can_be_read:
                self._network = None
            # Reading and folding leave as much freed memory behind as the weights take.
            give_back_freed_memory()
        return self._folded[key]

    def release(self) -> None:
        """Gives back the memory that :meth:`for_inference` took."""
        self._folded.clear()
        give_back_freed_memory()


def load_model(folder: Path) -> Model:
    """Loads a model package.

    Raises:
        ModelError: card or weights are missing, changed, unsafe or do not fit each other.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"The model folder {folder} does not exist; choose another model or import it again.")
    model = Model(read_card(folder / CARD_FILE), None, folder)
    model.read()
    return model


def _read_network(card: ModelCard, folder: Path) -> AHNet:
    import torch

    from ..network.ahnet import AHNet

    weights = read_weights(folder / WEIGHTS_FILE, card.weights_sha256)
    # Built without memory behind it: a card can describe a network of any size.
    with torch.device("meta"):
        network = AHNet(card.network)
    expected = {key: value.shape for key, value in network.state_dict().items()}
    if {key: value.shape for key, value in weights.items()} != expected:
        raise ModelError(
            f"{folder / WEIGHTS_FILE} does not fit the network that its card describes; import the model again."
        )
    network.load_state_dict(weights, assign=True)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network.eval()


def save_model(
    folder: Path,
    card: ModelCard,
    state: dict[str, Tensor],
    storage: str = "int8",
    add: Callable[[Path], None] | None = None,
) -> ModelCard:
    """Writes a model package in one step: an existing one is replaced only when all of it was written.

    Args:
        folder: the package.
        card: ``weights_sha256`` is filled in.
        state: the network's state dictionary, float32.
        storage: ``int8`` (convolution weights in 8 bits per output channel with a scale), ``float16`` or ``float32``.
        add: puts further files into the folder that it is given.

    Returns:
        The card as written.

    Raises:
        OutputError: the folder cannot be written.
    """
    import torch

    with new_folder(Path(folder)) as beside:
        torch.save(pack_weights(state, storage), beside / WEIGHTS_FILE)
        card = replace(card, weights_sha256=sha256(beside / WEIGHTS_FILE))
        write_card(beside / CARD_FILE, card)
        if add is not None:
            add(beside)
    return card


def check_target(folder: Path) -> None:
    """Raises OutputError where writing a package into a folder would take away other files than those of a model."""
    if not folder.exists():
        return
    others = [] if folder.is_dir() else [folder]
    if not others:
        others = [entry for entry in sorted(folder.iterdir()) if entry.name not in PACKAGE_FILES]
    if others:
        raise OutputError(
            f"{folder} holds {others[0].name}, which is no part of a model; choose a new folder for the model."
        )


def read_weights(path: Path, expected_sha256: str) -> dict[str, Tensor]:
    """The state dictionary of a weight file, expanded to float32.

    Raises:
        ModelError: missing, changed, or holding anything but tensors.
    """
    import torch

    if not path.is_file():
        raise ModelError(f"The weight file {path} is missing; import or reinstall the model.")
    if sha256(path) != expected_sha256:
        raise ModelError(f"The weight file {path} is not the one that its card names; import or reinstall the model.")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what the unpickler raises is up to the damaged or hostile file
        raise ModelError(
            f"The weight file {path} holds more than plain tensors, or is damaged, and was not opened; "
            "take the model only from a source that you trust."
        ) from error
    if not isinstance(stored, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in stored.items()
    ):
        raise ModelError(f"The weight file {path} is no dictionary of tensors; import or reinstall the model.")
    try:
        return unpack_weights(stored)
    except RuntimeError as error:
        raise ModelError(f"The scales in {path} do not fit their weights; import or reinstall the model.") from error


def pack_weights(state: dict[str, Tensor], storage: str) -> dict[str, Tensor]:
    """The state dictionary as it is stored: see :func:`save_model`. Vectors (BatchNorm, biases) stay float32."""
    import torch

    if storage not in ("int8", "float16", "float32"):
        raise ValueError(f"the storage is {storage!r}; known are 'int8', 'float16' and 'float32'")
    packed: dict[str, Tensor] = {}
    for key, value in state.items():
        tensor = value.detach().cpu().contiguous()
        if tensor.ndim < 2 or not tensor.is_floating_point() or storage == "float32":
            packed[key] = tensor
        elif storage == "float16":
            packed[key] = tensor.half()
        else:
            rows = tensor.float().flatten(1)
            scale = rows.abs().amax(dim=1).clamp_min(1e-12) / 127
            packed[key] = torch.round(rows / scale[:, None]).to(torch.int8).reshape(tensor.shape)
            packed[key + SCALE_KEY] = scale
    return packed


def unpack_weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`pack_weights`, but for the rounding."""
    import torch

    state: dict[str, Tensor] = {}
    for key, value in stored.items():
        if key.endswith(SCALE_KEY) and key[: -len(SCALE_KEY)] in stored:
            continue
        scale = stored.get(key + SCALE_KEY)
        if value.dtype == torch.int8 and scale is not None:
            state[key] = value.float() * scale.reshape(-1, *[1] * (value.ndim - 1))
        else:
            state[key] = value.float() if value.is_floating_point() else value
    return state


def model_folders(roots: Sequence[Path] = ()) -> list[Path]:
    """The packages inside the bundled models' folder and the given ones, by name; hidden folders are passed over."""
    found: dict[str, Path] = {}
    for root in (bundled_models_folder(), *roots):
        if Path(root).is_dir():
            for folder in sorted(Path(root).iterdir()):
                if (folder / CARD_FILE).is_file() and not folder.name.startswith("."):
                    found.setdefault(folder.name, folder)
    return [found[name] for name in sorted(found)]


def find_model(name_or_path: str | Path, roots: Sequence[Path] = ()) -> Path:
    """The folder of a model given by its name, or by its path.

    Raises:
        ModelError: there is none; the message lists those that exist.
    """
    path = Path(name_or_path)
    if (path / CARD_FILE).is_file():
        return path
    folders = model_folders(roots)
    for folder in folders:
        if folder.name == str(name_or_path):
            return folder
    names = ", ".join(folder.name for folder in folders) or "none"
    raise ModelError(f"There is no model {name_or_path}; choose one of these or give a model folder: {names}.")

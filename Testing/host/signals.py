"""Signals as PythonQt connects them: by name or by signature, to any callable, which is kept alive."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

from .metaobjects import meta_of
from .offered import Call, normalised_signature, offer, parse_call

SIGNALS = (QtCore.SignalInstance,)
PYTHON_TYPES: dict[str, type] = {"bool": bool, "int": int, "double": float, "QString": str, "QStringList": list}

_connections: dict[int, list[tuple[str, Any, Any]]] = {}
"""C++ address of the sender to (name or signature, what was connected, the slot that PySide6 got).

The sender itself is not held: without a parent it goes with its last Python name, as in PythonQt.
"""


class BoundSignal:
    """``widget.signalName``: connect, disconnect and emit; nothing else."""

    __slots__ = ("_name", "_sender")

    def __init__(self, sender: Any, name: str) -> None:
        self._sender = sender
        self._name = name

    def connect(self, callback: Callable[..., Any]) -> bool:
        """Connect the signal; of several with this name, the one that is declared first."""
        return _connect(self._sender, self._name, callback)

    def disconnect(self, callback: Callable[..., Any] | None = None) -> bool:
        """Disconnect one callable, or all that were connected."""
        return _disconnect(self._sender, self._name, callback)

    def emit(self, *args: Any) -> None:
        """Emit the signal."""
        getattr(self._sender, self._name).emit(*args)


def connect(sender: Any, signal: Any, receiver: Any, slot: Any = None) -> bool:
    """``sender.connect("signal(types)", callable)`` or ``sender.connect("signal(types)", object, "slot(types)")``.

    PySide6 itself calls ``timer.connect(timer, "2timeout()", callable)``.

    Raises:
        AttributeError: the sender has no such signal or the receiver no such slot; Slicer only writes a warning.
    """
    if isinstance(signal, QtCore.QObject):
        sender, signal, receiver, slot = signal, receiver, slot, None
    signature = normalised_signature(signal.removeprefix("2"))
    return _connect(sender, signature, receiver if slot is None else _slot(receiver, slot))


def disconnect(sender: Any, signal: str, receiver: Any = None, slot: str | None = None) -> bool:
    """The reverse of :func:`connect`; without a receiver, of all connections to this signal."""
    signature = normalised_signature(signal)
    _by_signature(sender, signature)
    return _disconnect(sender, signature, receiver if slot is None else None)


def _signal(sender: Any, name: str) -> Any:
    """The signal of a name; of several of Qt's, the one that is declared first, with all its arguments."""
    signatures = meta_of(type(sender)).signals
    first = next((signature for signature in signatures if signature.partition("(")[0] == name), None)
    is_stand_in = any(name in found.signals for base in type(sender).__mro__ if (found := offer(base.__name__)))
    return getattr(sender, name) if first is None or is_stand_in else QtSignal(sender, first)


def _by_signature(sender: Any, signature: str) -> Any:
    call = parse_call(signature)
    offers = next((found for base in type(sender).__mro__ if (found := offer(base.__name__))), None)
    if offers is not None and call.name in offers.signals:
        if offers.signal(signature) is None:
            known = " or ".join(other.signature for other in offers.signals[call.name])
            raise AttributeError(f"{offers.name} has no signal {signature} in Slicer, but {known}")
        if not hasattr(sender, call.name):
            raise NotImplementedError(f"{offers.name}.{signature} exists in Slicer; Testing/host does not have it yet")
        return _overload(getattr(sender, call.name), call, len(offers.signals[call.name]) > 1)
    if signature not in meta_of(type(sender)).signals:
        raise AttributeError(f"{type(sender).__name__} has no signal {signature} in Slicer")
    return QtSignal(sender, signature)


def _overload(signal: Any, call: Call, overloaded: bool) -> Any:
    kinds = tuple(PYTHON_TYPES.get(kind, object) for kind in call.types)
    return signal[kinds[0] if len(kinds) == 1 else kinds] if overloaded else signal


class QtSignal:
    """A signal of Qt by its signature, with the methods of PySide6's ``SignalInstance``."""

    def __init__(self, sender: Any, signature: str) -> None:
        self.sender = sender
        self.code = "2" + signature

    def connect(self, slot: Callable[..., Any]) -> None:
        QtCore.QObject.connect(self.sender, self.code, slot)

    def disconnect(self, slot: Callable[..., Any]) -> None:
        QtCore.QObject.disconnect(self.sender, self.code, slot)


def _slot(receiver: Any, text: str) -> Callable[..., Any]:
    """The receiver's slot as a callable."""
    signature = normalised_signature(text)
    name = signature.partition("(")[0]
    offers = next((found for base in type(receiver).__mro__ if (found := offer(base.__name__))), None)
    known = offers is not None and offers.slot(signature) is not None
    if not known and signature not in meta_of(type(receiver)).methods:
        raise AttributeError(f"{type(receiver).__name__} has no slot {signature} in Slicer")
    if not hasattr(receiver, name):
        raise NotImplementedError(
            f"{type(receiver).__name__}.{name} exists in Slicer; Testing/host does not have it yet"
        )
    return getattr(receiver, name)


def _address(sender: Any) -> int:
    return shiboken6.getCppPointer(sender)[0]


def _source(sender: Any, key: str) -> Any:
    return _by_signature(sender, key) if "(" in key else _signal(sender, key)


def _connect(sender: Any, key: str, callback: Any) -> bool:
    source = _source(sender, key)
    if not callable(callback):
        raise TypeError(f"{type(sender).__name__}.{key} can only be connected to something that can be called")
    slot = _truncated(callback)
    source.connect(slot)
    address = _address(sender)
    if address not in _connections:
        _connections[address] = []
        sender.destroyed.connect(lambda: _connections.pop(address, None))
    _connections[address].append((key, callback, slot))
    return True


def _disconnect(sender: Any, key: str, callback: Any) -> bool:
    name = key.partition("(")[0]
    kept = _connections.get(_address(sender), [])
    gone = [
        entry for entry in kept if entry[0].partition("(")[0] == name and (callback is None or entry[1] == callback)
    ]
    for entry in gone:
        _source(sender, entry[0]).disconnect(entry[2])
        kept.remove(entry)
    return bool(gone)


def _truncated(callback: Callable[..., Any]) -> Callable[..., Any]:
    """A slot that hands on as many arguments as the callable takes, and holds it; Qt's own slots stay as they are."""
    if isinstance(callback, types.BuiltinMethodType) and isinstance(callback.__self__, QtCore.QObject):
        return callback
    accepted = _accepted(callback)

    def slot(*args: Any) -> None:
        callback(*args[:accepted])

    return slot


def _accepted(callback: Callable[..., Any]) -> int | None:
    """How many arguments PythonQt hands on; None: all, which is so for whatever is no Python function or method."""
    method = isinstance(callback, types.MethodType)
    function = callback.__func__ if isinstance(callback, types.MethodType) else callback
    if not isinstance(function, types.FunctionType) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - method

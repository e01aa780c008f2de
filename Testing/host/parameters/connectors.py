"""Which widget shows which type, as slicer.parameterNodeWrapper connects them."""

from __future__ import annotations

import abc
import enum
import pathlib
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from .annotations import (
    Choice,
    Decimals,
    Maximum,
    Minimum,
    SingleStep,
    WithinRange,
    findFirstAnnotation,
    getNodeTypes,
    isNodeOrUnionOfNodes,
    splitAnnotations,
    unannotatedType,
)

LIKE_A_MODULE = True
"""The widgets are seen as PythonQt shows them, see :mod:`host.pythonqt`."""

_registered: list[type[GuiConnector]] = []


class GuiConnector(abc.ABC):
    """Between a widget and a type."""

    signal = ""
    """The widget's signal of a change."""

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget, datatype) -> bool:
        """Whether this widget can show this type."""

    @staticmethod
    @abc.abstractmethod
    def create(widget, datatype):
        """A connector."""

    def __init__(self):
        self._callback: Callable[[], None] | None = None
        self._widget: Any = None

    def onChanged(self, callback):
        """Call back when the widget is changed; None: no longer."""
        signal = getattr(self._widget, self.signal) if self.signal else None
        if signal is not None and self._callback is None and callback is not None:
            signal.connect(self.changed)
        elif signal is not None and callback is None and self._callback is not None:
            signal.disconnect(self.changed)
        self._callback = callback

    def changed(self):
        """The widget was changed."""
        if self._callback:
            self._callback()

    def widget(self):
        """The widget."""
        return self._widget

    @abc.abstractmethod
    def read(self):
        """The value that the widget shows."""

    @abc.abstractmethod
    def write(self, value) -> None:
        """Show a value."""


def parameterNodeGuiConnector(classtype=None):
    """Registers a connector."""

    def register(cls: type[GuiConnector]) -> type[GuiConnector]:
        _registered.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def createGuiConnector(widget, datatype) -> GuiConnector:
    """The connector of the first kind that can.

    Raises:
        RuntimeError: there is none for this widget and type.
    """
    for kind in _registered:
        if kind.canRepresent(widget, datatype):
            return kind.create(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'")


class _PropertyConnector(GuiConnector):
    """For widgets with one property and one type or several."""

    widgets: Callable[[], tuple[type, ...]]
    types: tuple[Any, ...]
    property = ""

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__()
        self._widget = widget
        self._type = unannotatedType(datatype)
        self.prepare(splitAnnotations(datatype)[1])

    def prepare(self, annotations: tuple[Any, ...]) -> None:
        """Hand annotations such as a range to the widget."""

    def read(self):
        return self._type(getattr(self._widget, self.property))

    def write(self, value) -> None:
        setattr(self._widget, self.property, value)


def _property_connector(
    widgets: Callable[[], tuple[type, ...]],
    types: tuple[Any, ...],
    property: str,  # noqa: A002
    signal: str,
    base: type[_PropertyConnector] = _PropertyConnector,
    **more: Any,
) -> None:
    """Register a connector for a property."""

    def canRepresent(widget, datatype) -> bool:
        return type(widget) in widgets() and unannotatedType(datatype) in types

    def create(widget, datatype):
        return connector(widget, datatype)

    names = {"canRepresent": staticmethod(canRepresent), "create": staticmethod(create)}
    connector = type(base)("Connector", (base,), {**names, "property": property, "signal": signal, **more})
    parameterNodeGuiConnector(connector)


class _ButtonConnector(_PropertyConnector):
    def prepare(self, annotations: tuple[Any, ...]) -> None:
        self._widget.checkable = True


class _NumberConnector(_PropertyConnector):
    """Takes the range over; a slider needs one."""

    lowest: float = -(2**31)
    highest: float = 2**31 - 1

    def prepare(self, annotations: tuple[Any, ...]) -> None:
        for kind, name in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            found = findFirstAnnotation(annotations, kind)
            if found is not None:
                setattr(self._widget, name, found.value)
        within = findFirstAnnotation(annotations, WithinRange)
        least = within or findFirstAnnotation(annotations, Minimum)
        greatest = within or findFirstAnnotation(annotations, Maximum)
        if type(self._widget) in (qt.QSlider, ctk.ctkSliderWidget) and None in (least, greatest):
            raise RuntimeError(
                f"Cannot have a connection to {type(self._widget).__name__} where the type is unbounded."
            )
        self._widget.minimum = self.lowest if least is None else least.minimum
        self._widget.maximum = self.highest if greatest is None else greatest.maximum


class _FloatConnector(_NumberConnector):
    lowest, highest = float("-inf"), float("inf")


class _PlainTextConnector(_PropertyConnector):
    def write(self, value) -> None:
        self._widget.setPlainText(value)


class _PathConnector(_PropertyConnector):
    def write(self, value) -> None:
        setattr(self._widget, self.property, str(value))


PATHS = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)

_property_connector(lambda: (qt.QCheckBox,), (bool,), "checked", "stateChanged")
_property_connector(lambda: (qt.QPushButton,), (bool,), "checked", "toggled", _ButtonConnector)
_property_connector(lambda: (qt.QSlider, qt.QSpinBox), (int,), "value", "valueChanged", _NumberConnector)
_property_connector(
    lambda: (qt.QDoubleSpinBox, ctk.ctkSliderWidget, ctk.ctkDoubleSpinBox),
    (float, int),
    "value",
    "valueChanged",
    _FloatConnector,
)
_property_connector(lambda: (qt.QLineEdit,), (str,), "text", "textChanged")
_property_connector(lambda: (qt.QLabel,), (str,), "text", "")
_property_connector(lambda: (qt.QTextEdit,), (str,), "plainText", "textChanged", _PlainTextConnector)
_property_connector(lambda: (ctk.ctkPathLineEdit,), PATHS, "currentPath", "currentPathChanged", _PathConnector)
_property_connector(lambda: (ctk.ctkDirectoryButton,), PATHS, "directory", "directoryChanged", _PathConnector)


class _ComboBoxConnector(GuiConnector):
    """Fills a combo box with labels, one per value."""

    signal = "currentIndexChanged"

    def __init__(self, widget: Any, values: list[Any], labels: list[str]) -> None:
        super().__init__()
        self._widget = widget
        self._values = values
        widget.clear()
        for label in labels:
            widget.addItem(label)

    def read(self):
        return self._values[self._widget.currentIndex]

    def write(self, value) -> None:
        if value not in self._values:
            raise ValueError(f"Unable to find value {value} in choices {self._values}")
        self._widget.currentIndex = self._values.index(value)


@parameterNodeGuiConnector
class QComboBoxToStringableConnector(_ComboBoxConnector):
    """Values of ``Choice``."""

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        is_combo_box = type(widget) in (qt.QComboBox, ctk.ctkComboBox)
        return is_combo_box and unannotatedType(datatype) in (int, float, str, bool)

    @staticmethod
    def create(widget, datatype):
        choice = findFirstAnnotation(splitAnnotations(datatype)[1], Choice)
        if choice is None:
            raise RuntimeError("a combo box for text or numbers needs a Choice in the annotation")
        return QComboBoxToStringableConnector(widget, choice.choices)

    def __init__(self, widget, choices):
        super().__init__(widget, list(choices), [str(choice) for choice in choices])


@parameterNodeGuiConnector
class QComboBoxToEnumConnector(_ComboBoxConnector):
    """Members of an enumeration, by their ``label()`` if it has one."""

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        kind = unannotatedType(datatype)
        is_combo_box = type(widget) in (qt.QComboBox, ctk.ctkComboBox)
        return is_combo_box and isinstance(kind, type) and issubclass(kind, enum.Enum)

    @staticmethod
    def create(widget, datatype):
        return QComboBoxToEnumConnector(widget, datatype)

    def __init__(self, widget, datatype: enum.Enum):
        kind = unannotatedType(datatype)
        label = getattr(kind, "label", lambda member: member.name)
        super().__init__(widget, list(kind), [label(member) for member in kind])


@parameterNodeGuiConnector
class qMRMLNodeComboBoxToNodeConnector(GuiConnector):
    """The current node; sets ``nodeTypes``."""

    signal = "currentNodeChanged"

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return type(widget) is slicer.qMRMLNodeComboBox and isNodeOrUnionOfNodes(datatype)

    @staticmethod
    def create(widget, datatype):
        return qMRMLNodeComboBoxToNodeConnector(widget, datatype)

    def __init__(self, widget: slicer.qMRMLNodeComboBox, datatype):
        super().__init__()
        self._widget = widget
        self._widget.nodeTypes = getNodeTypes(datatype)

    def read(self):
        return self._widget.currentNode()

    def write(self, value) -> None:
        self._widget.setCurrentNode(value)

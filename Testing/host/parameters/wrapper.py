"""``@parameterNodeWrapper``: typed attributes over a parameter node, and widgets that follow them."""

from __future__ import annotations

import typing
from typing import Any

import qt
import vtk
from slicer.util import NodeModify

from .annotations import Default, extractDefault, splitAnnotations
from .connectors import GuiConnector, createGuiConnector
from .serializers import Serializer, createSerializer

LIKE_A_MODULE = True

SlicerParameterNamePropertyName = "SlicerParameterName"

RESERVED = """
allParameters _is_parameter_node_wrapper default isCached dataType getValue setValue connectGui connectParametersToGui
disconnectGui StartModify EndModify AddObserver RemoveObserver Modified
""".split()
"""A wrapped class may not have members of these names."""


class ParameterInfo:
    """One annotated member."""

    def __init__(self, basename: str, serializer: Serializer, default: Default, unalteredType: Any) -> None:
        self.basename = basename
        self.serializer = serializer
        self.default = default
        self.unalteredType = unalteredType


def isParameterNodeWrapper(classOrObj):
    """Whether a class or object was made by :func:`parameterNodeWrapper`."""
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget, parameter):
    """The child with this ``SlicerParameterName``, or None."""
    children = widget.findChildren(qt.QWidget)
    return next((child for child in children if child.property(SlicerParameterNamePropertyName) == parameter), None)


def parameterNodeWrapper(classtype=None):
    """Class decorator: annotated members become parameters of a node.

    Raises:
        ValueError: a member has a name that the wrapper needs.
    """
    return _wrapped if classtype is None else _wrapped(classtype)


def _wrapped(classtype: type) -> type:
    parameters: dict[str, ParameterInfo] = {}
    for name, annotated in typing.get_type_hints(classtype, include_extras=True).items():
        kind, annotations = splitAnnotations(annotated)
        try:
            serializer, rest = createSerializer(kind, annotations)
        except Exception as error:
            raise Exception(f"Unable to create serializer for {classtype} member {name}") from error
        default, _ = extractDefault(rest)
        if hasattr(classtype, name):
            default = Default(getattr(classtype, name))
        parameters[name] = ParameterInfo(name, serializer, default or Default(serializer.default()), annotated)
        setattr(classtype, name, _member(name))
    for name in RESERVED:
        if hasattr(classtype, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    methods = {name: value for name, value in vars(_Wrapper).items() if name in RESERVED or name.startswith("_host_")}
    for name, value in methods.items():
        setattr(classtype, name, value)
    classtype.allParameters = parameters
    classtype._is_parameter_node_wrapper = True
    classtype.__init__ = _Wrapper.__init__
    return classtype


def _member(name: str) -> property:
    return property(lambda self: self._host_read(name), lambda self, value: self._host_write(name, value))


class _Wrapper:
    """The methods that a wrapped class gets."""

    allParameters: typing.ClassVar[dict[str, ParameterInfo]]

    def __init__(self, parameterNode, prefix: str | None = None):
        self.parameterNode = parameterNode
        self._host_prefix = prefix or ""
        self._host_guis: dict[int, dict[str, GuiConnector]] = {}
        self._host_observers: dict[int, int] = {}
        self._host_updating = False
        for name in self.allParameters:
            self._host_fill(name)

    def _host_fill(self, name: str) -> None:
        info = self.allParameters[name]
        if not info.serializer.isIn(self.parameterNode, self._host_prefix + name):
            info.serializer.write(self.parameterNode, self._host_prefix + name, info.default.value)

    def _host_read(self, name: str) -> Any:
        self._host_fill(name)
        return self.allParameters[name].serializer.read(self.parameterNode, self._host_prefix + name)

    def _host_write(self, name: str, value: Any) -> None:
        self.allParameters[name].serializer.write(self.parameterNode, self._host_prefix + name, value)

    @classmethod
    def _host_check(cls, name: str) -> None:
        if name not in cls.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}; there are {list(cls.allParameters)}")

    def default(self, paramName: str):
        self._host_check(paramName)
        return self.allParameters[paramName].default

    def isCached(self, paramName: str):
        self._host_check(paramName)
        return True

    @classmethod
    def dataType(cls, membername):
        cls._host_check(membername)
        return cls.allParameters[membername].unalteredType

    def getValue(self, name):
        self._host_check(name)
        return self._host_read(name)

    def setValue(self, name, value):
        self._host_check(name)
        self._host_write(name, value)

    def connectGui(self, gui):
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if is_widget else list(gui.__dict__.values())
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping):
        for name in mapping:
            self._host_check(name)
        connectors = {
            name: value if isinstance(value, GuiConnector) else createGuiConnector(value, self.dataType(name))
            for name, value in mapping.items()
        }
        tag = max(self._host_guis, default=-1) + 1
        self._host_guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._host_callback(name, connector))
        self._host_observers[tag] = self.parameterNode.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda caller, event: _update(self)
        )
        return tag

    def _host_callback(self, name: str, connector: GuiConnector) -> Any:
        def callback() -> None:
            if not self._host_updating:
                with NodeModify(self):
                    self.setValue(name, connector.read())

        return callback

    def disconnectGui(self, guiTag):
        for connector in self._host_guis.pop(guiTag, {}).values():
            connector.onChanged(None)
        if guiTag in self._host_observers:
            self.parameterNode.RemoveObserver(self._host_observers.pop(guiTag))

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        return self.parameterNode.Modified()


def _update(wrapper: Any) -> None:
    """Show the parameters' values in the widgets."""
    if wrapper._host_updating:
        return
    wrapper._host_updating = True
    try:
        with NodeModify(wrapper):
            for connectors in list(wrapper._host_guis.values()):
                for name, connector in connectors.items():
                    connector.write(wrapper.getValue(name))
    finally:
        wrapper._host_updating = False

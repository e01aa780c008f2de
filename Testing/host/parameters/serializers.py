"""How values lie in a ``vtkMRMLScriptedModuleNode``: the same strings and references as Slicer writes."""

from __future__ import annotations

import abc
import enum
import pathlib
from typing import Any

import slicer

from .annotations import IsInstance, NotNone, extractValidators, splitAnnotations

_registered: list[type[Serializer]] = []


class Serializer(abc.ABC):
    """Reads and writes values of one type."""

    @staticmethod
    @abc.abstractmethod
    def canSerialize(type_) -> bool:
        """Whether it handles a type."""

    @staticmethod
    @abc.abstractmethod
    def create(type_):
        """A serializer for a type."""

    @abc.abstractmethod
    def default(self):
        """The value of a parameter without another default."""

    def isIn(self, parameterNode, name: str) -> bool:
        """Whether the node has the parameter."""
        return parameterNode.HasParameter(name)

    @abc.abstractmethod
    def write(self, parameterNode, name: str, value) -> None:
        """Write a value."""

    @abc.abstractmethod
    def read(self, parameterNode, name: str):
        """Read a value."""

    def remove(self, parameterNode, name: str) -> None:
        """Take the parameter out of the node."""
        parameterNode.UnsetParameter(name)


class ValidatedSerializer(Serializer):
    """Validates before another serializer writes."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return False

    @staticmethod
    def create(type_):
        raise TypeError("ValidatedSerializer is made around another serializer")

    def __init__(self, serializer, validators):
        inner = isinstance(serializer, ValidatedSerializer)
        self.serializer = serializer.serializer if inner else serializer
        self.validators = [*(serializer.validators if inner else []), *(validators or [])]

    def default(self):
        return self.serializer.default()

    def isIn(self, parameterNode, name):
        return self.serializer.isIn(parameterNode, name)

    def validate(self, value):
        for validator in self.validators:
            validator.validate(value)

    def write(self, parameterNode, name, value):
        self.validate(value)
        self.serializer.write(parameterNode, name, value)

    def read(self, parameterNode, name):
        return self.serializer.read(parameterNode, name)

    def remove(self, parameterNode, name):
        self.serializer.remove(parameterNode, name)


def parameterNodeSerializer(classtype=None):
    """Registers a serializer."""

    def register(cls: type[Serializer]) -> type[Serializer]:
        _registered.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def createSerializer(type_, annotations):
    """(a serializer that validates, the annotations that are left)."""
    validators, rest = extractValidators(annotations)
    given = [item for item in rest if isinstance(item, Serializer)]
    serializer = given[0] if given else _serializer_for(type_)
    return ValidatedSerializer(serializer, validators), [item for item in rest if item not in given]


def _serializer_for(type_: Any) -> Serializer:
    for kind in _registered:
        if kind.canSerialize(type_):
            return kind.create(type_)
    raise TypeError(f"Unable to create serializer for type: {type_}")


def createSerializerFromAnnotatedType(annotatedType):
    """A serializer for a type that may be annotated."""
    return createSerializer(*splitAnnotations(annotatedType))[0]


@parameterNodeSerializer
class NumberSerializer(Serializer):
    """int and float."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ in (int, float)

    @staticmethod
    def create(type_):
        accepted = (int, float) if type_ is float else int
        return ValidatedSerializer(NumberSerializer(type_), [NotNone(), IsInstance(accepted)])

    def __init__(self, type):  # noqa: A002
        self.type = type

    def default(self):
        return 0

    def write(self, parameterNode, name: str, value) -> None:
        parameterNode.SetParameter(name, str(value))

    def read(self, parameterNode, name: str):
        return self.type(parameterNode.GetParameter(name))


@parameterNodeSerializer
class StringSerializer(Serializer):
    """str."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is str

    @staticmethod
    def create(type_):
        return ValidatedSerializer(StringSerializer(), [NotNone(), IsInstance(type_)])

    def default(self):
        return ""

    def write(self, parameterNode, name: str, value) -> None:
        parameterNode.SetParameter(name, value)

    def read(self, parameterNode, name: str):
        return parameterNode.GetParameter(name)


@parameterNodeSerializer
class PathSerializer(Serializer):
    """The classes of pathlib."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return isinstance(type_, type) and issubclass(type_, pathlib.PurePath)

    @staticmethod
    def create(type_):
        return ValidatedSerializer(PathSerializer(type_), [NotNone(), IsInstance(type_)])

    def __init__(self, pathtype):
        self.type = pathtype

    def default(self):
        return self.type()

    def write(self, parameterNode, name: str, value) -> None:
        parameterNode.SetParameter(name, str(value))

    def read(self, parameterNode, name: str):
        return self.type(parameterNode.GetParameter(name))


@parameterNodeSerializer
class BoolSerializer(Serializer):
    """bool."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is bool

    @staticmethod
    def create(type_):
        return ValidatedSerializer(BoolSerializer(), [NotNone(), IsInstance(type_)])

    def default(self):
        return False

    def write(self, parameterNode, name: str, value: bool) -> None:
        parameterNode.SetParameter(name, "True" if value else "False")

    def read(self, parameterNode, name: str) -> bool:
        return parameterNode.GetParameter(name) == "True"


@parameterNodeSerializer
class EnumSerializer(Serializer):
    """Enumerations, by the name of the member."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return isinstance(type_, type) and issubclass(type_, enum.Enum)

    @staticmethod
    def create(type_):
        return ValidatedSerializer(EnumSerializer(type_), [NotNone(), IsInstance(type_)])

    def __init__(self, enum_):
        self._enum = enum_

    def default(self):
        return next(iter(self._enum))

    def write(self, parameterNode, name: str, value) -> None:
        parameterNode.SetParameter(name, value.name)

    def read(self, parameterNode, name: str):
        return self._enum[parameterNode.GetParameter(name)]


@parameterNodeSerializer
class NodeSerializer(Serializer):
    """Nodes, as references, beside an empty parameter that says there is a value."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode)

    @staticmethod
    def create(type_):
        return ValidatedSerializer(NodeSerializer(), [IsInstance(type_)])

    def default(self):
        return None

    def write(self, parameterNode, name: str, value: slicer.vtkMRMLNode) -> None:
        parameterNode.SetParameter(name, "")
        parameterNode.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, parameterNode, name) -> slicer.vtkMRMLNode:
        return parameterNode.GetNodeReference(name)

    def remove(self, parameterNode, name) -> None:
        parameterNode.UnsetParameter(name)
        parameterNode.RemoveNodeReferenceIDs(name)

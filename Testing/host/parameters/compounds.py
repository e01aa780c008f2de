"""Lists and unions in a parameter node."""

from __future__ import annotations

import collections.abc
import typing
from typing import Any

from slicer.util import NodeModify

from .annotations import IsNone
from .serializers import (
    Serializer,
    ValidatedSerializer,
    createSerializerFromAnnotatedType,
    parameterNodeSerializer,
)


class ObservedList(collections.abc.MutableSequence):
    """A list that writes itself to the parameter node when it is changed."""

    def __init__(self, parameterNode, listSerializer, name, startingValue):
        self._parameterNode = parameterNode
        self._serializer = listSerializer
        self._name = name
        self._list = startingValue

    def _save(self) -> None:
        try:
            self._serializer.write(self._parameterNode, self._name, self._list)
        finally:
            self._list = self._serializer.read(self._parameterNode, self._name)._list

    def __repr__(self) -> str:
        return f"ObservedList({self._list})"

    def __eq__(self, other: object) -> bool:
        return self._list == (other._list if isinstance(other, ObservedList) else other)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._list)

    def __getitem__(self, index):
        return self._list[index]

    def __setitem__(self, index, item) -> None:
        self._list[index] = item
        self._save()

    def __delitem__(self, index) -> None:
        del self._list[index]
        self._save()

    def __add__(self, other):
        raise NotImplementedError("a list of a parameter node takes += in Slicer, but not +")

    __radd__ = __add__

    def insert(self, index, item) -> None:
        self._list.insert(index, item)
        self._save()

    def sort(self, *args, **kwargs) -> None:
        self._list.sort(*args, **kwargs)
        self._save()


@parameterNodeSerializer
class ListSerializer(Serializer):
    """Lists of one type: ``name_len``, ``name_0``, ..."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return typing.get_origin(type_) is list

    @staticmethod
    def create(type_):
        return ListSerializer(createSerializerFromAnnotatedType(typing.get_args(type_)[0]))

    def __init__(self, elementTypeSerializer):
        self._element = elementTypeSerializer

    def default(self):
        return []

    def isIn(self, parameterNode, name: str) -> bool:
        return parameterNode.HasParameter(f"{name}_len")

    def _len(self, parameterNode: Any, name: str) -> int:
        return int(parameterNode.GetParameter(f"{name}_len")) if self.isIn(parameterNode, name) else 0

    def write(self, parameterNode, name: str, values) -> None:
        if isinstance(self._element, ValidatedSerializer):
            for value in values:
                self._element.validate(value)
        with NodeModify(parameterNode):
            before = self._len(parameterNode, name)
            for index, value in enumerate(values):
                self._element.write(parameterNode, f"{name}_{index}", value)
            for index in range(len(values), before):
                self._element.remove(parameterNode, f"{name}_{index}")
            parameterNode.SetParameter(f"{name}_len", str(len(values)))

    def read(self, parameterNode, name):
        count = self._len(parameterNode, name)
        values = [self._element.read(parameterNode, f"{name}_{index}") for index in range(count)]
        return ObservedList(parameterNode, self, name, values)

    def remove(self, parameterNode, name: str) -> None:
        with NodeModify(parameterNode):
            for index in range(self._len(parameterNode, name)):
                self._element.remove(parameterNode, f"{name}_{index}")
            parameterNode.UnsetParameter(f"{name}_len")


@parameterNodeSerializer
class UnionSerializer(Serializer):
    """``Optional[X]`` and ``Union[X, Y]``: ``name_0`` or ``name_1``, whichever type the value has."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return typing.get_origin(type_) is typing.Union

    @staticmethod
    def create(type_):
        kinds = [kind for kind in typing.get_args(type_) if kind is not type(None)]
        none = [ValidatedSerializer(NoneSerializer(), [IsNone()])] if len(kinds) < len(typing.get_args(type_)) else []
        return UnionSerializer([createSerializerFromAnnotatedType(kind) for kind in kinds] + none)

    def __init__(self, serializers):
        self._serializers = [ValidatedSerializer(one, []) for one in serializers]

    def default(self):
        last = self._serializers[-1].serializer
        optional = len(self._serializers) == 2 and isinstance(last, NoneSerializer)
        return None if optional else self._serializers[0].default()

    def _index(self, parameterNode: Any, name: str) -> int | None:
        found = (i for i, one in enumerate(self._serializers) if one.isIn(parameterNode, f"{name}_{i}"))
        return next(found, None)

    def isIn(self, parameterNode, name: str) -> bool:
        return self._index(parameterNode, name) is not None

    def write(self, parameterNode, name: str, value) -> None:
        for index, one in enumerate(self._serializers):
            if one.serializer.canSerialize(type(value)):
                one.validate(value)
                with NodeModify(parameterNode):
                    self.remove(parameterNode, name)
                    one.write(parameterNode, f"{name}_{index}", value)
                return
        raise TypeError(f"Unable to write value '{value}' of type '{type(value)}'")

    def read(self, parameterNode, name: str):
        index = self._index(parameterNode, name)
        return None if index is None else self._serializers[index].read(parameterNode, f"{name}_{index}")

    def remove(self, parameterNode, name: str) -> None:
        for index, one in enumerate(self._serializers):
            one.remove(parameterNode, f"{name}_{index}")


class NoneSerializer(Serializer):
    """The None of ``Optional``."""

    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is type(None)

    @staticmethod
    def create(type_):
        return NoneSerializer()

    def default(self):
        return None

    def write(self, parameterNode, name: str, value) -> None:
        parameterNode.SetParameter(name, "True")

    def read(self, parameterNode, name: str):
        return None

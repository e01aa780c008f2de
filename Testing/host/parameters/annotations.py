"""What stands in ``Annotated[...]``: defaults, validators and hints for widgets, as in slicer.parameterNodeWrapper."""

from __future__ import annotations

import abc
import dataclasses
import typing
from typing import Annotated, Any

import slicer


def splitAnnotations(possiblyAnnotatedType):
    """(type, annotations) of a type that may be annotated."""
    first, *rest = typing.get_args(Annotated[possiblyAnnotatedType, None])
    return first, tuple(rest[:-1])


def unannotatedType(possiblyAnnotatedType):
    """The type alone."""
    return splitAnnotations(possiblyAnnotatedType)[0]


def findFirstAnnotation(annotationsList, annotationType):
    """The first annotation of a type, or None."""
    return next((item for item in annotationsList if isinstance(item, annotationType)), None)


def splitPossiblyDottedName(possiblyDottedName):
    """("box", "x.y") of "box.x.y"."""
    top, _, rest = possiblyDottedName.partition(".")
    return top, rest or None


def _nodeClasses(datatype: Any) -> list[type] | None:
    """The node classes of a node type or of a union of such; None for any other type."""
    kind = unannotatedType(datatype)
    kinds = typing.get_args(kind) if typing.get_origin(kind) is typing.Union else (kind,)
    kinds = [plain for plain in map(unannotatedType, kinds) if plain is not type(None)]
    is_node = [isinstance(plain, type) and issubclass(plain, slicer.vtkMRMLNode) for plain in kinds]
    return kinds if kinds and all(is_node) else None


def isNodeOrUnionOfNodes(datatype) -> bool:
    """Whether a type is a node's or a union of nodes'."""
    return _nodeClasses(datatype) is not None


def getNodeTypes(datatype):
    """Names of the node classes of a type."""
    kinds = _nodeClasses(datatype)
    if kinds is None:
        raise TypeError(f"Cannot handle type {datatype}")
    return tuple(kind.__name__ for kind in kinds)


class Default:
    """A default given as a value or made anew by a generator."""

    def __init__(self, value=None, *, generator=None):
        if value is not None and generator is not None:
            raise ValueError("A default has a value or a generator, not both")
        self._value = value
        self._generator = generator

    @property
    def value(self):
        """The default."""
        return self._generator() if self._generator is not None else self._value


def extractDefault(annotations):
    """(the default or None, the other annotations)."""
    defaults = [item for item in annotations if isinstance(item, Default)]
    if len(defaults) > 1:
        raise ValueError("There may be one default only")
    return (defaults[0] if defaults else None), [item for item in annotations if not isinstance(item, Default)]


@dataclasses.dataclass
class Decimals:
    """Decimals of a spin box or slider."""

    value: int


@dataclasses.dataclass
class SingleStep:
    """Step of a spin box or slider."""

    value: float | int


@dataclasses.dataclass
class Label:
    """Text of a widget that is made for a parameter."""

    value: str


class Validator(abc.ABC):
    """Refuses values."""

    @abc.abstractmethod
    def validate(self, value) -> None:
        """Raises ValueError or TypeError for a value that is refused."""


class IsNone(Validator):
    """Only None."""

    def validate(self, value) -> None:
        if value is not None:
            raise ValueError("only None is taken")


class NotNone(Validator):
    """Anything but None."""

    def validate(self, value) -> None:
        if value is None:
            raise ValueError("None is refused")


class IsInstance(Validator):
    """Instances of a class, and None."""

    def __init__(self, classtype):
        self.classtype = classtype

    def validate(self, value) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Value must be of type '{self.classtype}', is type '{type(value)}' value '{value}'")


class WithinRange(Validator):
    """From minimum to maximum, both included."""

    def __init__(self, minimum, maximum):
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(Validator):
    """Not below."""

    def __init__(self, minimum):
        self.minimum = minimum

    def validate(self, value) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must not be below {self.minimum}, is {value}")


class Maximum(Validator):
    """Not above."""

    def __init__(self, maximum):
        self.maximum = maximum

    def validate(self, value) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must not be above {self.maximum}, is {value}")


class Choice(Validator):
    """One of a list."""

    def __init__(self, choices):
        self.choices = choices

    def validate(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


class Exclude(Validator):
    """None of a list."""

    def __init__(self, excludedValues):
        self.excludedValues = excludedValues

    def validate(self, value) -> None:
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, but must not be one of {self.excludedValues}")


def extractValidators(annotations):
    """(the validators, the other annotations)."""
    is_one = [isinstance(item, Validator) for item in annotations]
    validators = [item for item, one in zip(annotations, is_one, strict=True) if one]
    return validators, [item for item, one in zip(annotations, is_one, strict=True) if not one]

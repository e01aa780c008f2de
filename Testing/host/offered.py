"""What Slicer's Python sees of a Qt class of Slicer or CTK, read from ``widgets.json``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent

ADDITIONS: dict[str, dict[str, list[str]]] = {
    # A virtual method of the C++ class that the extraction of widgets.json missed; slicer.util.getModuleLogic calls it.
    "qSlicerAbstractCoreModule": {"methods": ["vtkMRMLAbstractLogic* logic()"]},
    # Flags without Q_ENUM; Slicer's own Python modules use ctk.ctkPathLineEdit.Dirs and the like.
    "ctkPathLineEdit": {
        "enumerators": ["Dirs", "Executable", "Files", "Hidden", "NoDotAndDotDot", "Readable", "Writable"]
    },
}
"""What is missing in widgets.json though Slicer's own Python code uses it."""


@dataclass(frozen=True)
class Call:
    """One way to call a method: the types of its arguments and how many of them must be given."""

    name: str
    types: tuple[str, ...]
    required: int
    returns: str = ""

    @property
    def signature(self) -> str:
        """As ``QObject.connect`` takes it: without names, const and references."""
        return f"{self.name}({','.join(self.types)})"


@dataclass
class Offer:
    """Everything that a class offers, its bases in ``widgets.json`` included."""

    name: str
    qt_base: str
    properties: dict[str, str] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    signals: dict[str, list[Call]] = field(default_factory=dict)
    enumerators: set[str] = field(default_factory=set)

    def writable(self, name: str) -> bool:
        """Whether a property can be set."""
        return "(read-only)" not in self.properties[name]

    def names(self) -> set[str]:
        """All attributes."""
        return set(self.properties) | set(self.calls) | set(self.signals) | self.enumerators

    def signal(self, signature: str) -> Call | None:
        """The signal with a normalised signature."""
        return next((c for cs in self.signals.values() for c in cs if c.signature == signature), None)

    def slot(self, signature: str) -> Call | None:
        """The slot or method with a normalised signature."""
        return next((c for cs in self.calls.values() for c in cs if c.signature == signature), None)


@cache
def classes() -> dict[str, dict]:
    """The entries of the reduced ``widgets.json``."""
    return json.loads((HERE / "widgets.json").read_text(encoding="utf-8"))


@cache
def python_names(module: str) -> set[str]:
    """Functions and classes of one of Slicer's Python modules."""
    entry = json.loads((HERE / "python.json").read_text(encoding="utf-8"))[module]
    return {text.partition("(")[0] for text in entry.get("functions", [])} | set(entry.get("classes", {}))


@cache
def offer(name: str) -> Offer | None:
    """What the class of this name offers; None for a class that is not Slicer's or CTK's."""
    if name not in classes():
        return None
    chain = [name]
    while classes()[chain[-1]]["base"] in classes():
        chain.append(classes()[chain[-1]]["base"])
    found = Offer(name, classes()[chain[-1]]["base"])
    for link in reversed(chain):
        entry, more = classes()[link], ADDITIONS.get(link, {})
        found.properties |= entry.get("properties", {})
        for text in [
            *entry.get("slots", []),
            *entry.get("methods", []),
            *more.get("slots", []),
            *more.get("methods", []),
        ]:
            _add(found.calls, parse_call(text))
        for text in entry.get("signals", []):
            _add(found.signals, parse_call(text))
        for values in entry.get("enums", {}).values():
            found.enumerators |= set(values)
        found.enumerators |= set(entry.get("enums", {})) | set(more.get("enumerators", []))
    return found


def _add(calls: dict[str, list[Call]], call: Call) -> None:
    same = calls.setdefault(call.name, [])
    if call.signature not in [other.signature for other in same]:
        same.append(call)


def parse_call(text: str) -> Call:
    """A C++ declaration such as ``void setRange(double min, double max = 1)``.

    >>> parse_call("void setCurrentNode(const QString& nodeID)").signature
    'setCurrentNode(QString)'
    """
    before, _, rest = text.strip().partition("(")
    words = before.replace("*", "* ").split()
    arguments = _split(rest.rpartition(")")[0])
    types = tuple(normalised_type(argument.partition("=")[0]) for argument in arguments)
    return Call(words[-1], types, sum("=" not in argument for argument in arguments), "".join(words[:-1]))


def _split(arguments: str) -> list[str]:
    """Arguments at the commas that are not inside ``<>`` or ``()``."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def normalised_type(argument: str) -> str:
    """The type of a C++ argument without its name, const and reference.

    >>> normalised_type("const QString& nodeID"), normalised_type("vtkMRMLNode * node"), normalised_type("int")
    ('QString', 'vtkMRMLNode*', 'int')
    """
    text = re.sub(r"\bconst\b|&", " ", argument).strip()
    text = re.sub(r"\s*([*<>,])\s*", r"\1", text)
    match = re.fullmatch(r"((?:unsigned )?(?:long )*[\w:]+(?:<.*>)?\**)(?:\s*\w+)?", text)
    return match.group(1) if match else text


def normalised_signature(text: str) -> str:
    """``name(types)`` of a string given to ``connect``, spaces, names and const taken away."""
    return parse_call(text).signature

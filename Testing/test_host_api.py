"""The host offers what Slicer offers: its data are Slicer's, its functions have Slicer's signatures."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="needs PySide6")
pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")

from host.offered import ADDITIONS, classes, normalised_signature, offer, parse_call
from host.reduce import reduced_classes, reduced_modules

pytest_plugins = ["host.fixtures"]

HOST = Path(__file__).resolve().parent / "host"
PYTHON = json.loads((HOST / "python.json").read_text(encoding="utf-8"))


@pytest.fixture
def full() -> Path:
    """Slicer's API as data, beside the repository."""
    folder = Path(os.environ.get("AHNET_SHARED", HOST.parents[2] / "shared")) / "slicer-api"
    if not folder.is_dir():
        pytest.skip("there is no folder slicer-api; AHNET_SHARED names the one above it")
    return folder


@pytest.mark.parametrize(("name", "reduced"), [("widgets.json", reduced_classes), ("python.json", reduced_modules)])
def test_the_data_are_a_part_of_slicer_s(full: Path, name: str, reduced: Any) -> None:
    whole = json.loads((full / name).read_text(encoding="utf-8"))
    assert json.loads((HOST / name).read_text(encoding="utf-8")) == reduced(whole)


def plain(text: str) -> str:
    """A signature without spaces and quotes."""
    return re.sub(r"[\s'\"]", "", text)


def signature(name: str, function: Any) -> str:
    return plain(name + str(inspect.signature(function)))


@pytest.mark.parametrize("module", PYTHON)
def test_functions_have_slicer_s_signatures(slicer: Any, module: str) -> None:
    offered = importlib.import_module("SampleData" if module == "SampleData.SampleData" else module)
    compared = 0
    for text in PYTHON[module].get("functions", []):
        name = text.partition("(")[0]
        function = getattr(offered, name, None)
        if function is not None and function.__module__.startswith("host."):
            assert signature(name, function) == plain(text)
            compared += 1
    for name, entry in PYTHON[module].get("classes", {}).items():
        for text in entry["methods"]:
            method = vars(getattr(offered, name, object)).get(text.partition("(")[0])
            method = getattr(method, "__func__", method)
            if inspect.isfunction(method):
                assert signature(text.partition("(")[0], method) == plain(text), name
                compared += 1
    assert compared


@pytest.mark.parametrize("module", [f"slicer.{n}" for n in ("ScriptedLoadableModule", "i18n", "packaging", "testing")])
def test_nothing_is_missing(slicer: Any, module: str) -> None:
    offered = importlib.import_module(module)
    names = [text.partition("(")[0] for text in PYTHON[module].get("functions", [])]
    assert [name for name in names if not hasattr(offered, name)] == []
    for name, entry in PYTHON[module].get("classes", {}).items():
        methods = [text.partition("(")[0] for text in entry["methods"]]
        assert [method for method in methods if not hasattr(getattr(offered, name), method)] == []


def test_every_stand_in_is_a_class_of_slicer_on_its_qt_base(slicer: Any, ctk: Any) -> None:
    from host.metaobjects import qt_class

    stand_ins = [value for module in (slicer, ctk) for name, value in vars(module).items() if name[:1] in "qc"]
    checked = 0
    for cls in stand_ins:
        if isinstance(cls, type) and cls.__module__.startswith("host."):
            offers = offer(cls.__name__)
            assert offers is not None, cls
            base = qt_class(offers.qt_base)
            assert base is None or issubclass(cls, base), cls
            checked += 1
    assert checked > 20


def test_signals_and_properties_of_stand_ins_are_slicer_s(slicer: Any, ctk: Any) -> None:
    from host.pythonqt import stand_in

    for module in (slicer, ctk):
        for cls in vars(module).values():
            if isinstance(cls, type) and cls.__module__.startswith("host.") and stand_in(cls) is not None:
                offers = stand_in(cls)
                for link in cls.__mro__:
                    for name, value in vars(link).items() if link.__module__.startswith("host.") else ():
                        if isinstance(value, property) and not name.startswith("_"):
                            assert name in offers.properties, (cls, name)
                            assert value.fset is None or offers.writable(name), (cls, name)
                        if type(value).__name__ == "Signal":
                            assert name in offers.signals, (cls, name)


def test_what_is_added_to_the_data_is_not_in_them() -> None:
    for name, more in ADDITIONS.items():
        entry = classes()[name]
        for kind in ("slots", "methods"):
            assert not set(more.get(kind, [])) & set(entry.get(kind, []))


def test_declarations_are_read() -> None:
    call = parse_call("QList<vtkMRMLNode*> find(const QString& name, const QMap<int, QString>& more = {}, bool = true)")
    assert (call.name, call.required, call.returns) == ("find", 1, "QList<vtkMRMLNode*>")
    assert call.types == ("QString", "QMap<int,QString>", "bool")
    assert normalised_signature(" valueChanged( const QString &text )") == "valueChanged(QString)"
    assert normalised_signature("finished(int, QProcess::ExitStatus)") == "finished(int,QProcess::ExitStatus)"


def test_files_of_the_host_are_short() -> None:
    for path in HOST.glob("**/*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 400, path.name

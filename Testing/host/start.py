"""Puts the stand-ins where ``import qt, ctk, slicer`` finds them."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import vtk

HOSTED_LOGICS = {
    "Colors": "Colors",
    "Segmentations": "Segmentations",
    "SubjectHierarchy": "SubjectHierarchy",
    "Terminologies": "Terminologies",
    "Volumes": "Volumes",
    "Data": "Data",
    "Markups": "Markups",
    "VolumeRendering": "VolumeRendering",
}
"""Module of Slicer to the name of its logic in the application."""

errors: list[BaseException] = []
"""Exceptions that left a slot, a timer or an observer: printed and forgotten, as in Slicer. And errors of VTK."""


class VtkError(Exception):
    """What VTK reported in its output window."""


@contextmanager
def swallowed(kind: type[BaseException]) -> Iterator[list[BaseException]]:
    """For a test in which a slot raises: takes the exceptions of this kind out of ``errors``.

    Raises:
        AssertionError: there was none.
    """
    found: list[BaseException] = []
    before = len(errors)
    yield found
    found += [error for error in errors[before:] if isinstance(error, kind)]
    errors[before:] = [error for error in errors[before:] if not isinstance(error, kind)]
    assert found, f"no slot, timer or observer raised {kind.__name__}"


def start() -> Any:
    """Make the application, the scene and the modules; only the first call does anything. Returns ``slicer.app``.

    Raises:
        RuntimeError: there is a QApplication already that is not ours.
        ImportError: slicer-core, trame-slicer or PySide6 is not installed.
    """
    import slicer

    if hasattr(slicer, "app"):
        return slicer.app
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    keep_none()
    from PySide6 import QtWidgets

    from slicer_app import slicer_app

    if QtWidgets.QApplication.instance() is not None:
        raise RuntimeError("host.start() makes the QApplication; something else has made one")
    from . import application, dialogs, fonts, pythonqt

    pythonqt.install()
    app = application.qSlicerApplication(slicer_app())
    QtWidgets.QApplication.setStyle("Fusion")
    fonts.use(app)
    dialogs.replace_static_dialogs()
    slicer.app = app
    slicer.mrmlScene = app.mrmlScene()
    _install_qt()
    _install_slicer(slicer)
    app.open_main_window()
    app.setQuitOnLastWindowClosed(False)
    _note_errors()
    return app


def keep_none() -> None:
    """Give None, True and False more references than PySide6 can take away.

    PySide6 6.12 is built for Pythons that do not count their references (3.12 and later). On 3.10 and 3.11 each of its
    calls that returns None takes one away, and after some thousand calls Python aborts: "deallocating None".
    """
    if sys.version_info < (3, 12):
        import ctypes

        for value in (None, True, False):
            ctypes.c_ssize_t.from_address(id(value)).value += 1 << 40


def _module(name: str, members: dict[str, Any]) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    return module


def _install_qt() -> None:
    from . import qtmodule
    from .widgets import ctk_basics, ctk_combos, ctk_numbers, ctk_paths, segments

    sys.modules["qt"] = qtmodule.make()
    ctk_basics.tell_sections()
    sources = (ctk_basics, ctk_combos, ctk_numbers, ctk_paths, segments)
    _module(
        "ctk", {name: value for source in sources for name, value in vars(source).items() if name.startswith("ctk")}
    )


def _install_slicer(slicer: Any) -> None:
    from . import application, files, modules, pythonmodules, sampledata, uifile
    from .widgets import nodes, segments, views

    for source in (application, files, modules, nodes, segments, views):
        for name, value in vars(source).items():
            if name.startswith(("qMRML", "qSlicer")):
                setattr(slicer, name, value)
    for name, value in list(vars(slicer).items()):
        if name in vars(slicer.util) and value is vars(slicer.util)[name] and not name.startswith(("_", "vtk")):
            delattr(slicer, name)  # slicer-core has slicer.util's functions in slicer, too; Slicer has not
    slicer.util.loadUI = uifile.loadUI
    slicer.util.pip_install = pythonmodules.util_pip_install
    slicer.util.pip_uninstall = pythonmodules.util_pip_uninstall
    _sub_module(slicer, "i18n", {f.__name__: f for f in pythonmodules.I18N})
    _sub_module(slicer, "testing", {f.__name__: f for f in pythonmodules.TESTING})
    _sub_module(slicer, "packaging", {f.__name__: f for f in pythonmodules.PACKAGING})
    _sub_module(slicer, "modules", {})
    _sub_module(slicer, "moduleNames", {})
    sys.modules["SampleData"] = sampledata
    _install_modules(slicer)
    from . import parameters, scripted
    from .parameters import annotations, connectors, serializers, wrapper

    for name, module in (("parameterNodeWrapper", parameters), ("ScriptedLoadableModule", scripted)):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    for name, module in (("validators", annotations), ("default", annotations), ("util", annotations)):
        sys.modules[f"slicer.parameterNodeWrapper.{name}"] = module
    for name, module in (("guiConnectors", connectors), ("serializers", serializers), ("wrapper", wrapper)):
        sys.modules[f"slicer.parameterNodeWrapper.{name}"] = module


def _sub_module(slicer: Any, name: str, members: dict[str, Any]) -> None:
    setattr(slicer, name, _module(f"slicer.{name}", members))


def _install_modules(slicer: Any) -> None:
    """Slicer's own modules whose logic slicer-core has."""
    from .modules import qSlicerLoadableModule

    for name, logic_name in HOSTED_LOGICS.items():
        logic = slicer.app.moduleLogic(logic_name)
        module = qSlicerLoadableModule(name, logic=logic)
        setattr(slicer.modules, name.lower(), module)
        setattr(slicer.moduleNames, name, name)
        slicer.app.manager.modules[name] = module


def _note_errors() -> None:
    """Keep what Qt and VTK print of exceptions in slots and observers, and VTK's own errors."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        errors.append(error)
        before(kind, error, trace)

    @vtk.calldata_type(vtk.VTK_STRING)
    def note(caller: Any, event: str, text: str) -> None:
        errors.append(VtkError(text))

    sys.excepthook = hook
    vtk.vtkOutputWindow.GetInstance().AddObserver("ErrorEvent", note)

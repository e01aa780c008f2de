"""Slicer's own Python modules that slicer-core lacks: i18n, packaging, testing, SampleData."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.requirements import Requirement

installations: list[tuple[str, list[str]]] = []
"""(function, requirements) of everything that was asked of pip; nothing is installed."""


def translate(context, text):
    """slicer.i18n's: there are no translations here."""
    from slicer import app

    return app.translate(context, text)


def getContext(sourceFile):
    """slicer.i18n's: ``Package.File`` inside a package, ``File`` elsewhere."""
    path = Path(sourceFile)
    return f"{path.parent.name}.{path.stem}" if (path.parent / "__init__.py").is_file() else path.stem


def tr(text):
    """slicer.i18n's: takes a text, no f-string made at run time is found by Slicer's tools."""
    if not isinstance(text, str):
        raise TypeError(f"_() takes a text, not {type(text).__name__}")
    return text


def exitSuccess():
    """slicer.testing's."""


def exitFailure(message=""):
    """slicer.testing's."""
    raise Exception(message)


def runUnitTest(path, testname):
    """slicer.testing's: as ctest runs a module's tests, method by method; ``runTest`` is not called."""
    import sys

    sys.path.extend([path] if isinstance(path, str) else path)
    suite = unittest.TestLoader().loadTestsFromName(testname)
    if not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful():
        exitFailure()


def _names(requirements: Any) -> list[str]:
    return [str(one) for one in (requirements if isinstance(requirements, (list, tuple)) else [requirements])]


def _requirement_class() -> Any:
    from packaging.requirements import Requirement

    return Requirement


def load_requirements(path: str | Path) -> list[Requirement]:
    """slicer.packaging's: the lines of a requirements.txt."""
    lines = [line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [_requirement_class()(line) for line in lines if line]


def load_pyproject_dependencies(path: str | Path) -> list[Requirement]:
    """slicer.packaging's; not needed so far."""
    raise NotImplementedError("slicer.packaging.load_pyproject_dependencies exists in Slicer; Testing/host lacks it")


def pip_check(
    req: str | Requirement | list[str | Requirement], _seen: set[tuple[str, frozenset[str]]] | None = None
) -> bool:
    """slicer.packaging's: whether the requirements are met in this Python."""
    from importlib.metadata import PackageNotFoundError, version

    for text in _names(req):
        requirement = _requirement_class()(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            if not requirement.specifier.contains(version(requirement.name), prereleases=True):
                return False
        except PackageNotFoundError:
            return False
    return True


def isPipInstallInProgress() -> bool:
    """slicer.packaging's."""
    return False


def pip_ensure(
    requirements: str | Requirement | list[str | Requirement],
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """slicer.packaging's; noted in ``host.installations``."""
    installations.append(("pip_ensure", _names(requirements)))
    return []


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    """slicer.packaging's; noted in ``host.installations``."""
    installations.append(("pip_install", _names(requirements)))
    return []


def pip_uninstall(
    requirements: str | list[str],
    blocking: bool = True,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> None:
    """slicer.packaging's; noted in ``host.installations``."""
    installations.append(("pip_uninstall", _names(requirements)))


def util_pip_install(requirements, **kwargs):
    """slicer.util.pip_install; noted in ``host.installations``."""
    installations.append(("pip_install", _names(requirements)))


def util_pip_uninstall(requirements, **kwargs):
    """slicer.util.pip_uninstall; noted in ``host.installations``."""
    installations.append(("pip_uninstall", _names(requirements)))


I18N = (translate, getContext, tr)
TESTING = (exitSuccess, exitFailure, runUnitTest)
PACKAGING = (
    load_requirements,
    load_pyproject_dependencies,
    pip_check,
    isPipInstallInProgress,
    pip_ensure,
    pip_install,
    pip_uninstall,
)

"""Everything that the extension needs is named to CMake, lands beside the module script, and fits Slicer's index."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MODULE = REPOSITORY / "AHNetSegment"
ROOT_CMAKE = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
MODULE_CMAKE = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
ENTRY = REPOSITORY / "Testing" / "index" / "AHNetSegment.json"
HOMEPAGE = "https://github.com/AHNetSegment/SlicerAHNetSegment"
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
FOR_WEB_PAGES = "Resources/Screenshots/"

# Of scripts/check_description_files.py in Slicer/ExtensionsIndex: the most common of its categories.
CATEGORIES = {"Segmentation", "Cardiac", "Neuroimaging", "Quantification", "Analysis", "Utilities", "Examples"}

# Slicer's macros as far as the extension uses them: scripts keep their path below the build tree's module folder, and
# that folder is what the package holds.
SLICER_CONFIG = """
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/CPack.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.12/qt-scripted-modules)
"""
USE_SLICER = """
option(BUILD_TESTING "" ON)
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT MY_NAME OR NOT MY_WITH_GENERIC_TESTS)
    message(FATAL_ERROR "wrong arguments: ${ARGN}")
  endif()
  set(copies)
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "nonexistent file '${file}'")
    endif()
    set(copy ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/${file})
    add_custom_command(OUTPUT ${copy} DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_SOURCE_DIR}/${file} ${copy})
    list(APPEND copies ${copy})
  endforeach()
  add_custom_target(Copy${MY_NAME}PythonScriptFiles ALL DEPENDS ${copies})
  install(DIRECTORY ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/
    DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR} COMPONENT RuntimeLibraries USE_SOURCE_PERMISSIONS)
endmacro()
function(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT})
    message(FATAL_ERROR "wrong arguments: ${ARGN}")
  endif()
  message(STATUS "unit test ${MY_SCRIPT}")
endfunction()
"""
CPACK = """
foreach(name IN ITEMS EXTENSION_README_FILE EXTENSION_LICENSE_FILE)
  if(NOT EXISTS ${${name}})
    message(FATAL_ERROR "${name} points to an inexistent file: ${${name}}")
  endif()
endforeach()
"""


def named(variable: str) -> list[str]:
    """The entries of a list in the module's CMakeLists.txt."""
    found = re.search(rf"set\({variable}\n(.*?)\n?  \)", MODULE_CMAKE, re.DOTALL)
    assert found, f"set({variable} ...) is missing in {MODULE / 'CMakeLists.txt'}"
    return found[1].split()


def present(folder: Path, base: Path, pattern: str) -> list[str]:
    paths = (path for path in folder.rglob(pattern) if path.is_file() and not path.name.startswith("."))
    return sorted(path.relative_to(base).as_posix() for path in paths if "__pycache__" not in path.parts)


def shipped_resources() -> list[str]:
    files = present(REPOSITORY / "Resources", REPOSITORY, "*")
    return [name for name in files if not name.startswith(FOR_WEB_PAGES)]


def setting(name: str) -> str:
    """An EXTENSION_ setting as the index reads it: on one line, in quotes."""
    found = re.findall(rf'^set\({name} "([^"\n]+)"\)$', ROOT_CMAKE, re.MULTILINE)
    assert len(found) == 1, f"set({name} ...) must stand once in CMakeLists.txt, on one line"
    return str(found[0])


def repository_file(url: str) -> Path:
    start = f"{HOMEPAGE}/raw/main/"
    assert url.startswith(start), f"{url} must begin with {start}"
    return REPOSITORY / url.removeprefix(start)


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n", f"{path} is no PNG"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


@pytest.mark.parametrize(
    ("variable", "base", "wanted"),
    [
        ("MODULE_PYTHON_SCRIPTS", MODULE, lambda: present(MODULE, MODULE, "*.py")),
        ("MODULE_PYTHON_RESOURCES", REPOSITORY, shipped_resources),
    ],
    ids=["scripts", "resources"],
)
def test_every_file_is_named_to_cmake_and_every_named_file_is_there(variable: str, base: Path, wanted: Any) -> None:
    names, files = named(variable), wanted()
    missing = "\n".join(f"  {name}" for name in files if name not in names)
    assert not missing, f"add to set({variable} in AHNetSegment/CMakeLists.txt:\n{missing}"
    gone = [name for name in names if name not in files or not (base / name).is_file()]
    assert not gone, f"remove from set({variable} in AHNetSegment/CMakeLists.txt: {gone}"
    assert len(set(names)) == len(names)


def test_only_what_a_person_runs_and_the_packages_lie_in_the_module_folder() -> None:
    assert present(MODULE, MODULE, "*.py")[0] == "AHNetSegment.py"
    assert [path.name for path in MODULE.glob("*.py")] == ["AHNetSegment.py"]  # Slicer takes each one for a module
    for folder in (path for path in (MODULE / "AHNetSegmentLib").rglob("*") if path.is_dir()):
        assert folder.name == "__pycache__" or (folder / "__init__.py").is_file(), f"{folder} is no package"


def test_the_settings_are_what_the_index_asks_for() -> None:
    assert re.findall(r"project\s*\(\s*([^\s\)]+)", ROOT_CMAKE) == ["AHNetSegment"]
    assert not ENTRY.stem.lower().startswith("slicer")
    assert setting("EXTENSION_HOMEPAGE") == HOMEPAGE
    assert HOMEPAGE.rsplit("/", 1)[1].startswith("Slicer")
    assert setting("EXTENSION_CATEGORY") in CATEGORIES
    assert len(setting("EXTENSION_DESCRIPTION")) > 60
    for name in ("EXTENSION_CONTRIBUTORS", "EXTENSION_KEYWORDS"):
        assert setting(name)
    for name in re.findall(r"set\((EXTENSION_\w+)", ROOT_CMAKE):
        assert setting(name)
    assert (REPOSITORY / "LICENSE").is_file()


def test_icon_and_screenshots_are_pictures_of_this_repository() -> None:
    icon = repository_file(setting("EXTENSION_ICONURL"))
    assert icon == REPOSITORY / "Resources" / "Icons" / "AHNetSegment.png"
    assert png_size(icon) == (128, 128)
    assert icon.with_suffix(".svg").is_file()
    screenshots = [repository_file(url) for url in setting("EXTENSION_SCREENSHOTURLS").split(" ")]
    assert screenshots
    for path in screenshots:
        assert min(png_size(path)) > 300


def test_the_entry_for_the_index_agrees_with_the_settings() -> None:
    text = ENTRY.read_bytes()
    assert b"\r" not in text
    entry = json.loads(text)
    kinds = {
        "$schema": str,
        "build_dependencies": list,
        "build_subdirectory": str,
        "category": str,
        "dicom_support_rule": str,
        "enabled": bool,
        "scm_revision": str,
        "scm_type": str,
        "scm_url": str,
        "tier": int,
    }
    assert all(isinstance(value, kinds[key]) for key, value in entry.items())
    assert {"$schema", "category", "scm_url"} <= entry.keys()
    assert entry["$schema"] == SCHEMA
    assert entry["scm_url"] == HOMEPAGE
    assert entry["category"] == setting("EXTENSION_CATEGORY")
    assert entry["build_dependencies"] == setting("EXTENSION_DEPENDS").split(" ")
    assert entry["tier"] in (1, 3, 5)
    assert re.fullmatch(r"Modality == '\w+'( or Modality == '\w+')*", entry["dicom_support_rule"])


def test_pip_is_asked_for_nothing_that_slicer_or_the_pytorch_extension_brings() -> None:
    lines = (REPOSITORY / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]
    for line in wanted:
        name = re.split(r"[<>=!~; \[]", line)[0].lower()
        assert name not in {"torch", "torchvision", "numpy", "simpleitk", "vtk"}, f"{line} would change Slicer's own"
        assert not set("=<") & set(line.replace(">=", "")), f"{line}: lower bounds only"


def test_what_slicer_reads_at_start_up_imports_nothing_that_may_be_missing() -> None:
    allowed = {"slicer", "vtk", "qt", "ctk", "numpy", "SimpleITK", "AHNetSegmentLib", *sys.stdlib_module_names}
    for path in (MODULE / "AHNetSegment.py", MODULE / "AHNetSegmentLib" / "scene" / "sample_data.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").split(".")[0] in allowed, path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Module folders of the build tree and of the package, made by CMake with stand-ins for Slicer's macros."""
    tools = [shutil.which(name) for name in ("cmake", "make", "cc", "c++")]
    if None in tools:
        pytest.skip("needs cmake, make and a compiler")
    folder = tmp_path_factory.mktemp("cmake folder")
    slicer = folder / "slicer"
    slicer.mkdir()
    files = {"SlicerConfig": SLICER_CONFIG, "UseSlicer": USE_SLICER, "CPack": CPACK, "Nothing": ""}
    for name, text in files.items():
        (slicer / f"{name}.cmake").write_text(text, encoding="utf-8")
    tree, package = folder / "tree", folder / "package"
    for command in (
        ["cmake", "-G", "Unix Makefiles", "-S", REPOSITORY, "-B", tree, f"-DSlicer_DIR={slicer}"],
        ["cmake", "--build", tree],
        ["cmake", "--install", tree, "--prefix", package, "--component", "RuntimeLibraries"],
    ):
        done = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stderr.lower(), done.stderr
    modules = Path("lib", "Slicer-5.12", "qt-scripted-modules")
    return tree / modules, package / modules


@pytest.mark.parametrize("number", [0, 1], ids=["build tree", "package"])
def test_scripts_and_resources_land_side_by_side(built: tuple[Path, Path], number: int) -> None:
    found = present(built[number], built[number], "*")
    assert found == sorted(present(MODULE, MODULE, "*.py") + shipped_resources())
    for name in found:
        base = REPOSITORY if name.startswith("Resources/") else MODULE
        assert (built[number] / name).read_bytes() == (base / name).read_bytes()


@pytest.mark.parametrize("number", [0, 1], ids=["build tree", "package"])
def test_the_library_finds_its_models_beside_the_script(built: tuple[Path, Path], number: int) -> None:
    code = "from AHNetSegmentLib.engine.package import model_folders; print(*model_folders(), sep='\\n')"
    command = [sys.executable, "-B", "-c", code]
    done = subprocess.run(command, cwd=built[number], env={}, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    models = [Path(line) for line in done.stdout.splitlines()]
    assert models
    assert all(path.parent == built[number].resolve() / "Resources" / "Models" for path in models)


@pytest.mark.parametrize("with_category", [True, False], ids=["5.12", "5.10"])
def test_a_ct_and_an_mr_of_slicers_own_are_offered_as_sample_data(
    monkeypatch: pytest.MonkeyPatch, with_category: bool
) -> None:
    calls: list[dict[str, Any]] = []

    class Logic:
        @staticmethod
        def registerCustomSampleDataSource(**source: Any) -> None:
            calls.append(source)

        if with_category:

            @staticmethod
            def registerCustomSampleDataCategory(category: str, title: str) -> None:
                calls.append({"category": category, "title": title})

    names = ("slicer", "slicer.i18n", "SampleData")
    stand_ins = {name: types.ModuleType(name) for name in names}
    stand_ins["slicer.i18n"].tr = lambda text: text  # type: ignore[attr-defined]
    stand_ins["SampleData"].SampleDataLogic = Logic  # type: ignore[attr-defined]
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    name = "AHNetSegmentLib.scene.sample_data_with_stand_ins"
    spec = importlib.util.spec_from_file_location(name, MODULE / "AHNetSegmentLib" / "scene" / "sample_data.py")
    assert spec is not None
    assert spec.loader is not None
    sample_data = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, sample_data)
    spec.loader.exec_module(sample_data)
    sample_data.register_sample_data()
    if with_category:
        assert calls.pop(0) == {"category": "AHNetSegment", "title": "AHNetSegment"}
    assert [call["nodeNames"] for call in calls] == ["CTLiver", "MRHead"]
    for call in calls:
        digest = call["uris"].removeprefix("https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/")
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert call["checksums"] == f"SHA256:{digest}"
        assert call["fileNames"].endswith(".nrrd")
        assert png_size(Path(call["thumbnailFileName"])) == (260, 280)
    assert len({call["sampleName"] for call in calls} & {"CTLiver", "MRHead"}) == 0  # names of Slicer's own
    monkeypatch.setitem(sys.modules, "SampleData", None)
    sample_data.register_sample_data()

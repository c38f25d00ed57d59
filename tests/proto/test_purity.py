"""The core does no I/O, reads no clock and draws no randomness, and imports go one way.

The tests read the sources as syntax trees, so they also find imports inside functions.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Modules that do I/O, start threads, read clocks or draw randomness.
IMPURE = frozenset(
    {
        "anyio",
        "asyncio",
        "concurrent",
        "datetime",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "trio",
        "uuid",
    }
)
FRAMEWORKS = frozenset({"anyio", "asyncio", "trio"})


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Yield the top-level packages that a file imports anywhere, except by relative imports.

    An import by `__import__` or `import_module` yields "import_module".
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module is not None
            yield node.module.partition(".")[0]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and ast.unparse(node.func) in ("__import__", "import_module", "importlib.import_module")
        ):
            yield "import_module"


# The strategies need Hypothesis. They are an extra, and no other module of the core imports them.
CORE = [path for path in sources("nasq_proto") if path.parent.name != "strategies"]
TRANSPORTS = sources("nasq_transports")
COMMAND_LINE = sources("nasq/cli")
FACADE = [path for path in sources("nasq") if path not in COMMAND_LINE]


@pytest.mark.parametrize("files", [CORE, TRANSPORTS, FACADE], ids=["core", "transports", "facade"])
def test_each_package_has_sources_to_check(files: list[Path]) -> None:
    assert len(files) > 5


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_imports_the_standard_library_and_itself_only(path: Path) -> None:
    assert set(imports(path)) <= sys.stdlib_module_names | {"nasq_proto"}


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_imports_no_module_with_io_clocks_or_threads(path: Path) -> None:
    assert set(imports(path)) & IMPURE == set()


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_takes_randomness_as_an_argument(path: Path) -> None:
    """The core may use `random` only for the type `random.Random`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "random"
    }
    from_import = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "random"
        for alias in node.names
    }
    assert (used | from_import) <= {"Random"}


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_creates_no_unseeded_generator(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseeded = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("random.Random", "Random")
        and not node.args
    ]
    assert unseeded == []


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_does_not_call_open_print_input_exec_or_eval(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called & {"open", "print", "input", "exec", "eval"} == set()


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_contains_no_async_code(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    async_nodes = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, async_nodes)] == []


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_does_not_import_transports_or_the_facade(path: Path) -> None:
    assert set(imports(path)) & {"nasq", "nasq_transports", "nas_queue"} == set()


@pytest.mark.parametrize("path", TRANSPORTS, ids=name_of)
def test_transports_do_not_import_the_facade(path: Path) -> None:
    assert set(imports(path)) & {"nasq", "nas_queue"} == set()


MAY_IMPORT = {
    "nasq_transports/asyncio.py": {"asyncio"},
    "nasq_transports/dial.py": {"asyncio"},
    "nasq_transports/trio.py": {"trio"},
    "nasq_transports/detect.py": {"asyncio", "trio"},
}


@pytest.mark.parametrize("path", [*CORE, *TRANSPORTS, *FACADE], ids=name_of)
def test_a_framework_is_imported_in_its_own_transport_only(path: Path) -> None:
    # The command line is not checked: its demo and its bench run event loops.
    assert set(imports(path)) & FRAMEWORKS <= MAY_IMPORT.get(name_of(path), set())


@pytest.mark.parametrize("path", FACADE, ids=name_of)
def test_the_library_does_not_import_the_command_line(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.search(r"(?m)^\s*(from|import) (nasq)?\.cli\b", text) is None or (
        path.name == "__main__.py"
    )


@pytest.mark.parametrize("path", [*CORE, *TRANSPORTS, *FACADE, *COMMAND_LINE], ids=name_of)
def test_no_module_is_imported_with_import_module(path: Path) -> None:
    assert "import_module" not in set(imports(path))


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    # -S skips site-packages, whose .pth files may load modules.
    result = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize("module", ["asyncio", "trio", "anyio", "ssl", "click", "rich"])
def test_importing_nasq_does_not_load_heavy_modules(module: str) -> None:
    assert module not in loaded_by("from nasq import NASQueue")


def test_importing_the_command_line_does_not_load_the_library() -> None:
    loaded = loaded_by("import nasq.cli")
    assert {name for name in loaded if name.startswith("nasq")} == {"nasq", "nasq.cli"}


def test_every_public_name_is_available_although_it_is_loaded_on_demand() -> None:
    import nasq
    from nasq import _names

    assert set(dir(nasq)) >= set(_names.__all__) == set(nasq.__all__)
    assert all(getattr(nasq, name) is getattr(_names, name) for name in nasq.__all__)
    with pytest.raises(AttributeError, match="module 'nasq' has no attribute 'NASQeue'"):
        nasq.NASQeue  # noqa: B018 - the attribute access is tested


@pytest.mark.parametrize(
    "module",
    [
        "asyncio",
        "trio",
        "anyio",
        "ssl",
        "socket",
        "threading",
        "selectors",
        "logging",
        "hypothesis",
    ],
)
def test_importing_the_core_does_not_load_io_modules(module: str) -> None:
    assert module not in loaded_by("import nasq_proto")

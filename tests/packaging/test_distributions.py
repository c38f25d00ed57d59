"""The wheel, the sdist, and the wheel that is built from the sdist.

The tests need no network: the build uses the backend in this environment, and nasq needs no other
package for asyncio and blocking code.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

# Building and installing takes seconds, but a minute or more on a busy machine.
pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nasq", "nasq_proto", "nasq_transports", "nas_queue")
# If one of the packages were untyped, its names would be Any, and mypy would report the unused
# suppressions in this program.
PROGRAM = """\
import asyncio

import nas_queue
import nasq_proto
import nasq_transports
from nas_queue import NASQueue
from nasq import BlockingNASQueue, Message
from nasq.testing import MemoryServer


def text_of(message: Message | None) -> str:
    assert message is not None
    return message.text


async def main(host: str, port: int) -> str:
    async with NASQueue(host, port) as queue:
        await queue.push("a", "asyncio")
        return text_of(await queue.pop(timeout=10.0))


def mistakes(queue: NASQueue, encoder: nasq_proto.Client) -> None:
    queue.queue_size() + ""  # type: ignore[operator]
    nas_queue.NASQueue(port="4222")  # type: ignore[arg-type]
    encoder.publish(1)  # type: ignore[call-arg, arg-type]
    nasq_transports.running_transport(1)  # type: ignore[call-arg]


with MemoryServer() as server:
    print(asyncio.run(main(server.host, server.port)))
    with BlockingNASQueue(server.host, server.port) as blocking:
        blocking.push("a", "blocking")
        print(text_of(blocking.pop(timeout=10.0)))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command, and return its output. The test fails if its status is not 0."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(source: Path, kind: str, into: Path) -> Path:
    """Build an sdist or a wheel with the installed backend."""
    arguments = ("--no-isolation", f"--{kind}", "--outdir", into, source)
    run(sys.executable, "-m", "build", *arguments, cwd=into)
    (built,) = (path for path in into.iterdir() if path.suffix in (".whl", ".gz"))
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, built from this checkout."""
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in the sdist."""
    into = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(into, filter="data")
    (folder,) = into.iterdir()
    return folder


@pytest.fixture(scope="module", params=("checkout", "sdist"))
def wheel(
    request: pytest.FixtureRequest, unpacked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A wheel that is built from this checkout, and one that is built from the sdist."""
    source = ROOT if request.param == "checkout" else unpacked
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that contains only the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    arguments = ("install", "--quiet", "--no-index", "--no-deps", wheel)
    run(sys.executable, "-m", "pip", "--python", python, *arguments, cwd=folder)
    return python


def modules_of(folder: Path, package: str) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in (folder / package).rglob("*")
        if path.suffix in (".py", ".typed")
    }


def test_the_wheel_contains_every_module_and_the_markers_for_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    for package in PACKAGES[:-1]:
        wanted = modules_of(ROOT, package) - modules_of(ROOT, "nasq/nas_queue")
        assert wanted == {n for n in names if n.startswith(package + "/")}
    assert {n for n in names if n.startswith("nas_queue/")} == {
        "nas_queue/__init__.py",
        "nas_queue/py.typed",
    }
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_sdist_contains_every_file_of_the_repository(unpacked: Path) -> None:
    files = subprocess.run(
        ["git", "ls-files"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if files.returncode:
        pytest.skip("not a git checkout: its files can't be listed")
    wanted = {name for name in files.stdout.splitlines() if (ROOT / name).exists()}
    there = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
    assert wanted <= there
    assert not [name for name in there if name.endswith(".pyc")]
    assert (unpacked / ".ci" / "run").stat().st_mode & 0o100, ".ci/run can be started"


def test_the_metadata_lists_the_extras(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    lines = archive.read(name).decode().partition("\n\n")[0].splitlines()
    fields = [line.partition(": ")[::2] for line in lines]
    extras = {value for key, value in fields if key == "Provides-Extra"}
    needed = [value for key, value in fields if key == "Requires-Dist"]
    assert {"trio", "cli", "server", "nkeys", "websocket", "strategies", "fuzz", "all"} <= extras
    assert all("extra ==" in need for need in needed), "nasq itself needs nothing"
    strategies = [need for need in needed if need.endswith("extra == 'strategies'")]
    assert [need.split(">")[0] for need in strategies] == ["hypothesis"]


def test_a_program_is_type_checked_against_the_installed_wheel(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    options = ("--strict", "--config-file=", "--cache-dir", tmp_path / "cache")
    python = ("--python-executable", installed)
    said = run(sys.executable, "-m", "mypy", *options, *python, "program.py", cwd=tmp_path)
    assert said == "Success: no issues found in 1 source file\n"


def test_a_program_runs_on_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    assert run(installed, "-W", "error", "program.py", cwd=tmp_path) == "asyncio\nblocking\n"
    look = "import nasq, nas_queue; print(nasq.__file__, nasq.NASQueue is nas_queue.NASQueue)"
    file, same = run(installed, "-c", look, cwd=tmp_path).split()
    assert Path(file).is_relative_to(installed.parent.parent)
    assert same == "True"

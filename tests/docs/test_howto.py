"""The programs of the how-to pages, against a real server."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nasq import BlockingNASQueue
from nasq.server import LocalServer

from .pages import assert_prints, output_of, program
from .programs import Program, run

PYTEST = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
PYTEST += ["-c", os.devnull, "--rootdir", "."]


def shop(server: LocalServer) -> BlockingNASQueue:
    """A queue in the namespace that the programs use."""
    return BlockingNASQueue(server.host, server.port, namespace="shop")


# ---------------------------------------------------------------------- graceful shutdown


# More about these programs: tests/e2e/test_processes.py.
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "name", ["graceful_asyncio.py", "graceful_trio.py", "graceful_blocking.py"]
)
def test_a_graceful_worker_finishes_what_it_has_received(
    server: LocalServer, name: str, number: signal.Signals
) -> None:
    with Program(server, name, "localhost", "4222") as worker, shop(server) as queue:
        worker.wait_for("ready")
        queue.publish("orders", "first")
        for n in range(200):
            queue.publish("orders", f"{n}")
        worker.wait_for("done first")
        queue.flush()
        expected = "".join(f"done {n}\n" for n in range(200))
        assert worker.end(number) == "ready\ndone first\n" + expected


# ---------------------------------------------------------------------- trio, anyio


def test_three_trio_workers_share_the_jobs(server: LocalServer) -> None:
    assert_prints("trio_workers.py", run(server, "trio_workers.py"))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_anyio_workers_run_on_both_backends(server: LocalServer, backend: str) -> None:
    assert_prints("anyio_workers.py", run(server, "anyio_workers.py", backend))


# ---------------------------------------------------------------------- services


def test_two_instances_of_a_service_share_the_requests(server: LocalServer) -> None:
    with Program(server, "service.py", "one") as one, Program(server, "service.py", "two") as two:
        one.wait_for("ready")
        two.wait_for("ready")
        assert_prints("service_client.py", run(server, "service_client.py"))

        with shop(server) as queue:
            queue.publish("prices", {"item": "tea"})  # nobody waits for an answer
            replies = [queue.request("prices", {"item": "cup"}) for _ in range(30)]
            by = Counter(reply.headers["Served-By"] for reply in replies if reply.headers)
            assert set(by) == {"one", "two"}

            one.end(signal.SIGTERM)
            reply = queue.request("prices", {"item": "cup"})
            assert reply.headers == {"Served-By": "two"}
        two.end(signal.SIGINT)


def test_an_instance_that_is_stopped_answers_all_that_it_has(server: LocalServer) -> None:
    with (
        Program(server, "service.py", "one") as one,
        Program(server, "service.py", "two") as two,
        shop(server) as queue,
        ThreadPoolExecutor(20) as pool,
    ):
        one.wait_for("ready")
        two.wait_for("ready")
        requests = [pool.submit(queue.request, "prices", {"item": "tea"}) for _ in range(400)]
        requests[50].result()
        one.end(signal.SIGTERM)
        assert [future.result().json() for future in requests] == [{"price": 4.5}] * 400


# ---------------------------------------------------------------------- testing


def test_the_tests_of_the_page_about_tests_pass(server: LocalServer) -> None:
    assert program("orders.py").parent == program("test_orders.py").parent
    assert "53 passed" in run(server, "test_orders.py", command=PYTEST)


# ---------------------------------------------------------------------- FastAPI


def test_the_tests_of_the_fastapi_application_pass(server: LocalServer) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    assert "1 passed" in run(server, "test_fastapi_app.py", command=PYTEST)


def test_the_fastapi_application_under_uvicorn_works_on_what_it_has_and_ends(
    server: LocalServer,
) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "uvicorn", "fastapi_app:app", "--port", "0"]
    with Program(server, "fastapi_app.py", command=command) as web, shop(server) as queue:
        url = web.wait_for(r"running on (http://\S+)")[1]
        for number in range(20):
            request = urllib.request.Request(
                f"{url}/orders",
                json.dumps({"id": number, "item": "tea"}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=10.0) as answer:
                assert json.load(answer) == {"accepted": number}
        queue.publish("orders.new", "not JSON")
        web.wait_for("failed: <Message 'orders.new' 8 bytes b'not JSON'>")
        while len(done := get(f"{url}/orders/done")) < 20:
            pass
        assert done == list(range(20))
        web.end(signal.SIGTERM, status=-signal.SIGTERM)
        assert "Application shutdown complete" in web.output


def test_the_fastapi_application_ends_while_there_is_no_server() -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "uvicorn", "fastapi_app:app", "--port", "0"]
    with LocalServer() as server, Program(server, "fastapi_app.py", command=command) as web:
        url = web.wait_for(r"running on (http://\S+)")[1]
        assert get(f"{url}/health")["connected"]
        server.kill()
        while get(f"{url}/health")["connected"]:
            pass
        web.end(signal.SIGTERM, status=-signal.SIGTERM)
    assert "Application shutdown complete" in web.output
    assert "Traceback" not in web.output


# ---------------------------------------------------------------------- WSGI


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10.0) as answer:
        return json.load(answer)


@pytest.fixture
def orders_are_answered(server: LocalServer) -> Iterator[None]:
    """A worker that answers with the id of the process that asks."""

    def answer() -> None:
        for message in queue:
            queue.respond(message, f"for {message.json()['pid']}")

    with shop(server) as queue:
        queue.subscribe_and_queue("orders.new")
        thread = threading.Thread(target=answer)
        thread.start()
        yield
        queue.disconnect()
        thread.join()


@pytest.mark.usefixtures("orders_are_answered")
@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["", "preload"])
@pytest.mark.parametrize("name", ["wsgi_app.py", "django_app.py"])
def test_each_process_that_gunicorn_forks_has_a_queue(
    server: LocalServer, name: str, options: tuple[str, ...]
) -> None:
    pytest.importorskip("gunicorn")
    if name == "django_app.py":
        pytest.importorskip("django")
    assert program("wsgi_queue.py").parent == program(name).parent
    command = [sys.executable, "-m", "gunicorn", "--workers", "2", "--threads", "4"]
    command += ["--bind", "127.0.0.1:0", *options, f"{Path(name).stem}:application"]
    with Program(server, name, command=command) as web, ThreadPoolExecutor(8) as pool:
        url = web.wait_for(r"Listening at: (http://\S+)")[1] + "/orders/new"

        def ask(count: int) -> set[int]:
            """The ids of the processes that have answered."""
            answers = list(pool.map(get, [url] * count))
            assert all(one["reply"] == f"for {one['pid']}" for one in answers)
            return {one["pid"] for one in answers}

        pids = ask(200)
        while len(pids) < 2:
            pids |= ask(50)

        dead = pids.pop()
        os.kill(dead, signal.SIGKILL)
        web.wait_for(rf"{dead}\) was sent SIGKILL")
        while len(pids) < 2:
            pids |= ask(50)
        assert dead not in pids
        web.end(signal.SIGTERM)
        assert "Traceback" not in web.output


# ---------------------------------------------------------------------- notebooks


# Runs a notebook and prints, as JSON, what each cell shows.
JUPYTER = """
import json, sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=60).execute()
shown = [[output["data"]["text/plain"] for output in cell.outputs] for cell in notebook.cells]
print(json.dumps(["".join(texts) for texts in shown]))
"""
# The same in the shell that the terminal program `ipython` is made of, on one event loop.
IPYTHON = """
import asyncio, json, sys
from IPython.core.interactiveshell import InteractiveShell

async def main():
    shell = InteractiveShell.instance()
    shown = []
    for cell in json.load(open(sys.argv[1]))["cells"]:
        code = shell.transform_cell("".join(cell["source"]))
        result = (await shell.run_cell_async(code, transformed_cell=code)).result
        shown.append("" if result is None else repr(result))
    return shown

print("\\n" + json.dumps(asyncio.run(main())))
"""


@pytest.mark.parametrize(
    ("package", "code"), [("nbclient", JUPYTER), ("IPython", IPYTHON)], ids=["Jupyter", "IPython"]
)
def test_the_notebook_shows_what_its_page_says(
    server: LocalServer, package: str, code: str
) -> None:
    pytest.importorskip(package)
    command = [sys.executable, "-c", code, "notebook.ipynb"]
    with Program(server, "notebook.ipynb", command=command) as notebook:
        shown = json.loads(notebook.end().splitlines()[-1])
    assert shown[0] == "True"
    for number in (3, 6, 7):
        assert output_of(f"notebook.ipynb, cell {number}") == shown[number - 1] + "\n"

"""The tutorial, step by step, as its reader goes through it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from nasq.server import LocalServer

from .pages import assert_prints, output_of
from .programs import PATIENCE, Program, environment, run


def nasq(server: LocalServer, *arguments: str) -> str:
    """Run a command of the page, which names no server."""
    command = [sys.executable, "-m", "nasq", *arguments]
    return subprocess.run(
        command,
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout


def orders_done(*outputs: str) -> list[int]:
    """The numbers of the orders that the workers have done, in order."""
    return sorted(int(n) for text in outputs for n in re.findall(r"has done order (\d+)", text))


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nothing announces."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.02)


def stopped_is_told(output: str) -> bool:
    """Whether ann said that she has stopped; another thread may print in between."""
    return "annhasstopped" in re.sub(r"\s|Closed\(.*?\)", "", output)


def test_the_command_that_starts_the_server_prints_what_the_page_says(server: LocalServer) -> None:
    command = [sys.executable, "-m", "nasq", "serve", "--port", "0"]
    with Program(server, "push_pop.py", command=command) as serve:
        serve.wait_for("Press Ctrl-C to stop it.\n")
        # The page has the standard port, which another program may use.
        printed = re.sub(r" --server \S+", "", serve.output)
        assert re.sub(r"\d+", "7", printed) == re.sub(r"\d+", "7", output_of("nasq serve"))
        serve.end(signal.SIGTERM)


@pytest.mark.parametrize("name", ["push_pop.py", "push_pop_blocking.py"])
def test_push_and_pop(server: LocalServer, name: str) -> None:
    assert_prints("push_pop.py", run(server, name))


@pytest.mark.parametrize("name", ["subscriber.py", "subscriber_blocking.py"])
def test_a_subscriber_gets_what_the_producer_publishes(server: LocalServer, name: str) -> None:
    with Program(server, name) as subscriber:
        subscriber.wait_for("ready")
        assert_prints("producer.py", run(server, "producer.py"))
        subscriber.wait_for("'id': 6")
        assert_prints("subscriber.py", subscriber.output)

        nasq(server, "push", "orders.new", '{"id": 7}', "--namespace", "shop")
        subscriber.wait_for("got orders.new {'id': 7}")


def test_the_blocking_subscriber_ends_at_ctrl_c(server: LocalServer) -> None:
    with Program(server, "subscriber_blocking.py") as subscriber:
        subscriber.wait_for("ready")
        subscriber.end(signal.SIGINT, status=-signal.SIGINT)


def test_the_workers_of_a_queue_group_share_the_orders(server: LocalServer) -> None:
    with Program(server, "worker.py", "ann") as ann, Program(server, "worker.py", "bob") as bob:
        ann.wait_for("ann is ready")
        bob.wait_for("bob is ready")
        for _ in range(4):
            run(server, "producer.py")
        until(lambda: len(orders_done(ann.output, bob.output)) >= 24)
        assert orders_done(ann.output, bob.output) == sorted([1, 2, 3, 4, 5, 6] * 4)
        assert orders_done(ann.output)
        assert orders_done(bob.output)


def test_a_worker_goes_on_after_a_restart_of_the_server() -> None:
    with LocalServer() as server, Program(server, "worker.py", "ann") as ann:
        ann.wait_for("ann is ready")
        server.restart()
        ann.wait_for("Reconnected")
        run(server, "producer.py")
        ann.wait_for("order 6")
        assert_prints("worker.py", ann.output)


@pytest.mark.parametrize("name", ["pool_worker.py", "pool_worker_blocking.py"])
def test_the_pool_loses_no_order_whatever_dies(name: str) -> None:
    count = 40
    with (
        LocalServer() as server,
        Program(server, name, "ann") as ann,
        Program(server, "pool_worker.py", "bob") as bob,
        Program(server, "pool_worker_blocking.py", "cy") as cy,
    ):
        for worker, who in ((ann, "ann"), (bob, "bob"), (cy, "cy")):
            worker.wait_for(f"{who} is ready")
        with Program(server, "pool_producer.py", str(count)) as producer:
            producer.wait_for("done by bob")
            bob.kill()
            producer.wait_for("order 15:")
            server.restart()
            producer.wait_for("order 25: done")
            stopped = ann.end(signal.SIGTERM)
            printed = producer.end()

    # Blocking queues report events from their own thread: the order of the two lines is open.
    assert "Closed(error=None, unsent=0)" in stopped
    assert stopped_is_told(stopped)
    assert "Disconnected(error=ConnectionLostError(" in printed
    assert "Reconnected(" in printed
    assert printed.endswith("all orders are done\n")
    answered = [int(n) for n in re.findall(r"order (\d+): done by", printed)]
    assert sorted(answered) == list(range(1, count + 1))
    assert set(orders_done(ann.output, bob.output, cy.output)) == set(answered)


def test_a_pool_that_starts_before_its_server_waits_for_it() -> None:
    server = LocalServer()
    with server:
        pass  # now its port is known
    with (
        Program(server, "pool_worker.py", "ann") as ann,
        Program(server, "pool_producer.py", "3") as producer,
        server,
    ):
        assert producer.end().endswith("all orders are done\n")
    assert orders_done(ann.output) == [1, 2, 3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", ["pool_worker.py", "pool_worker_blocking.py"])
def test_a_worker_does_an_order_that_wants_no_answer_and_stops(
    server: LocalServer, name: str, number: signal.Signals
) -> None:
    with Program(server, name, "ann") as ann:
        ann.wait_for("ann is ready")
        nasq(server, "push", "orders.new", '{"id": 8}', "--namespace", "shop")
        ann.wait_for("ann has done order 8")
        assert stopped_is_told(ann.end(number))

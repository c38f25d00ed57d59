"""`nasq bench`: it prints every figure, and any failure ends it."""

from __future__ import annotations

import json
import re

import pytest

from nasq import BlockingNASQueue
from nasq.cli.bench import _BACKENDS
from nasq.cli.latency import counts, edges
from nasq.cli.measure import BACKENDS
from nasq.server import LocalServer

from .running import PATIENCE, nasq, running


def test_the_help_page_lists_all_backends() -> None:
    assert tuple(BACKENDS) == _BACKENDS


@pytest.mark.usefixtures("url")
def test_json() -> None:
    done = nasq("bench", "-m", "200", "-r", "50", "--size", "16", "--size", "0", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["messages"], report["requests"], report["concurrency"]) == (200, 50, 1)
    assert [(r["size"], r["backend"]) for r in report["results"]] == [
        (size, backend) for size in (16, 0) for backend in ("asyncio", "trio", "blocking")
    ]
    for result in report["results"]:
        for call in ("push", "push_many", "pop", "request"):
            assert result[f"{call}_rate"] > 0
        trip = result["round_trip"]
        assert list(trip) == ["p50", "p90", "p99", "p99.9", "max"]
        assert trip["p50"] > 0
        assert sorted(trip.values()) == list(trip.values())


@pytest.mark.parametrize("backend", ["asyncio", "trio", "blocking"])
def test_concurrent_requests(backend: str, url: str) -> None:
    done = nasq("bench", "-b", backend, "-m", "10", "-r", "37", "-c", "5", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["requests"], report["concurrency"]) == (37, 5)
    assert report["results"][0]["request_rate"] > 0


def test_tables_and_a_server_that_it_starts(nowhere: str) -> None:
    done = nasq("bench", "--messages", "100", "--requests", "20")
    assert done.returncode == 0, done.stderr
    assert f"100 messages, 20 requests (1 at a time), server at {nowhere}" in done.stdout
    for backend in ("asyncio", "trio", "blocking"):
        assert re.search(rf"{backend}(?: +[\d,]+){{4}} *\n", done.stdout)
        assert re.search(rf"{backend}(?: +[\d.]+ [mµ]?s){{5}} *\n", done.stdout)
    assert re.search(r"from +asyncio +trio +blocking", done.stdout)
    assert "█" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_payload_that_the_server_refuses(url: str) -> None:
    done = nasq("bench", "-b", "blocking", "-m", "1", "--size", "2000000")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "max_payload" in done.stderr


@pytest.mark.parametrize("backend", ["asyncio", "trio", "blocking"])
def test_a_server_that_dies_ends_it(backend: str) -> None:
    with LocalServer() as server, BlockingNASQueue(servers=[server.url]) as spy:
        spy.subscribe_and_queue("*.echo")
        arguments = ["bench", "-b", backend, "-m", "10", "-r", "1000000", "-s", server.url]
        with running(*arguments) as process:
            assert spy.pop(PATIENCE) is not None, "it sends requests"
            server.kill()
            _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert err.startswith("nasq: ")


@pytest.mark.parametrize("values", [[1e-6], [2e-5, 9.99e-5, 1e-4], [1.1e-4, 0.3, 2.5, 70.0]])
def test_a_histogram_counts_each_value_once(values: list[float]) -> None:
    bounds = edges(values[0], values[-1], 8)
    assert bounds[0] <= values[0]
    assert values[-1] < bounds[-1]
    assert 1 <= len(bounds) - 1 <= 9
    assert sum(counts(values, bounds)) == len(values)


def test_no_server_is_started_for_a_remote_address() -> None:
    done = nasq("bench", "-s", "nats://192.0.2.1:4222,nats://no.invalid")
    assert done.returncode == 1
    assert "one can be started on this machine only" in done.stderr

"""The keyword options: one list of names, defaults and documentation for both queues."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

import pytest

from nasq import (
    BlockingNASQueue,
    ConnectionOptions,
    InvalidOptionError,
    NASQueue,
    QueueOptions,
)
from nasq.options import ASYNC_QUEUE_DEFAULTS, QUEUE_DEFAULTS, AsyncQueueOptions

BOTH = pytest.mark.parametrize(
    ("queue", "defaults"),
    [(NASQueue, ASYNC_QUEUE_DEFAULTS), (BlockingNASQueue, QUEUE_DEFAULTS)],
)


def test_every_option_has_a_default() -> None:
    assert set(QueueOptions.__annotations__) == set(QUEUE_DEFAULTS)
    assert set(AsyncQueueOptions.__annotations__) == set(ASYNC_QUEUE_DEFAULTS)


def test_every_option_is_documented() -> None:
    documented = ""
    for kind in (ConnectionOptions, QueueOptions, AsyncQueueOptions):
        for line in (inspect.getdoc(kind) or "").splitlines():
            indent = len(line) - len(line.lstrip())
            documented += line.split(":")[0] + ", " if indent == 4 else ""
    assert set(ASYNC_QUEUE_DEFAULTS) <= set(documented.replace(" ", "").split(","))


@BOTH
def test_the_signature_lists_every_option_with_its_default(
    queue: type[Any], defaults: dict[str, object]
) -> None:
    parameters = inspect.signature(queue).parameters
    assert list(parameters) == ["host", "port", "namespace", *defaults]
    for name, default in defaults.items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default == default
    assert "max_messages=None" in pydoc.render_doc(queue)


@BOTH
def test_an_unknown_option_is_refused_with_a_near_name(
    queue: type[Any], defaults: dict[str, object]
) -> None:
    with pytest.raises(TypeError, match=r"^\w*NASQueue\(\) got .* 'max_mesages'; did you mean "):
        queue(max_mesages=3)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'qwerty'$"):
        queue(qwerty=3)


def test_a_blocking_queue_has_no_transport_option() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'transport'"):
        BlockingNASQueue(transport=None)  # type: ignore[call-arg]  # this error is tested


def test_type_checkers_know_the_options() -> None:
    options: QueueOptions = {"max_messages": 1, "overflow": "block"}
    assert "0 messages" in repr(BlockingNASQueue("localhost", **options))
    assert "0 messages" in repr(NASQueue("localhost", transport=None, **options))
    with pytest.raises(TypeError):
        NASQueue(max_mesages=1)  # type: ignore[call-arg]  # this error is tested
    with pytest.raises(InvalidOptionError):
        NASQueue(max_messages="1")  # type: ignore[arg-type]  # this error is tested


def test_a_subclass_keeps_the_signature_of_its_own_init() -> None:
    class Mine(NASQueue):
        def __init__(self, shop: str) -> None:
            super().__init__(namespace=shop)

    class Plain(NASQueue):
        pass

    assert list(inspect.signature(Mine).parameters) == ["shop"]
    assert "max_bytes" in inspect.signature(Plain).parameters
    assert "<Mine 'eu' " in repr(Mine("eu"))

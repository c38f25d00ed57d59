"""What a type checker knows of the public names: mypy reads this file with the rest."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_type

from nasq import BlockingNASQueue, Headers, Message, NASQueue, Notice, Payload


def test_each_key_of_a_message_has_its_type() -> None:
    message = Message.make(subject="a", message="x")
    assert_type(message["subject"], str)
    assert_type(message["message"], bytes)
    assert_type(message["headers"], Headers | None)
    assert_type(message["reply_to"], str | None)
    assert_type(message["timestamp"], datetime)
    assert_type(message.reply_error, str | None)
    for key in message:
        assert_type(message[key], Any)


def test_an_overflow_policy_that_there_is_not_is_an_error_of_types() -> None:
    def never_called() -> None:
        NASQueue(overflow="dropp")  # type: ignore[arg-type]  # what is tested
        BlockingNASQueue(overflow="dropp")  # type: ignore[arg-type]  # what is tested

    assert callable(never_called)


def test_no_namespace_is_a_type_of_its_own() -> None:
    assert_type(NASQueue(namespace=None).get_namespace(), str | None)


def test_the_types_of_callbacks_and_messages_can_be_named() -> None:
    def on_event(notice: Notice) -> None:
        """Take any notice."""

    payload: Payload = {"id": 7}
    assert Message.make(subject="a", message=payload).json() == payload
    NASQueue(on_event=on_event)

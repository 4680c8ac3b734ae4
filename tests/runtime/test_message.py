"""Declared messages: frozen, named once, and honest about what is secret and what is local."""

from __future__ import annotations

import msgspec
import pytest

from runtime import message as messages
from runtime.errors import ActorError
from runtime.message import Busy, EdgeFailed, Exited, Message, Started, Terminate, message_types, tag_of
from runtime.pid import PID
from runtime.transport.zeromq.handshake import session_codec
from tests.runtime.puppets import Do, Note


class AllocatorLike(Message, frozen=True, kw_only=True, tag="prefix.{}".format):
    """A base that gives its prefix."""


class Offer(AllocatorLike, frozen=True, kw_only=True):
    amount: int = 0


def test_a_message_is_known_by_its_tag_and_a_base_is_not() -> None:
    types = message_types()
    assert types["puppet.Note"] is Note
    assert types["prefix.Offer"] is Offer
    assert tag_of(Offer) == "prefix.Offer"
    assert AllocatorLike not in types.values()
    assert Message not in types.values()


def test_two_types_of_one_name_are_told_apart_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_declared", list(messages._declared))

    class Twin(Message, frozen=True, kw_only=True, tag="puppet.Note"):
        pass

    with pytest.raises(ActorError, match=r"two message types are called 'puppet.Note': tests.runtime.puppets and"):
        message_types()


def test_messages_do_not_change() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Note(text="a").text = "b"  # type: ignore[misc]


def test_every_message_type_is_hashable_by_its_fields() -> None:
    assert hash(Exited(pid=PID("a", "n1"), reason="x")) == hash(Exited(pid=PID("a", "n1"), reason="x"))


def test_fields_that_have_their_default_are_not_written() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(Offer())) == {"type": "prefix.Offer"}


@pytest.mark.parametrize("local", [Started, Exited, Terminate, EdgeFailed, Do])
def test_what_only_actors_of_one_node_may_say_is_an_unknown_type_to_others(local: type[Message]) -> None:
    values = {"pid": PID("a", "n1"), "reason": "x", "deadline_seconds": 1.0, "task": "t", "error": "e", "act": 1}
    body = local(**{name: values[name] for name in local.__struct_fields__})
    codec = session_codec()
    envelopes, refusals = codec.salvage(codec.encode([("master", "evil", 2, 2, 0, body)]))
    assert envelopes == []
    assert [refusal.reason for refusal in refusals] == ["unknown_type"]


def test_what_other_nodes_may_say_is_known() -> None:
    codec = session_codec()
    frame = codec.encode([("a", "b", 2, 2, 0, Note(text="x")), ("a", "b", 4, 4, 0, Busy(message_type="puppet.Note"))])
    assert [envelope.body for envelope in codec.decode(frame)] == [Note(text="x"), Busy(message_type="puppet.Note")]

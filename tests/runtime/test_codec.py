"""Envelopes to bytes and back, what is refused, and what is hidden from people."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec import HIDDEN, Codec, as_envelope, as_posted, redact
from runtime.constants import COALESCED_ENVELOPES, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES
from runtime.errors import InvalidMessage
from runtime.message import SECRET, Busy, Exited, Message, Secret
from runtime.pid import PID
from runtime.transport.protocol import Envelope
from runtime.transport.zeromq import handshake

GOLDEN = Path(__file__).parent / "golden"


class Disk(msgspec.Struct, frozen=True):
    path: str
    size_bytes: int = 0


class Everything(Message, frozen=True, kw_only=True, tag="codec_tests.Everything"):
    text: str = ""
    number: int = 0
    ratio: float = 0.0
    flag: bool = False
    blob: bytes = b""
    pid: PID | None = None
    disks: tuple[Disk, ...] = ()
    labels: dict[str, str] = msgspec.field(default_factory=dict)


FULL = Everything(
    text="naïve",
    number=-(2**63),
    ratio=0.5,
    flag=True,
    blob=b"\x00\xff",
    pid=PID("allocator", "master-1", 2**62),
    disks=(Disk("/var"), Disk("/tmp", 7)),
    labels={"zone": "a"},
)

GOLDEN_FRAMES: dict[str, list[Any]] = {
    "empty": [],
    "message": [("receiver", "sender", 1, 2, 0, FULL)],
    "answer": [Envelope("receiver", "sender", 1, 3, 2, Everything(), 2)],
    "defaults": [("r", "s", 2**63 - 1, 2**64 - 1, 1, Everything())],
    "several": [
        ("a", "b", 1, 2, 1, Exited(pid=PID("agent", "agent-1", 5), reason="stopped")),
        ("a", "b", 1, 3, 1, Busy(message_type="codec_tests.Everything")),
    ],
}


@pytest.mark.parametrize("name", GOLDEN_FRAMES)
def test_bytes_of_a_frame_never_change(name: str) -> None:
    golden = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    codec = Codec()
    assert codec.encode(GOLDEN_FRAMES[name]) == golden
    decoded = codec.decode(golden)
    assert [plain(envelope) for envelope in decoded] == [plain(as_envelope(e)) for e in GOLDEN_FRAMES[name]]


HANDSHAKES: dict[str, handshake.Handshake] = {
    "hello": handshake.Hello(version=1, node="agent-1", incarnation=2**62),
    "welcome": handshake.Welcome(version=1, node="master", incarnation=1),
    "refused": handshake.Refused(reason="wrong_version", detail="upgrade"),
    "goodbye": handshake.Goodbye(reason="closing"),
    "parting": handshake.Goodbye(reason="closing", listening=True),
    "farewell": handshake.Farewell(),
    "mark": handshake.Mark(number=70_000),
    "marked": handshake.Marked(number=70_000),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_bytes_of_a_handshake_never_change(name: str) -> None:
    golden = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    assert handshake.encode(HANDSHAKES[name]) == golden
    assert handshake.decode(golden) == HANDSHAKES[name]


def plain(envelope: Envelope) -> tuple[Any, ...]:
    return msgspec.structs.astuple(envelope)


def test_decoded_envelopes_are_envelopes() -> None:
    codec = Codec()
    (envelope,) = codec.decode(codec.encode([("to", "from", 1, 2, 3, FULL)]))
    assert isinstance(envelope, Envelope)
    assert envelope.body == FULL


def test_an_empty_answers_is_not_written() -> None:
    codec = Codec()
    envelope = Envelope("to", "from", 1, 2, 3, Everything())
    assert codec.encode([as_posted(envelope)]) == codec.encode([("to", "from", 1, 2, 3, Everything())])
    assert len(codec.encode([as_posted(envelope)])) == len(codec.encode([envelope])) - 1
    answer = Envelope("to", "from", 1, 2, 3, Everything(), answers=4)
    assert as_posted(answer) is answer


@given(
    st.lists(
        st.builds(
            Everything,
            text=st.text(),
            number=st.integers(-(2**63), 2**64 - 1),
            ratio=st.floats(allow_nan=False),
            blob=st.binary(),
            disks=st.lists(st.builds(Disk, path=st.text(), size_bytes=st.integers(0, 2**63))).map(tuple),
            labels=st.dictionaries(st.text(), st.text()),
        ),
        max_size=20,
    )
)
def test_what_is_encoded_is_decoded(messages: list[Everything]) -> None:
    codec = Codec()
    frame = codec.pack([("to", "from", 1, number, 3, message) for number, message in enumerate(messages)])
    assert frame.unfit == ()
    assert [envelope.body for envelope in codec.decode(frame.data)] == messages


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_never_raise_anything_else(data: bytes) -> None:
    codec = Codec()
    envelopes, refusals = codec.salvage(data)
    try:
        decoded = codec.decode(data)
    except InvalidMessage:
        assert refusals
    else:
        assert (decoded, refusals) == (envelopes, [])


def test_a_type_declared_later_is_understood() -> None:
    codec = Codec()

    class Latecomer(Message, frozen=True, kw_only=True, tag="codec_tests.Latecomer"):
        number: int

    (envelope,) = codec.decode(codec.encode([("to", "from", 1, 2, 3, Latecomer(number=4))]))
    assert envelope.body == Latecomer(number=4)


def test_neighbouring_versions_understand_each_other() -> None:
    frame = msgspec.msgpack.encode(
        [["to", "from", 1, 2, 3, {"type": "codec_tests.Everything", "text": "old", "new_field": [1]}, 0, "new"]]
    )
    (envelope,) = Codec().decode(frame)
    assert envelope.body == Everything(text="old")


def test_pack_splits_at_the_size_limit() -> None:
    codec = Codec()
    half = MAX_MESSAGE_BYTES // 2
    chunk = [("to", "from", 1, number, 3, Everything(blob=bytes(half - 1000))) for number in range(3)]
    first = codec.pack(chunk)
    assert [envelope[3] for envelope in first.envelopes] == [0, 1]  # type: ignore[index]
    assert len(first.data) <= MAX_FRAME_BYTES
    assert [envelope.span for envelope in codec.decode(first.data)] == [0, 1]
    second = codec.pack(chunk[2:])
    assert [envelope.span for envelope in codec.decode(second.data)] == [2]


def test_pack_leaves_out_what_cannot_be_sent() -> None:
    codec = Codec()
    fit = ("to", "from", 1, 1, 3, Everything(text="fit"))
    large = ("to", "from", 1, 2, 3, Everything(blob=bytes(MAX_MESSAGE_BYTES)))
    strange = ("to", "from", 1, 2**70, 3, Everything())
    frame = codec.pack([large, fit, strange, fit])
    assert list(frame.envelopes) == [fit, fit]
    assert [(posted, reason.partition(":")[0]) for posted, reason in frame.unfit] == [
        (large, "too large"),
        (strange, "cannot be encoded"),
    ]
    assert codec.pack([large]).data == b""


def test_the_largest_message_fits_a_frame() -> None:
    codec = Codec()
    empty = len(codec.encode([("to", "from", 1, 2, 3, Everything(blob=bytes(70_000)))])) - 70_000 - 1
    message = ("to", "from", 1, 2, 3, Everything(blob=bytes(MAX_MESSAGE_BYTES - empty)))
    frame = codec.pack([message])
    assert len(frame.data) == MAX_MESSAGE_BYTES + 1
    assert list(frame.unfit) == []
    assert len(codec.decode(frame.data)) == 1
    larger = ("to", "from", 1, 2, 3, Everything(blob=bytes(MAX_MESSAGE_BYTES - empty + 1)))
    assert codec.pack([larger]).data == b""


def test_a_frame_of_too_many_envelopes_costs_no_decoding() -> None:
    codec = Codec()
    frame = codec.encode([("to", "from", 1, 2, 3, Everything())] * (COALESCED_ENVELOPES + 1))
    with pytest.raises(InvalidMessage, match="257 envelopes; 256 at most"):
        codec.decode(frame)
    assert codec.salvage(frame)[1][0].reason == "too_large"


class Colour(enum.Enum):
    RED = "red"


class Login(msgspec.Struct, frozen=True):
    user: str
    password: Secret = ""


class Secretive(Message, frozen=True, kw_only=True, tag="codec_tests.Secretive"):
    name: str
    token: Secret
    maybe: Secret | None = None
    several: list[Secret] = msgspec.field(default_factory=list)
    by_name: dict[str, Secret] = msgspec.field(default_factory=dict)
    pair: tuple[str, Secret] = ("", "")
    login: Login | None = None
    logins: tuple[Login, ...] = ()
    nested: dict[str, list[Login]] = msgspec.field(default_factory=dict)
    key: Annotated[bytes, SECRET] = b""
    colour: Colour = Colour.RED
    pid: PID | None = None
    blob: bytes = b""


def test_no_secret_is_left_in_what_people_read() -> None:
    login = Login("ann", "hush")
    message = Secretive(
        name="n",
        token="hush",
        maybe="hush",
        several=["hush"],
        by_name={"k": "hush"},
        pair=("open", "hush"),
        login=login,
        logins=(login,),
        nested={"k": [login]},
        key=b"hush",
        pid=PID("a", "b"),
        blob=b"\x01",
    )
    shown = redact(message)
    hidden = {"user": "ann", "password": HIDDEN}
    assert shown == {
        "type": "codec_tests.Secretive",
        "name": "n",
        "token": HIDDEN,
        "maybe": HIDDEN,
        "several": [HIDDEN],
        "by_name": {"k": HIDDEN},
        "pair": ["open", HIDDEN],
        "login": hidden,
        "logins": [hidden],
        "nested": {"k": [hidden]},
        "key": HIDDEN,
        "colour": "red",
        "pid": "a@b",
        "blob": "b'\\x01'",
    }
    assert b"hush" not in msgspec.json.encode(shown)


def test_an_absent_secret_is_shown_as_absent() -> None:
    assert redact(Secretive(name="n", token="t"))["maybe"] is None

"""Secrets are masked wherever a type can hide them, and keep their shape."""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated, Any

import msgspec
import pytest

from runtime.message import SECRET, Message, Secret
from runtime.tracing.masking import conceal, mask, masker_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inner(msgspec.Struct, frozen=True):
    token: Secret
    plain: str = "seen"


@dataclasses.dataclass
class Card:
    number: Secret


class Base(msgspec.Struct, frozen=True, tag=True):
    name: str = "base"


class Derived(Base, frozen=True, tag=True):
    key: Secret = "hunter2"


class Tree(msgspec.Struct):
    word: Secret = ""
    children: list[Tree] = []


class Everywhere(Message, frozen=True, kw_only=True, tag="masking.Everywhere"):
    direct: Secret = "hunter2"
    optional: Secret | None = "hunter2"
    data: Annotated[bytes, SECRET] = b"hunter2"
    number: Annotated[int, SECRET] = 4711
    pairs: Annotated[tuple[tuple[str, str], ...], SECRET] = (("name", "hunter2"),)
    colour: Annotated[Colour, SECRET] = Colour.BLUE
    whole: Annotated[Inner | None, SECRET] = Inner("hunter2", "hunter2")
    nested: Inner = Inner("hunter2")
    perhaps: Inner | None = Inner("hunter2")
    listed: tuple[Inner, ...] = (Inner("hunter2"),)
    two: tuple[str, Inner] = ("seen", Inner("hunter2"))
    keyed: dict[str, Inner] = msgspec.field(default_factory=lambda: {"seen": Inner("hunter2")})
    keys: dict[Secret, str] = msgspec.field(default_factory=lambda: {"hunter2": "seen"})
    items: tuple[Secret, ...] = ("hunter2",)
    base: Base = Derived()
    anything: Any = (Inner("hunter2"), {"seen": [Inner("hunter2")]})
    card: Card | None = None


def test_no_place_shows_a_secret() -> None:
    message = Everywhere(card=Card("hunter2"))
    shown = msgspec.msgpack.encode(mask(message))
    assert b"hunter2" not in shown
    assert b"4711" not in repr(mask(message)).encode()


def test_what_is_no_secret_stays() -> None:
    masked = mask(Everywhere())
    assert masked.nested == Inner("***", "seen")
    assert masked.two[0] == "seen"
    assert list(masked.keyed) == ["seen"]


def test_a_masked_message_reads_back_as_the_same_type() -> None:
    data = msgspec.msgpack.encode(mask(Everywhere(base=Base())))
    again = msgspec.msgpack.decode(data, type=Everywhere)
    assert again.pairs == (("***", "***"),)
    assert again.number == 0
    assert again.colour is Colour.RED


def test_a_type_without_secrets_costs_nothing() -> None:
    class Open(msgspec.Struct):
        names: tuple[str, ...] = ("a",)

    value = Open()
    assert masker_of(Open) is None
    assert mask(value) is value


def test_a_recursive_type_is_masked_at_every_depth() -> None:
    tree = Tree("hunter2", [Tree("hunter2", [Tree("hunter2")])])
    assert b"hunter2" not in msgspec.msgpack.encode(mask(tree))


def test_a_value_without_secrets_in_it_is_shared() -> None:
    empty = Inner("")
    assert mask(empty) is empty


def test_a_subclass_that_is_declared_later_is_masked_where_its_base_is_named() -> None:
    class Holder(Message, frozen=True, kw_only=True, tag="masking.Holder"):
        base: Base

    mask(Holder(base=Base()))

    class Later(Base, frozen=True, tag=True):
        word: Secret = "hunter2"

    class Signal(Message, frozen=True, kw_only=True, tag="masking.Signal"):
        """Declaring a message is what a process does when it loads a framework's code."""

    assert b"hunter2" not in msgspec.msgpack.encode(mask(Holder(base=Later())))


@pytest.mark.parametrize("value", ["", b"", 0, (), None, False])
def test_what_is_empty_stays_so(value: object) -> None:
    assert conceal(value) == value

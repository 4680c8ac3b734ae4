"""Logs: what a line says, in both forms; what is left out of it; how often it is said."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from runtime.actor import Actor, State, receive
from runtime.logs import JsonFormatter, RateLimit, TextFormatter, remove_logs, set_level, setup_logs
from runtime.message import Message, Secret
from runtime.pid import PID
from runtime.testing import World
from runtime.tracing.messages import Filter


class LogIn(Message, frozen=True, kw_only=True, tag="test_logs.LogIn"):
    principal: str
    password: Secret


class Credentials(State):
    password: Secret = "hunter2"


class Gate(Actor[State]):
    @receive(LogIn)
    def log_in(self, sender: PID, message: LogIn) -> None:
        log = logging.getLogger("kaon.gate")
        log.warning("refused %s", message.principal, extra={"limited_by": "login"})
        log.info("about somebody else", extra={"actor": "another"})


def record(text: str, *args: object, created: float = 1_700_000_000.5, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("kaon.test", logging.WARNING, __file__, 1, text, args, None)
    made.created = created
    vars(made).update(extra)
    return made


def failure() -> logging.LogRecord:
    made = record("it failed")
    try:
        raise KeyError("agent-1")
    except KeyError as error:
        made.exc_info = (type(error), error, error.__traceback__)
    return made


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    level = logging.getLogger().level
    yield io.StringIO()
    remove_logs()
    logging.getLogger().setLevel(level)


def test_a_line_for_people() -> None:
    line = TextFormatter("m1").format(
        record("admitted %s", PID("agent", "a1"), actor="master", message_type="Register", trace=42)
    )
    assert line == ("2023-11-14T22:13:20.500Z WARNING master@m1 admitted agent@a1 [Register 000000000000002a]")
    assert TextFormatter().format(record("plain")) == "2023-11-14T22:13:20.500Z WARNING kaon.test plain"


def test_a_line_for_machines() -> None:
    line = JsonFormatter("m1").format(
        record('said "%s"', "hello\nworld", actor="master", message_type="Register", trace=42, node="m2")
    )
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "warning",
        "logger": "kaon.test",
        "node": "m2",
        "actor": "master",
        "message_type": "Register",
        "trace": "000000000000002a",
        "text": 'said "hello\nworld"',
    }


def test_an_exception_is_one_field() -> None:
    fields = json.loads(JsonFormatter().format(failure()))
    assert fields["exception"].startswith("Traceback (most recent call last)")
    assert fields["exception"].endswith("KeyError: 'agent-1'")
    kept = json.loads(JsonFormatter().format(record("it failed", traceback="Traceback\n  KeyError\n")))
    assert kept["exception"] == "Traceback\n  KeyError"


def test_only_records_begin_a_line() -> None:
    lines = TextFormatter().format(failure()).splitlines()
    assert len(lines) > 2
    assert all(line.startswith("    ") for line in lines[1:])
    forged = TextFormatter().format(record("name is %s", "x\n2023-11-14T22:13:20.500Z INFO master@m1 all is well"))
    assert forged.splitlines()[1].startswith("    ")


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_secrets_are_left_out(formatter: logging.Formatter) -> None:
    message = LogIn(principal="web", password="hunter2")
    for made in (
        record("got %s", message),
        record("got %r and %s", message, Credentials()),
        record("got %(message)s", {"message": message}),
    ):
        line = formatter.format(made)
        assert "hunter2" not in line
    assert "web" in formatter.format(record("got %s", message))


def test_what_a_handler_logs_says_whose_turn_it_is(stream: io.StringIO) -> None:
    setup_logs(form="json", stream=stream)
    world = World(seed=1)
    gate = world.node("m1").spawn(Gate, "gate", State())
    world.nodes["m1"].post(gate, LogIn(principal="web", password="x"))
    world.settle()
    refused, other = map(json.loads, stream.getvalue().splitlines())
    assert (refused["actor"], refused["node"], refused["text"]) == ("gate", "m1", "refused web")
    assert (refused["message_type"], len(refused["trace"])) == ("test_logs.LogIn", 16)
    assert (other["actor"], other["message_type"]) == ("another", "test_logs.LogIn")
    logging.getLogger("kaon.test").info("outside of a turn")
    assert "actor" not in json.loads(stream.getvalue().splitlines()[-1])


def test_a_struct_that_says_itself_how_it_reads_is_written_so() -> None:
    line = TextFormatter("m1").format(record("tap on %s", Filter(actor="master", fields=(("task_id", "t1"),))))
    assert line.endswith("tap on actor=master, task_id=t1")
    assert TextFormatter("m1").format(record("tap on %s", Filter())).endswith("tap on every turn")


def test_records_of_one_key_are_bounded_and_the_next_says_how_many_were_not_written() -> None:
    limit = RateLimit(records=2, interval_seconds=10.0)

    def passes(created: float, key: str | None) -> logging.LogRecord | None:
        made = record("refused", created=created, limited_by=key)
        return made if limit.filter(made) else None

    assert [bool(passes(at, "flood")) for at in (0.0, 1.0, 2.0, 3.0, 9.9)] == [True, True, False, False, False]
    assert passes(5.0, "other")
    assert all(passes(5.0, None) for _ in range(10))
    next_one = passes(10.0, "flood")
    assert next_one is not None
    assert TextFormatter().format(next_one).endswith("refused (and 3 more like it before)")
    after = passes(11.0, "flood")
    assert after is not None
    assert TextFormatter().format(after).endswith("refused")


def test_keys_that_never_repeat_do_not_fill_the_memory() -> None:
    limit = RateLimit()
    for number in range(5000):
        assert limit.filter(record("refused", limited_by=f"peer {number}"))
    assert len(limit._keys) == 1024


def test_setting_up_again_takes_the_place_of_the_first(stream: io.StringIO) -> None:
    first = io.StringIO()
    setup_logs(stream=first)
    setup_logs(level="warning", stream=stream, node="m1")
    logging.getLogger("kaon.test").info("not this")
    logging.getLogger("kaon.test").error("but this")
    set_level("info")
    logging.getLogger("kaon.test").info("and this")
    assert first.getvalue() == ""
    assert [line.split("m1 ")[1] for line in stream.getvalue().splitlines()] == ["but this", "and this"]


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no log level 'loud'"):
        set_level("loud")
    with pytest.raises(ValueError, match="no log format 'xml'"):
        setup_logs(form="xml")

"""What every containerizer promises of streams, in the words of `containerizer/streaming.py`."""

from __future__ import annotations

from typing import Any

import pytest

from containerizer.attaching import NOBODY_READS
from containerizer.messages import Collected, ContainerExited, Destroy, Launch, LaunchFailed, LaunchFailure
from containerizer.streaming import AttachInput, AttachOutput, Detach, Input, SetWindow, StreamEnded, WindowSet

KEPT_NOWHERE = {"stdout": "", "stderr": ""}


def test_output_and_errors_come_apart_and_end_once(machine: Any, attached: Any) -> None:
    machine.launch("c1", "echo good; echo bad >&2; sleep 1")
    reader = attached.AttachedReader(machine, "c1", stdout_offset=0, stderr_offset=0)
    assert reader.until_end().reason == ""
    assert (reader.out, reader.err) == ("good\n", "bad\n")
    machine.exit_of("c1")
    reader.look()
    assert len(reader.ends) == 1


def test_a_reader_begins_where_it_wants(machine: Any, attached: Any) -> None:
    machine.launch("c1", "echo 0123456789; sleep 600")
    machine.await_output("c1", "9")
    readers = [attached.AttachedReader(machine, "c1", stdout_offset=offset) for offset in (0, 4, -3, -100)]
    for reader, text in zip(readers, ("0123456789\n", "456789\n", "89\n", "0123456789\n"), strict=True):
        reader.until(text)
        assert reader.out == text
    late = attached.AttachedReader(machine, "c1")
    machine.destroy("c1")
    late.until_end()
    assert late.out == "", "it wanted what comes after it"


def test_what_has_ended_is_read_until_it_is_collected(machine: Any, attached: Any) -> None:
    machine.run("c1", "echo gone")
    reader = attached.AttachedReader(machine, "c1", stdout_offset=0)
    reader.until_end()
    assert reader.out == "gone\n"
    machine.collect("c1")
    assert "c1" in attached.refusal(machine, AttachOutput(container_id="c1", credit_bytes=1))


def test_no_more_comes_than_was_credited(machine: Any, attached: Any) -> None:
    machine.launch("c1", "echo 0123456789; sleep 600")
    machine.await_output("c1", "9")
    reader = attached.AttachedReader(machine, "c1", credit_bytes=4, stdout_offset=0)
    reader.renews = False
    reader.until("0123")
    other = attached.AttachedReader(machine, "c1", stdout_offset=0)
    other.until("9\n")
    assert reader.out == "0123"
    reader.credit(3)
    reader.until("0123456")
    assert reader.out == "0123456"
    machine.run("c2", "exit 3")
    machine.destroy("c1")
    reader.look()
    assert reader.ends == [], "there is more for it"
    reader.credit(100)
    reader.until_end()
    assert reader.out == "0123456789\n"


def test_a_reader_that_wants_to_be_near_is_moved_on_and_told(machine: Any, attached: Any) -> None:
    machine.launch("c1", "echo 0123456789; sleep 600")
    machine.await_output("c1", "9")
    reader = attached.AttachedReader(machine, "c1", stdout_offset=0, lag_bytes=3)
    reader.until("89\n")
    assert (reader.out, reader.skipped_bytes) == ("89\n", 8)


def test_input_goes_in_and_its_end_too(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat", interactive=True)
    writer = attached.AttachedWriter(machine, "c1")
    reader = attached.AttachedReader(machine, "c1", stdout_offset=0)
    writer.write(b"one\n")
    reader.until("one\n")
    writer.write(b"two")
    writer.end()
    assert writer.until_end().reason == ""
    assert machine.exit_of("c1").exit_code == 0
    reader.until_end()
    assert reader.out == "one\ntwo"
    assert writer.is_idle()


def test_a_session_without_files_loses_nothing(machine: Any, attached: Any) -> None:
    machine.launch("c1", "echo early; echo late >&2; exit 5", **KEPT_NOWHERE)
    assert machine.exit_of("c1").exit_code == 5
    reader = attached.AttachedReader(machine, "c1")
    reader.until_end()
    assert (reader.out, reader.err) == ("early\n", "late\n")


def test_what_is_kept_nowhere_has_one_reader(machine: Any, attached: Any) -> None:
    machine.launch("c1", "echo first; cat", interactive=True, **KEPT_NOWHERE)
    first = attached.AttachedReader(machine, "c1")
    first.until("first")
    assert "reads it already" in attached.refusal(machine, AttachOutput(container_id="c1", credit_bytes=1))
    machine.tell(Detach(stream=first.stream))
    second = attached.AttachedReader(machine, "c1")
    writer = attached.AttachedWriter(machine, "c1")
    writer.write(b"second\n")
    second.until("second\n")
    assert second.out == "second\n"


def test_one_writes_at_a_time(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat", interactive=True)
    writer = attached.AttachedWriter(machine, "c1")
    assert "one writes at a time" in attached.refusal(machine, AttachInput(container_id="c1"))
    machine.tell(Detach(stream=writer.stream))
    attached.AttachedWriter(machine, "c1").end()
    assert machine.exit_of("c1").exit_code == 0


def test_more_than_was_credited_ends_the_stream(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat", interactive=True)
    writer = attached.AttachedWriter(machine, "c1")
    machine.tell(Input(stream=writer.stream, data=b"x" * (writer.limit_bytes + 1)))
    assert "credit" in writer.until_end().reason


def test_a_writer_hears_that_the_container_has_ended(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat", interactive=True)
    writer = attached.AttachedWriter(machine, "c1")
    machine.destroy("c1")
    assert writer.until_end().reason == NOBODY_READS


def test_a_terminal_is_read_and_written(machine: Any, attached: Any) -> None:
    machine.launch("c1", "echo hello; cat", tty=True)
    reader = attached.AttachedReader(machine, "c1", stdout_offset=0)
    writer = attached.AttachedWriter(machine, "c1")
    assert reader.tty
    reader.until("hello")
    writer.write(b"typed\n")
    reader.until("typed")
    assert machine.ask(SetWindow(container_id="c1", rows=50, columns=132), WindowSet).container_id == "c1"
    writer.end()
    assert machine.exit_of("c1").exit_code == 0
    reader.until_end()


def test_what_cannot_be_attached_to(machine: Any, attached: Any) -> None:
    assert "c9" in attached.refusal(machine, AttachOutput(container_id="c9", credit_bytes=1))
    assert "c9" in attached.refusal(machine, AttachInput(container_id="c9"))
    assert "c9" in attached.refusal(machine, SetWindow(container_id="c9", rows=1, columns=1))
    machine.launch("c1", "sleep 600")
    assert "neither" in attached.refusal(machine, AttachInput(container_id="c1"))
    assert "no terminal" in attached.refusal(machine, SetWindow(container_id="c1", rows=1, columns=1))
    assert "columns is 70000" in attached.refusal(machine, SetWindow(container_id="c1", rows=1, columns=70_000))
    assert "credit_bytes is 0" in attached.refusal(machine, AttachOutput(container_id="c1", credit_bytes=0))


@pytest.mark.parametrize("fields", [{"tty": True, "stdin": "x"}, {"interactive": True, "stdin": "x"}, {"rows": 0}])
def test_specs_that_cannot_be(machine: Any, fields: dict[str, Any]) -> None:
    failed = machine.ask(Launch(spec=machine.spec("c1", "true", **fields)), LaunchFailed)
    assert failed.reason is LaunchFailure.INVALID


def test_a_session_ends_with_its_owner(machine: Any) -> None:
    machine.launch("pod", "sleep 600")
    machine.launch_session("pod.exec", "sleep 600", debug=True)
    machine.end_visitor()
    machine.until(lambda: "pod.exec" not in machine.state.containers, "the session's end")
    assert machine.state.containers["pod"].exited is None
    assert not machine.exits("pod.exec"), "its owner's affair"


def test_a_session_outlives_a_recovery_and_tells_its_owner(machine: Any) -> None:
    machine.launch("pod", "sleep 600")
    machine.launch_session("pod.exec", "sleep 600", debug=True)
    machine.recover(("pod",))
    machine.destroy("pod.exec")
    machine.until(lambda: any(isinstance(one, ContainerExited) for one in machine.visitor.heard), "its exit")
    machine.tell(Collected(container_id="pod.exec"))
    machine.until(lambda: "pod.exec" not in machine.state.containers, "forgetting")


def test_a_restarted_containerizer_destroys_sessions_and_keeps_their_parent(machine: Any) -> None:
    machine.launch("pod", "sleep 600")
    machine.launch_session("pod.exec", "sleep 600", debug=True)
    machine.restart()
    machine.attach()
    answer = machine.recover(("pod",))
    assert (answer.alive, answer.destroyed) == (("pod",), ("pod.exec",))
    assert sorted(machine.state.containers) == ["pod"]


def test_streams_of_an_owner_that_is_gone_are_free(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat", interactive=True)
    machine.visit(AttachInput(container_id="c1"))
    machine.until(lambda: machine.state.streams, "a writer")
    machine.end_visitor()
    machine.until(lambda: not machine.state.streams, "its end")
    attached.AttachedWriter(machine, "c1")


def test_nobody_moves_streams_of_others(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat", interactive=True)
    writer = attached.AttachedWriter(machine, "c1")
    for message in (Detach(stream=writer.stream), Input(stream=writer.stream, data=b"forged\n"), Detach(stream=4711)):
        machine.visit(message, is_ask=False)
    writer.write(b"real\n")
    reader = attached.AttachedReader(machine, "c1", stdout_offset=0)
    reader.until("real")
    assert reader.out == "real\n"
    machine.ask(Destroy(container_id="c1", grace_seconds=0.0), object)
    assert not [one for one in machine.visitor.heard if isinstance(one, StreamEnded)]

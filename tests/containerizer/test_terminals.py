"""Terminals and pipes of real containers, told by the containers themselves."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.attaching import NOBODY_READS
from containerizer.messages import Launch, LaunchFailed
from containerizer.spec import Namespace, Root, RootKind
from containerizer.streaming import AttachInput, AttachOutput, SetWindow, WindowSet

Real = Callable[..., Any]

MEGABYTES = 10

KEPT_NOWHERE = {"stdout": "", "stderr": ""}


@pytest.fixture(params=["plain", pytest.param("auto", marks=pytest.mark.root)])
def machine(request: pytest.FixtureRequest, real: Real) -> Any:
    made = real(request.param)
    made.attach()
    return made


@pytest.fixture
def isolated(real: Real) -> Any:
    made = real("auto")
    made.attach()
    return made


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", program)


def test_the_terminal_is_its_own_and_controls_its_session(machine: Any) -> None:
    program = "tty; test -t 0 && test -t 1 && test -t 2 && echo three; echo here > /dev/tty; echo $TERM; stty size"
    machine.run("c1", program, tty=True, rows=30, columns=100)
    lines = machine.output("c1").splitlines()
    assert lines[0].startswith("/dev/pts/")
    assert lines[1:] == ["three", "here", "xterm", "30 100"]


@pytest.mark.root
def test_an_isolated_terminal_is_the_first_of_the_containers_own(isolated: Any) -> None:
    program = "tty; ls /dev/pts; stat -c %U:%a $(tty); echo typed > /dev/console; whoami > /dev/stderr"
    isolated.run("c1", program, tty=True, user="nobody")
    said = isolated.output("c1").split()
    assert said == ["/dev/pts/0", "0", "ptmx", "nobody:620", "typed", "nobody"]


@pytest.mark.root
def test_terminals_with_a_user_namespace_and_with_a_root_of_its_own(
    isolated: Any, build_rootfs: Callable[[Path], Path]
) -> None:
    isolated.run("c1", "tty; echo 'id '$(id -u)", tty=True, namespaces=tuple(Namespace))
    assert isolated.output("c1").split() == ["/dev/pts/0", "id", "0"]
    root = Root(kind=RootKind.DIRECTORY, path=str(build_rootfs(isolated.directory / "rootfs")))
    isolated.run("c2", "echo rooted > /dev/tty; echo console > /dev/console", tty=True, root=root)
    assert isolated.output("c2").split() == ["rooted", "console"]


def test_keys_are_signals_and_sizes_too(machine: Any, attached: Any) -> None:
    program = "trap 'echo interrupted' INT; trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    machine.launch("c1", program, tty=True)
    reader = attached.AttachedReader(machine, "c1", stdout_offset=0)
    reader.until("ready")
    attached.AttachedWriter(machine, "c1").write(b"\x03")
    reader.until("interrupted")
    machine.ask(SetWindow(container_id="c1", rows=51, columns=133), WindowSet)
    reader.until("51 133")


def test_the_end_of_what_is_typed_is_found_within_a_line_too(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat; exit 3", tty=True)
    writer = attached.AttachedWriter(machine, "c1")
    writer.write(b"no line's end")
    writer.end()
    assert machine.exit_of("c1").exit_code == 3


@pytest.mark.root
def test_a_debug_container_has_a_terminal_in_its_parents_devpts(isolated: Any, attached: Any) -> None:
    isolated.launch("pod", "sleep 600", tty=True)
    fields = {"debug": True, "tty": True, "stdout": "", "stderr": ""}
    isolated.launch("pod.exec", "tty; ls /dev/pts; exit 4", **fields)
    reader = attached.AttachedReader(isolated, "pod.exec")
    reader.until_end()
    assert reader.out.split() == ["/dev/pts/1", "0", "1", "ptmx"]
    assert isolated.exit_of("pod.exec").exit_code == 4


@pytest.mark.root
def test_a_parent_cannot_put_something_else_in_the_multiplexers_place(isolated: Any) -> None:
    program = (
        "rm -f /dev/ptmx; mkfifo /dev/ptmx; mv /dev/pts /dev/old; mkdir -p /dev/pts; mkfifo /dev/pts/ptmx; echo done"
    )
    isolated.launch("pod", f"{program}; sleep 600")
    isolated.await_output("pod", "done")
    isolated.run("pod.exec", "tty", debug=True, tty=True)
    assert isolated.output("pod.exec").strip() == "/dev/pts/0"


@pytest.mark.root
def test_something_else_in_its_place_is_no_terminal(isolated: Any) -> None:
    program = "umount /dev/pts && mkfifo /dev/pts/ptmx && echo done; sleep 600"
    isolated.launch("pod", program, capabilities=("CAP_SYS_ADMIN",), seccomp="unconfined")
    isolated.await_output("pod", "done")
    failed = isolated.ask(Launch(spec=isolated.spec("pod.exec", "tty", debug=True, tty=True)), LaunchFailed)
    assert "this is no terminal multiplexer: '/dev/pts/ptmx'" in failed.message


def test_megabytes_through_pipes_both_ways(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat", interactive=True, stdout="", stderr="")
    check_copies(machine, attached)


def test_megabytes_through_a_pipe_and_a_file(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat", interactive=True)
    check_copies(machine, attached)


def check_copies(machine: Any, attached: Any) -> None:
    """What is written is read again, all of it, by whoever reads at leisure."""
    data = os.urandom(MEGABYTES << 20)
    reader = attached.AttachedReader(machine, "c1", credit_bytes=1 << 17, stdout_offset=0)
    writer = attached.AttachedWriter(machine, "c1")
    at = 0
    while at < len(data):
        size = min(writer.may_write(), 1 << 16, len(data) - at)
        if size:
            writer.write(data[at : at + size])
            at += size
        else:
            before = writer.may_write(), reader.size
            machine.until(lambda before=before: (writer.may_write(), reader.size) != before, "progress")
    writer.end()
    reader.until_end()
    assert reader.size == len(data)
    assert reader.digest() == hashlib.sha256(data).hexdigest()
    assert machine.exit_of("c1").exit_code == 0


def test_a_slow_reader_of_a_terminal_holds_up_nobody(machine: Any, attached: Any) -> None:
    machine.launch("c1", "read go; head -c 3000000 /dev/zero | tr '\\0' x; echo; exit 3", tty=True)
    slow = attached.AttachedReader(machine, "c1", credit_bytes=10, stdout_offset=0, lag_bytes=50_000)
    slow.renews = False
    attached.AttachedWriter(machine, "c1").write(b"\n")
    assert machine.exit_of("c1").exit_code == 3, "it has ended, whatever its reader does"
    size = (machine.directory / "sandboxes" / "c1" / "stdout").stat().st_size
    assert size == 3_000_000 + 2 + 2, "an echoed line, all that it printed, and the end of the line"
    slow.renews = True
    slow.credit(1000)
    slow.until_end()
    assert slow.skipped_bytes > 2_900_000
    assert slow.size + slow.skipped_bytes == size


def test_a_command_waits_for_the_reader_of_what_is_kept_nowhere(machine: Any, attached: Any) -> None:
    machine.launch("c1", "head -c 3000000 /dev/zero; echo over >&2; exit 3", stdout="", stderr="")
    reader = attached.AttachedReader(machine, "c1", credit_bytes=1000)
    reader.renews = False
    machine.until(lambda: reader.size == 1000, "what was credited")
    assert not machine.exits("c1")
    reader.renews = True
    reader.credit(100_000)
    reader.until_end()
    assert (reader.size, reader.err) == (3_000_005, "over\n")
    assert machine.exit_of("c1").exit_code == 3


def test_a_terminal_goes_on_when_its_log_has_no_room(machine: Any, attached: Any, caplog: Any) -> None:
    machine.launch("c1", "read go; head -c 5000 /dev/zero; exit 3", tty=True)
    ends = machine.node.cells["containerizer"].actor.work.streams._ends["c1"]
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, ends.descriptors["log"])
    os.close(full)
    attached.AttachedWriter(machine, "c1").write(b"\n")
    assert machine.exit_of("c1").exit_code == 3
    said = [record.getMessage() for record in caplog.records if "terminal" in record.getMessage()]
    assert said == [
        "the terminal of container c1 is not logged any more: No space left on device",
        "5002 bytes of container c1's terminal are not in its log",
    ]


def test_a_reader_that_leaves_is_not_waited_for_by_a_terminal(machine: Any, attached: Any) -> None:
    machine.launch("c1", "read go; head -c 300000 /dev/zero; exit 3", tty=True)
    machine.visit(AttachOutput(container_id="c1", credit_bytes=10, stdout_offset=0))
    machine.until(lambda: machine.state.streams, "a reader")
    machine.end_visitor()
    attached.AttachedWriter(machine, "c1").write(b"\n")
    assert machine.exit_of("c1").exit_code == 3


def test_a_terminal_goes_on_after_kill_9_of_the_containerizer(machine: Any, attached: Any) -> None:
    machine.launch("c1", "trap 'echo hung up; exit 9' HUP; echo one; read line; echo got $line; exit 5", tty=True)
    attached.AttachedReader(machine, "c1", stdout_offset=0).until("one")
    machine.restart()
    machine.attach()
    machine.recover(("c1",))
    reader = attached.AttachedReader(machine, "c1", stdout_offset=0)
    machine.ask(SetWindow(container_id="c1", rows=20, columns=40), WindowSet)
    writer = attached.AttachedWriter(machine, "c1")
    writer.write(b"two\n")
    reader.until_end()
    assert "got two" in reader.out
    assert "hung up" not in reader.out
    assert machine.exit_of("c1").exit_code == 5


def test_a_pipe_goes_on_after_kill_9_of_the_containerizer(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat; exit 5", interactive=True)
    writer = attached.AttachedWriter(machine, "c1")
    writer.write(b"one\n")
    attached.AttachedReader(machine, "c1", stdout_offset=0).until("one")
    machine.restart()
    machine.attach()
    machine.recover(("c1",))
    writer = attached.AttachedWriter(machine, "c1")
    writer.write(b"two\n")
    writer.end()
    assert writer.until_end().reason == ""
    assert machine.exit_of("c1").exit_code == 5
    assert machine.output("c1") == "one\ntwo\n"
    assert "runs here" in attached.refusal(machine, AttachInput(container_id="c1"))


def test_what_a_command_prints_while_no_containerizer_is_there_is_kept(machine: Any) -> None:
    machine.launch("c1", "echo ready; while [ ! -e go ]; do sleep 0.01; done; echo meanwhile; sleep 600", tty=True)
    machine.await_output("c1", "ready")
    machine.forget()
    (machine.directory / "sandboxes" / "c1" / "go").touch()
    machine.revive()
    machine.attach()
    machine.recover(("c1",))
    machine.await_output("c1", "meanwhile")


def test_a_closed_input_ends_the_writers_stream(machine: Any, attached: Any) -> None:
    machine.launch("c1", "exec <&-; echo closed; sleep 600", interactive=True)
    machine.await_output("c1", "closed")
    assert attached.AttachedWriter(machine, "c1").until_end().reason == NOBODY_READS


def test_input_from_a_file_of_the_sandbox(machine: Any) -> None:
    sandbox = machine.directory / "sandboxes" / "c1"
    sandbox.mkdir()
    (sandbox / "given").write_text("from a file")
    machine.run("c1", "cat", stdin="given")
    assert machine.output("c1") == "from a file"


@pytest.mark.root
def test_pipes_belong_to_the_commands_user(machine: Any, attached: Any) -> None:
    machine.launch("c1", "cat < /dev/stdin > /dev/stdout", user="nobody", interactive=True, stdout="", stderr="")
    reader = attached.AttachedReader(machine, "c1")
    writer = attached.AttachedWriter(machine, "c1")
    writer.write(b"reopened")
    writer.end()
    reader.until_end()
    assert (reader.out, reader.err) == ("reopened", "")


def test_a_command_with_a_terminal_that_does_not_exist(machine: Any) -> None:
    failed = machine.ask(Launch(spec=machine.spec("c1", argv=("/nonexistent/x",), tty=True)), LaunchFailed)
    assert "cannot be executed" in failed.message


def test_no_descriptor_is_left_in_the_containerizer(machine: Any, attached: Any) -> None:
    use_every_kind(machine, attached, "first")
    before = len(list(Path("/proc/self/fd").iterdir()))
    use_every_kind(machine, attached, "second")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def use_every_kind(machine: Any, attached: Any, prefix: str) -> None:
    """A terminal, a pipe for the input, pipes for the output: read, written, ended, collected."""
    kinds: dict[str, dict[str, Any]] = {"tty": {"tty": True}, "pipe": {"interactive": True}, "pipes": KEPT_NOWHERE}
    for kind, fields in kinds.items():
        name = f"{prefix}-{kind}"
        machine.launch(name, "read line; echo $line", **fields)
        reader = attached.AttachedReader(machine, name)
        if kind != "pipes":
            attached.AttachedWriter(machine, name).write(b"x\n")
        reader.until_end()
        machine.exit_of(name)
        machine.collect(name)

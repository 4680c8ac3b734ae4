"""What the turns of a containerizer need of a machine: begun here, ended by an event (:mod:`containerizer.events`)."""

from __future__ import annotations

from containerizer.processes import Process
from containerizer.spec import ContainerSpec, Limits
from containerizer.state import ContainerizerState, ContainerState
from containerizer.streaming import AttachOutput
from runtime.actor import Actor


class Machine(Actor[ContainerizerState]):
    """An actor that can do these things. None of them waits."""

    def begin_launch(self, spec: ContainerSpec) -> None:
        """Make a container; :class:`LaunchEnded` follows."""
        raise NotImplementedError

    def begin_watch(self, container_id: str) -> None:
        """It runs: :class:`ProcessEnded` follows when it does no more, :class:`LimitReached` when a limit is hit."""
        raise NotImplementedError

    def begin_kill(self, container_id: str, process: Process) -> None:
        """Kill all of it; :class:`ProcessEnded` follows."""
        raise NotImplementedError

    def begin_clean(self, container_id: str, container: ContainerState) -> None:
        """Take away what is left of it; :class:`CleanedUp` follows."""
        raise NotImplementedError

    def begin_update(self, container_id: str, limits: Limits) -> None:
        """Change its limits for this turn's request; :class:`UpdateEnded` follows."""
        raise NotImplementedError

    def begin_usage(self, container_ids: list[str]) -> None:
        """Measure for this turn's request; :class:`UsageGathered` follows."""
        raise NotImplementedError

    def send_signal(self, container_id: str, process: Process, number: int, *, everyone: bool) -> None:
        """To its command, or to all its processes."""
        raise NotImplementedError

    def begin_output(self, stream: int, message: AttachOutput) -> str:
        """Read for a new stream: :class:`OutputArrived` and :class:`StreamOver` follow. Why it cannot be, or empty."""
        raise NotImplementedError

    def begin_input(self, stream: int, container_id: str) -> str:
        """Let a new stream write. Why it cannot be, or empty."""
        raise NotImplementedError

    def credit_output(self, stream: int, size_bytes: int) -> None:
        """So much more may be read for a stream."""
        raise NotImplementedError

    def write_input(self, stream: int, data: bytes) -> None:
        """Write in order; :class:`InputWritten` follows, or :class:`StreamOver`."""
        raise NotImplementedError

    def end_input(self, stream: int) -> None:
        """The command finds the end of its input behind what was written."""
        raise NotImplementedError

    def end_stream(self, stream: int) -> None:
        """Nobody reads, or writes, there any more."""
        raise NotImplementedError

    def set_window(self, container_id: str, rows: int, columns: int) -> str:
        """Give a terminal another size. Why it cannot be, or empty."""
        raise NotImplementedError

    def forget(self, container_id: str) -> None:
        """Nobody will ask for it again."""

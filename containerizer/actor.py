"""The containerizer actor: the agent's way to the kernel, in a process of its own.

Spawn it on a node of its own process, which is the only one that needs to be root::

    config = ContainerizerConfig(runtime_directory="/run/kaon/agent-1", hidden=("/var/lib/kaon",))
    node.spawn(ContainerizerActor, "containerizer", ContainerizerState(config=config))

Its state can be lost at any time: it is read again from :mod:`containerizer.records`, and live containers are found by
their process ids and start times.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from containerizer.attaching import Attaching
from containerizer.errors import ContainerizerError
from containerizer.messages import ContainerUsage
from containerizer.processes import Process
from containerizer.spec import ContainerSpec, Limits
from containerizer.state import ContainerizerConfig, ContainerizerState, ContainerState
from containerizer.streaming import AttachOutput
from containerizer.work import Work
from runtime.actor import Edge, receive
from runtime.message import EdgeFailed
from runtime.pid import PID

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class ContainerizerActor(Attaching, Edge[ContainerizerState]):
    """A containerizer on a real machine. Whatever waits runs in :class:`containerizer.work.Work`, beside the turns."""

    _work: Work | None = None
    _usages: Sequence[ContainerUsage] = ()

    def open(self) -> None:
        """Find out what this host can do, and what runs here already.

        Raises :class:`~runtime.errors.ConfigurationError` or :class:`~containerizer.errors.Unsupported`.
        """
        self._work = Work(self.loop, self.state.config, self.post)
        self.state.host = self._work.capabilities
        self.state.containers = self._work.find()

    def close(self) -> None:
        """Containers go on."""
        if self._work is not None:
            self._work.close()

    @property
    def work(self) -> Work:
        """There from `open` on."""
        assert self._work is not None
        return self._work

    def begin_launch(self, spec: ContainerSpec) -> None:
        """See the base."""
        self.start(self.work.launch(spec), f"launch {spec.id}")

    def begin_watch(self, container_id: str) -> None:
        """See the base."""
        self.work.watch(container_id)

    def begin_kill(self, container_id: str, process: Process) -> None:
        """See the base."""
        self.start(self.work.kill(container_id, process), f"kill {container_id}")

    def begin_clean(self, container_id: str, container: ContainerState) -> None:
        """See the base."""
        work = self.work.clean(container_id, destroyed=container.destroyed, limitation=container.limitation)
        self.start(work, f"clean {container_id}")

    def begin_update(self, container_id: str, limits: Limits) -> None:
        """See the base."""
        self.start(self.work.update(container_id, self.request, limits), f"update {container_id}")

    def begin_usage(self, container_ids: list[str]) -> None:
        """See the base."""
        self.start(self.work.usage(container_ids, self.request, self.now), "usage")

    def send_signal(self, container_id: str, process: Process, number: int, *, everyone: bool) -> None:
        """See the base. A signal is sent at once: it waits for nothing."""
        self.work.send_signal(container_id, process, number, everyone=everyone)

    def begin_output(self, stream: int, message: AttachOutput) -> str:
        """See the base."""
        return self.work.streams.attach_output(stream, message)

    def begin_input(self, stream: int, container_id: str) -> str:
        """See the base."""
        return self.work.streams.attach_input(stream, container_id)

    def credit_output(self, stream: int, size_bytes: int) -> None:
        """See the base."""
        self.work.streams.credit(stream, size_bytes)

    def write_input(self, stream: int, data: bytes) -> None:
        """See the base."""
        self.work.streams.write(stream, data)

    def end_input(self, stream: int) -> None:
        """See the base."""
        self.work.streams.end_input(stream)

    def end_stream(self, stream: int) -> None:
        """See the base."""
        self.work.streams.end(stream)

    def set_window(self, container_id: str, rows: int, columns: int) -> str:
        """See the base."""
        return self.work.streams.set_window(container_id, rows, columns)

    def forget(self, container_id: str) -> None:
        """See the base."""
        self.work.forget(container_id)

    async def refresh(self) -> None:
        """See `runtime.metrics`: read what containers use, for whoever looks at the metrics."""
        self._usages = await self.work.gather([*self.state.containers], time.time())

    def families(self) -> Iterator[Metric]:
        """See `runtime.metrics`."""
        from containerizer import usage_metrics  # only who is asked over HTTP pays for Prometheus's library

        return usage_metrics.families(self._usages)

    @receive(EdgeFailed)
    def edge_failed(self, sender: PID, message: EdgeFailed) -> None:
        """A broken invariant of ours outside a turn: as in a turn, the actor fails and its successor recovers."""
        raise ContainerizerError(f"{message.task}: {message.error}")


__all__ = ["ContainerizerActor", "ContainerizerConfig", "ContainerizerState"]

"""Runs a containerizer, the real one or the simulated one, with a test in the part of the agent.

A test asks and waits; how time passes meanwhile is the harness's affair: a real machine needs real time, a simulated
one has its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from containerizer.actor import ContainerizerActor
from containerizer.isolators import PLAIN
from containerizer.isolators.bridge import BridgeNetwork
from containerizer.messages import (
    Attach,
    Collected,
    ContainerExited,
    Describe,
    Destroy,
    Destroyed,
    HostCapabilities,
    Kill,
    Killed,
    Launch,
    Launched,
    Limitation,
    Recover,
    Recovered,
)
from containerizer.processes import descendants_of, read_stat
from containerizer.simulated import SimulatedContainerizer, SimulatedState
from containerizer.spec import ContainerSpec
from containerizer.state import ContainerizerConfig, ContainerizerState
from containerizer.turns import Containerizer
from runtime.clock import RealClock, VirtualClock
from runtime.message import Message
from runtime.node import Node
from runtime.transport.memory import MemoryTransport, Network
from tests.containerizer.asking import Order, TestAgent
from tests.containerizer.holding import HeldLaunch

PATIENCE_SECONDS = 30.0
"""For anything that a test waits for, real or virtual."""

M = TypeVar("M", bound=Message)


class Harness:
    """What the two kinds have in common. `directory` is for sandboxes, unless they are to lie elsewhere."""

    directory: Path
    elsewhere: Path | None = None
    clock: Any
    node: Node

    def __init__(self) -> None:
        self._numbers = 0

    def spawn(self, actor_class: type[Containerizer], state: ContainerizerState) -> None:
        self.containerizer_pid = self.node.spawn(actor_class, "containerizer", state)
        self.agent_pid = self.node.spawn(TestAgent, "agent", msgspec.Struct())
        self.node.spawn(TestAgent, "visitor", msgspec.Struct())

    @property
    def sandboxes(self) -> Path:
        return self.elsewhere or self.directory / "sandboxes"

    @property
    def agent(self) -> TestAgent:
        agent = self.node.cells["agent"].actor
        assert isinstance(agent, TestAgent)
        return agent

    @property
    def visitor(self) -> TestAgent:
        """Somebody else than the agent, with sessions of its own."""
        visitor = self.node.cells["visitor"].actor
        assert isinstance(visitor, TestAgent)
        return visitor

    @property
    def state(self) -> ContainerizerState:
        state = self.node.cells["containerizer"].actor.state
        assert isinstance(state, ContainerizerState)
        return state

    def begin(self, question: Message, *, is_ask: bool = True) -> int:
        """Ask without waiting; returns the question's number."""
        return self._begin(self.agent, question, is_ask=is_ask)

    def visit(self, question: Message, *, is_ask: bool = True) -> int:
        """The same by the visitor."""
        return self._begin(self.visitor, question, is_ask=is_ask)

    def _begin(self, actor: TestAgent, question: Message, *, is_ask: bool) -> int:
        self._numbers += 1
        actor.orders.append((self._numbers, self.containerizer_pid, question, is_ask))
        self.node.post(actor.pid, Order())
        return self._numbers

    def end_visitor(self) -> None:
        """As if its process was killed."""
        self.visitor.leaving = True
        self.node.post(self.visitor.pid, Order())

    def tell(self, message: Message) -> None:
        self.begin(message, is_ask=False)

    def answer(self, number: int) -> Message:
        self.until(lambda: number in self.agent.answers, f"answer {number}")
        return self.agent.answers[number]

    def ask(self, question: Message, expected: type[M]) -> M:
        answer = self.answer(self.begin(question))
        assert isinstance(answer, expected), answer
        return answer

    def until(self, condition: Callable[[], object], what: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    # Words that tests are written in ---------------------------------------------------------------------------------

    def attach(self) -> None:
        self.tell(Attach())
        self.ask(Describe(), HostCapabilities)

    def spec(self, container_id: str, shell: str = "", **fields: Any) -> ContainerSpec:
        sandbox = str(self.sandboxes / container_id)
        fields.setdefault("kill_grace_seconds", 0.0)
        return ContainerSpec(id=container_id, sandbox=sandbox, shell=shell, **fields)

    def launch(self, container_id: str, shell: str = "", **fields: Any) -> Launched:
        return self.ask(Launch(spec=self.spec(container_id, shell, **fields)), Launched)

    def launch_session(self, container_id: str, shell: str = "", **fields: Any) -> Launched:
        """A container of the visitor's."""
        visitor = self.visitor
        number = self.visit(Launch(spec=self.spec(container_id, shell, **fields), session=True))
        self.until(lambda: number in visitor.answers, f"the launch of {container_id}")
        answer = visitor.answers[number]
        assert isinstance(answer, Launched), answer
        return answer

    def recover(self, container_ids: tuple[str, ...]) -> Recovered:
        return self.ask(Recover(containers=container_ids), Recovered)

    def exits(self, container_id: str) -> list[ContainerExited]:
        heard = self.agent.heard
        return [one for one in heard if isinstance(one, ContainerExited) and one.container_id == container_id]

    def exit_of(self, container_id: str) -> ContainerExited:
        self.until(lambda: self.exits(container_id), f"exit of {container_id}")
        return self.exits(container_id)[0]

    def limitations(self, container_id: str) -> list[Limitation]:
        heard = self.agent.heard
        return [one for one in heard if isinstance(one, Limitation) and one.container_id == container_id]

    def limitation_of(self, container_id: str) -> Limitation:
        self.until(lambda: self.limitations(container_id), f"limitation of {container_id}")
        return self.limitations(container_id)[0]

    def run(self, container_id: str, shell: str = "", **fields: Any) -> ContainerExited:
        """Launch and wait for the end."""
        self.launch(container_id, shell, **fields)
        return self.exit_of(container_id)

    def collect(self, container_id: str) -> None:
        """Have an exit forgotten."""
        self.tell(Collected(container_id=container_id))
        self.until(lambda: container_id not in self.state.containers, "forgetting")

    def kill(self, container_id: str, number: int) -> None:
        self.ask(Kill(container_id=container_id, signal=number), Killed)

    def launch_all(self, container_ids: list[str], shell: str = "", **fields: Any) -> None:
        numbers = [self.begin(Launch(spec=self.spec(one, shell, **fields))) for one in container_ids]
        for number in numbers:
            answer = self.answer(number)
            assert isinstance(answer, Launched), answer

    def destroy_all(self, container_ids: list[str]) -> None:
        numbers = [self.begin(Destroy(container_id=one, grace_seconds=0.0)) for one in container_ids]
        for number in numbers:
            assert isinstance(self.answer(number), Destroyed)

    def destroy(self, container_id: str, grace_seconds: float | None = 0.0) -> None:
        self.ask(Destroy(container_id=container_id, grace_seconds=grace_seconds), Destroyed)

    def await_output(self, container_id: str, text: str) -> None:
        """Until the command has come so far as to say `text`; a simulated one is there at once."""
        raise NotImplementedError

    def output(self, container_id: str, name: str = "stdout") -> str:
        return (self.sandboxes / container_id / name).read_text()


class RealHarness(Harness):
    """The containerizer actor on a node of this process, with a zygote of its own."""

    def __init__(self, *isolation: str, hide_sandboxes: bool = False, **config: Any) -> None:
        super().__init__()
        self.elsewhere = config.pop("elsewhere", None)
        # Short, because the zygote's socket is in it, and pytest's own directories are long.
        self.directory = Path(tempfile.mkdtemp(dir="/tmp", prefix="kc-"))
        self.directory.chmod(0o755)
        self.isolation = isolation or (PLAIN,)
        self.config = {"hidden": (str(self.sandboxes),), **config} if hide_sandboxes else config
        (self.directory / "sandboxes").mkdir()
        self.loop = asyncio.new_event_loop()
        self._start()

    @property
    def runtime_directory(self) -> Path:
        return self.directory / "run"

    def _start(self) -> None:
        self.clock = RealClock(self.loop)
        config = ContainerizerConfig(
            runtime_directory=str(self.runtime_directory), isolation=self.isolation, **self.config
        )

        async def start() -> None:
            self.node = Node("test", MemoryTransport(Network(self.clock)), self.clock, seed="test")
            # The node learns its loop from where it is first asked for it.
            assert self.node.loop is self.loop
            self.spawn(ContainerizerActor, ContainerizerState(config=config))

        self.loop.run_until_complete(start())

    def until(self, condition: Callable[[], object], what: str) -> None:
        async def wait() -> None:
            end = time.monotonic() + PATIENCE_SECONDS
            while not condition():
                assert not self.node.failure, self.node.failure
                assert time.monotonic() < end, f"{what} did not come: heard {self.agent.heard}"
                await asyncio.sleep(0.002)

        self.loop.run_until_complete(wait())

    def await_output(self, container_id: str, text: str) -> None:
        self.until(lambda: text in self.output(container_id), f"{text!r} of {container_id}")

    @property
    def actor(self) -> ContainerizerActor:
        actor = self.node.cells["containerizer"].actor
        assert isinstance(actor, ContainerizerActor)
        return actor

    def zygote_pid(self) -> int:
        return int((self.runtime_directory / "zygote.lock").read_text())

    def kill_zygote(self) -> None:
        """As kill -9 does, and wait until it is gone."""
        pid = self.zygote_pid()
        pidfd = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
            self.until(lambda: is_gone(pid), "the zygote's end")
        finally:
            os.close(pidfd)

    def forget(self) -> None:
        """End the actor as kill -9 of its process would: nothing is told, nothing cleaned up."""
        self.node.kill()
        actor, work = self.actor, self.actor.work

        async def drop() -> None:
            actor.cancel_tasks()
            work.abandon()
            for one in work.isolators:
                one.close()
            await asyncio.sleep(0)

        self.loop.run_until_complete(drop())

    def revive(self) -> None:
        """A new containerizer in place of one that was forgotten."""
        self._start()

    def restart(self) -> None:
        """A new life of the containerizer and of its agent."""
        self.forget()
        self.revive()

    def settle(self) -> None:
        """Until networks that a start has found are looked after."""
        for isolator in self.actor.work.isolators:
            if isinstance(isolator, BridgeNetwork) and isolator.looking_after is not None:
                self.until(isolator.looking_after.done, "the end of looking after networks")

    def hold_before_go(self, container_id: str) -> HeldLaunch:
        """Begin a launch whose init exists and is not told to go on; its command would make a file ``ran``."""
        held = HeldLaunch()
        self.actor.work.isolators.append(held.isolator)
        self.begin(Launch(spec=self.spec(container_id, "touch ran")))
        self.until(lambda: held.isolator.process_id, "an init that waits")
        return held

    def descendants(self, pid: int) -> list[int]:
        return descendants_of(pid)

    def is_gone(self, pid: int) -> bool:
        return is_gone(pid)

    def stop(self) -> None:
        """End containers, containerizer and zygote."""
        if not self.node.failure and not self.node.stopping:
            self.destroy_all([one for one in self.state.containers if "." not in one])
        self.loop.run_until_complete(self.node.stop(1.0))
        if (self.runtime_directory / "zygote.lock").exists():
            pid = self.zygote_pid()
            self.wait_gone(pid)

    def close(self) -> None:
        self.stop()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.directory)

    def wait_gone(self, pid: int) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_gone(pid):
            assert time.monotonic() < end, f"process {pid} does not end"
            time.sleep(0.002)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, be it buried or not."""
    fields = read_stat(pid)
    return fields is None or fields[0] == "Z"


class SimulatedHarness(Harness):
    """The simulated containerizer on a virtual clock."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path("/simulated")
        self.clock = VirtualClock(1_000_000.0)
        self._state = SimulatedState()
        self._start()

    def _start(self) -> None:
        self.node = Node("test", MemoryTransport(Network(self.clock)), self.clock, seed="test")
        self.spawn(SimulatedContainerizer, self._state)

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = self.clock.now() + PATIENCE_SECONDS
        while not condition():
            assert not self.node.failure, self.node.failure
            assert self.clock.now() < end, f"{what} did not come: heard {self.agent.heard}"
            assert self.clock.step(), f"{what} did not come, and nothing will happen any more"

    def await_output(self, container_id: str, text: str) -> None:
        pass

    def restart(self) -> None:
        assert isinstance(self.state, SimulatedState)
        self._state = self.state
        self.node.kill()
        self.clock = VirtualClock(self.clock.now())
        self._start()

    def close(self) -> None:
        self.node.kill()

"""Turns of an executor, its work in threads and inline, and what it reads from its environment."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from actors.executor.executor import LEAVE_TIMEOUT_SECONDS, RECOVERY_TIMEOUT_SECONDS, Executor
from actors.executor.run import executor_state
from actors.executor.state import (
    AgentStayedAway,
    ExecutorState,
    LeaveTimedOut,
    SubscribeAgain,
    WorkDone,
    WorkFailed,
    WorkState,
)
from actors.executor.work import InlineWork, ThreadWork
from actors.messages.executing import (
    ExecutorMessage,
    ExecutorRefused,
    ExecutorSubscribed,
    ExecutorUpdate,
    KillExecutorTask,
    LaunchTask,
    MessageForExecutor,
    ShutdownExecutor,
    SubscribeExecutor,
    UpdateAccepted,
)
from actors.messages.records import (
    AgentInfo,
    CommandInfo,
    ExecutorInfo,
    FrameworkInfo,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from allocator.resources import EMPTY
from runtime.actor import Actor, State, receive
from runtime.clock import RealClock
from runtime.effects import After, Effect, Link, Send, Spawn, Stop
from runtime.errors import ConfigurationError, TransportError
from runtime.message import Exited, Message, Terminate
from runtime.node import Node
from runtime.pid import PID
from runtime.program import watch_end
from runtime.testing import World, make, sent, start, turn
from runtime.transport.memory import MemoryTransport, Network

AGENT_ADDRESS = PID("agent", "ipc:///run/a.sock")
AGENT = PID("agent", "a1", 3)
SUBSCRIBED = ExecutorSubscribed(
    executor=ExecutorInfo(executor_id="e", command=CommandInfo(shell="x")),
    framework=FrameworkInfo(name="test", framework_id="f1"),
    agent=AgentInfo(hostname="h", resources=EMPTY),
    container_id="c1",
)


class NotedState(ExecutorState, kw_only=True):
    told: list[Any] = msgspec.field(default_factory=list)


class Noting(Executor[NotedState]):
    work = InlineWork

    def registered(self, executor: ExecutorInfo, framework: FrameworkInfo, agent: AgentInfo) -> None:
        self.state.told.append(("registered", executor.executor_id, framework.framework_id, agent.hostname))

    def launch(self, task: TaskInfo) -> None:
        self.state.told.append(("launch", task.task_id))
        if task.data:
            self.run(task, reversed_bytes, task.data)

    def message(self, data: bytes) -> None:
        self.send_to_scheduler(data)

    def disconnected(self) -> None:
        self.state.told.append(("disconnected",))


class AgentState(State):
    statuses: list[TaskStatus] = msgspec.field(default_factory=list)


def reversed_bytes(data: bytes) -> bytes:
    if data == b"bad":
        raise ValueError("bad data")
    return data[::-1]


def state() -> NotedState:
    return NotedState(agent=AGENT_ADDRESS, framework_id="f1", executor_id="e", container_id="c1")


def task(task_id: str = "t1", data: bytes = b"") -> LaunchTask:
    return LaunchTask(task=TaskInfo(task_id=task_id, agent_id="a1", resources=EMPTY, data=data))


def connected() -> Any:
    executor = make(Noting, state())
    start(executor)
    turn(executor, SUBSCRIBED, sender=AGENT)
    executor.state.told.clear()
    return executor


def updated(executor: Any, task_id: str, task_state: TaskState) -> list[Effect]:
    executor.update(task_id, task_state)
    effects, executor._outbox = executor._outbox, []
    return list(effects)


def lose(executor: Any) -> list[Effect]:
    turn(executor, Exited(pid=AGENT_ADDRESS, reason="killed"))
    return turn(executor, Exited(pid=AGENT, reason="killed"))


def test_it_subscribes_at_once_and_every_second_until_answered() -> None:
    executor = make(Noting, state())
    effects = start(executor)
    assert effects[1:] == [
        Link(AGENT_ADDRESS),
        Send(AGENT_ADDRESS, SubscribeExecutor(framework_id="f1", executor_id="e", container_id="c1")),
        After(2, 1.0, SubscribeAgain()),
    ]
    assert sent(turn(executor, SubscribeAgain(), sender=executor.pid), SubscribeExecutor)
    turn(executor, SUBSCRIBED, sender=AGENT)
    assert executor.state.told == [("registered", "e", "f1", "h")]
    assert turn(executor, SubscribeAgain(), sender=executor.pid) == []


def test_updates_name_their_task_and_are_kept_until_accepted() -> None:
    executor = connected()
    turn(executor, task(), sender=AGENT, now=5.0)
    (update,) = sent(updated(executor, "t1", TaskState.RUNNING), ExecutorUpdate)
    status = update.status
    assert (status.task_id, status.agent_id, status.executor_id, status.container_id) == ("t1", "a1", "e", "c1")
    assert (len(status.uuid), status.timestamp) == (32, 5.0)
    assert list(executor.state.connection.unacknowledged) == [status.uuid]
    turn(executor, UpdateAccepted(task_id="t1", uuid=status.uuid), sender=PID("agent", "another"))
    assert executor.state.connection.unacknowledged
    turn(executor, UpdateAccepted(task_id="t1", uuid=status.uuid), sender=AGENT)
    assert executor.state.connection.unacknowledged == {}


def test_an_ended_task_cannot_be_updated() -> None:
    executor = connected()
    turn(executor, task(), sender=AGENT)
    updated(executor, "t1", TaskState.FINISHED)
    with pytest.raises(ValueError, match="no task 't1'"):
        executor.update("t1", TaskState.RUNNING)


def test_a_task_is_launched_once() -> None:
    executor = connected()
    for sender in (AGENT, AGENT, PID("agent", "another")):
        turn(executor, task(), sender=sender)
    assert executor.state.told == [("launch", "t1")]


def test_what_was_not_accepted_is_repeated_to_an_agent_that_comes_back() -> None:
    executor = connected()
    for name in ("t1", "t2"):
        turn(executor, task(name), sender=AGENT)
    (running,) = sent(updated(executor, "t1", TaskState.RUNNING), ExecutorUpdate)
    turn(executor, UpdateAccepted(task_id="t1", uuid=running.status.uuid), sender=AGENT)
    lose(executor)
    assert updated(executor, "t1", TaskState.FINISHED) == [], "kept for later"
    (subscribe,) = sent(turn(executor, SubscribeAgain(), sender=executor.pid), SubscribeExecutor)
    assert [status.state for status in subscribe.unacknowledged_updates] == [TaskState.FINISHED]
    assert [info.task_id for info in subscribe.unacknowledged_tasks] == ["t2"]
    updated(executor, "t2", TaskState.FINISHED)
    later = sent(turn(executor, SUBSCRIBED, sender=PID("agent", "a1", 4)), ExecutorUpdate)
    assert [update.status.task_id for update in later] == ["t2"], "t1 was in the subscription"


def test_an_agent_that_stays_away_ends_it() -> None:
    executor = connected()
    effects = lose(executor)
    assert ("disconnected",) in executor.state.told
    assert any(isinstance(effect, After) and effect.delay_seconds == RECOVERY_TIMEOUT_SECONDS for effect in effects)
    assert turn(executor, AgentStayedAway(), sender=executor.pid) == [Stop(reason="failed: no agent in 900 s")]


def test_an_agent_that_refuses_it_ends_it() -> None:
    (stop,) = turn(connected(), ExecutorRefused(reason="unknown"), sender=AGENT)
    assert isinstance(stop, Stop)
    assert stop.reason == "failed: the agent does not want this executor: unknown"


def test_messages_travel_both_ways() -> None:
    effects = turn(connected(), MessageForExecutor(data=b"x"), sender=AGENT)
    assert effects == [Send(AGENT, ExecutorMessage(framework_id="f1", executor_id="e", data=b"x"))]


def test_run_says_running_and_hands_the_result_to_done() -> None:
    executor = connected()
    effects = turn(executor, task(data=b"abc"), sender=AGENT)
    assert [update.status.state for update in sent(effects, ExecutorUpdate)] == [TaskState.RUNNING]
    (spawn,) = (effect for effect in effects if isinstance(effect, Spawn))
    assert spawn.state == WorkState(owner=executor.pid, task_id="t1", function=reversed_bytes, arguments=(b"abc",))
    assert turn(executor, WorkDone(task_id="t1", result=b"forged"), sender=AGENT) == []
    work = PID("work-1", executor.pid.node, executor.pid.incarnation)
    (update,) = sent(turn(executor, WorkDone(task_id="t1", result=b"cba"), sender=work), ExecutorUpdate)
    assert (update.status.state, update.status.data) == (TaskState.FINISHED, b"cba")


def test_what_run_raises_fails_the_task() -> None:
    executor = connected()
    turn(executor, task(data=b"bad"), sender=AGENT)
    work = PID("work-1", executor.pid.node, executor.pid.incarnation)
    (update,) = sent(turn(executor, WorkFailed(task_id="t1", error="ValueError: bad"), sender=work), ExecutorUpdate)
    assert (update.status.state, update.status.message) == (TaskState.FAILED, "ValueError: bad")


def test_a_killed_task_is_given_up() -> None:
    executor = connected()
    turn(executor, task(data=b"abc"), sender=AGENT)
    effects = turn(executor, KillExecutorTask(task_id="t1"), sender=AGENT)
    assert Stop("work-1") in effects
    assert [update.status.state for update in sent(effects, ExecutorUpdate)] == [TaskState.KILLED]
    assert turn(executor, KillExecutorTask(task_id="t1"), sender=AGENT) == [], "it has ended"


@pytest.mark.parametrize("order", [ShutdownExecutor(grace_seconds=5.0), Terminate(deadline_seconds=5.0)])
def test_it_leaves_when_its_last_update_is_accepted(order: Any) -> None:
    executor = connected()
    turn(executor, task(), sender=AGENT)
    effects = turn(executor, order, sender=AGENT)
    (update,) = sent(effects, ExecutorUpdate)
    assert not any(isinstance(effect, Stop) for effect in effects)
    effects = turn(executor, UpdateAccepted(task_id="t1", uuid=update.status.uuid), sender=AGENT)
    assert effects == [Stop()]


def test_it_does_not_wait_for_ever_to_leave() -> None:
    executor = connected()
    turn(executor, task(), sender=AGENT)
    effects = turn(executor, ShutdownExecutor(grace_seconds=5.0), sender=AGENT)
    assert any(isinstance(effect, After) and effect.delay_seconds == LEAVE_TIMEOUT_SECONDS for effect in effects)
    (stop,) = turn(executor, LeaveTimedOut(), sender=executor.pid)
    assert isinstance(stop, Stop)


class Agent(Actor[AgentState]):
    """As much of an agent as an executor talks to."""

    @receive(SubscribeExecutor)
    def subscribe(self, sender: PID, message: SubscribeExecutor) -> None:
        self.send(sender, SUBSCRIBED)
        self.send(sender, task("t1", b"abc"))
        self.send(sender, task("t2", b"bad"))

    @receive(ExecutorUpdate)
    def update(self, sender: PID, message: ExecutorUpdate) -> None:
        self.state.statuses.append(message.status)
        self.send(sender, UpdateAccepted(task_id=message.status.task_id, uuid=message.status.uuid))
        if len(self.state.statuses) == 4:
            self.send(sender, ShutdownExecutor(grace_seconds=1.0))


def test_over_a_network_work_is_done_and_reported_and_it_leaves() -> None:
    world = World(seed=1)
    agent = world.node("a1", listen="simulated://a1")
    agent.spawn(Agent, "agent", AgentState())
    node = world.node("c1")
    node.spawn(Noting, "executor", msgspec.structs.replace(state(), agent=PID("agent", "simulated://a1")))
    world.run(1.0)
    told = [(status.task_id, status.state, status.data) for status in agent.state_of("agent").statuses]
    assert told == [
        ("t1", TaskState.RUNNING, b""),
        ("t2", TaskState.RUNNING, b""),
        ("t1", TaskState.FINISHED, b"cba"),
        ("t2", TaskState.FAILED, b""),
    ]
    assert "executor" not in node.cells


class Owner(Actor[WorkState]):
    """Has the work of its own state done in a thread, and keeps what it is told."""

    told: list[Message]

    def started(self) -> None:
        self.spawn(ThreadWork, "work", msgspec.structs.replace(self.state, owner=self.pid))

    def unhandled(self, sender: PID, message: Message) -> None:
        self.told = [message]
        self.stop()


async def told_by_thread(function: Any, *arguments: Any) -> list[Message]:
    clock = RealClock(asyncio.get_running_loop())
    node = Node("n", MemoryTransport(Network(clock)), clock)
    work = WorkState(owner=AGENT, task_id="t", function=function, arguments=arguments)
    pid = node.spawn(Owner, "owner", work)
    owner = node.cells["owner"].actor
    assert isinstance(owner, Owner)
    await asyncio.wait_for(watch_end(node, pid), 10.0)
    await node.stop(1.0)
    return owner.told


def test_a_thread_tells_what_the_function_returned() -> None:
    assert asyncio.run(told_by_thread(reversed_bytes, b"abc")) == [WorkDone(task_id="t", result=b"cba")]


def test_a_thread_tells_what_the_function_raised() -> None:
    assert asyncio.run(told_by_thread(reversed_bytes, b"bad")) == [
        WorkFailed(task_id="t", error="ValueError: bad data")
    ]


# The environment ------------------------------------------------------------------------------------------------------

ENVIRONMENT = {
    "KAON_AGENT_ENDPOINT": f"ipc:///run/a.sock?key={'ab' * 32}",
    "KAON_FRAMEWORK_ID": "f1",
    "KAON_EXECUTOR_ID": "e",
    "KAON_CONTAINER_ID": "c1",
    "KAON_EXECUTOR_SECRET": f"{'01' * 32}:{'02' * 32}",
}


def test_the_environment_says_who_it_is_and_keeps_no_key() -> None:
    environment = dict(ENVIRONMENT)
    filled, key = executor_state(NotedState(), environment)
    assert (filled.framework_id, filled.executor_id, filled.container_id) == ("f1", "e", "c1")
    assert filled.agent == PID("agent", ENVIRONMENT["KAON_AGENT_ENDPOINT"])
    assert key is not None
    assert (key.principal, key.public, key.secret, key.server) == ("c1", b"\1" * 32, b"\2" * 32, b"\xab" * 32)
    assert "KAON_EXECUTOR_SECRET" not in environment


def test_what_is_missing_or_wrong_in_the_environment_is_named() -> None:
    with pytest.raises(
        ConfigurationError, match="KAON_FRAMEWORK_ID, KAON_CONTAINER_ID not set: an executor is started"
    ):
        executor_state(NotedState(), {**ENVIRONMENT, "KAON_FRAMEWORK_ID": "", "KAON_CONTAINER_ID": ""})
    with pytest.raises(ConfigurationError, match="public:secret"):
        executor_state(NotedState(), {**ENVIRONMENT, "KAON_EXECUTOR_SECRET": "secret"})
    with pytest.raises(TransportError, match="no address"):
        executor_state(NotedState(), {**ENVIRONMENT, "KAON_AGENT_ENDPOINT": "here"})
    assert executor_state(NotedState(), {**ENVIRONMENT, "KAON_EXECUTOR_SECRET": ""})[1] is None

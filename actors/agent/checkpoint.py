"""From records to state and back: what a record changes, and which records say all of a state.

`apply` runs in a living agent when it writes a record and in a recovering one when it reads it: there is one way to
get to a state. Both are plain functions without clock and chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from actors.agent.constants import SANDBOXES_REMEMBERED, STATUSES_KEPT, UPDATES_REMEMBERED
from actors.agent.records import (
    AgentAdmitted,
    AgentLeft,
    AgentRecord,
    ExecutorEnding,
    ExecutorGone,
    ExecutorPlanned,
    FrameworkEnding,
    FrameworkSeen,
    SandboxKept,
    StreamKept,
    TaskPlanned,
    UpdateAcknowledged,
    UpdateQueued,
)
from actors.agent.state import AgentState, Executor, Framework, Sandbox, TaskRun, UpdateStream
from actors.messages.records import FrameworkInfo, Task, TaskStatus


def apply(state: AgentState, record: AgentRecord) -> None:
    """Change `state` as `record` says."""
    _APPLY[type(record)](state, record)


def snapshot(state: AgentState) -> list[AgentRecord]:
    """Records that, applied to an empty state, give what `state` knows durably."""
    records: list[AgentRecord] = []
    if state.agent_id:
        records.append(AgentAdmitted(agent_id=state.agent_id))
    for sandbox_key, sandbox in state.sandboxes.items():
        records.append(
            SandboxKept(
                framework_id=sandbox.framework_id,
                task_id=sandbox_key.partition("/")[2],
                executor_id=sandbox.executor_id,
                container_id=sandbox.container_id,
            )
        )
    for framework_id, framework in state.frameworks.items():
        records.extend(_snapshot_of(framework_id, framework))
    return records


def _snapshot_of(framework_id: str, framework: Framework) -> Iterator[AgentRecord]:
    yield FrameworkSeen(framework=framework.info)
    for executor in framework.executors.values():
        yield ExecutorPlanned(
            framework_id=framework_id,
            executor_id=executor.executor_id,
            container_id=executor.container_id,
            role=executor.role,
            info=executor.info,
        )
        if executor.ending is not None:
            yield executor.ending
    for run in framework.tasks.values():
        yield TaskPlanned(executor_id=run.executor_id, task=run.task)
    for task_id, stream in framework.streams.items():
        yield StreamKept(
            framework_id=framework_id, task_id=task_id, pending=tuple(stream.pending), seen=tuple(stream.seen)
        )
    if framework.ending:
        yield FrameworkEnding(framework_id=framework_id)


# What each record changes ---------------------------------------------------------------------------------------------


def _admitted(state: AgentState, record: AgentAdmitted) -> None:
    state.agent_id = record.agent_id


def _left(state: AgentState, record: AgentLeft) -> None:
    state.agent_id = ""
    state.frameworks.clear()
    state.containers.clear()
    state.sandboxes.clear()


def _framework_seen(state: AgentState, record: FrameworkSeen) -> None:
    framework_id = record.framework.framework_id
    framework = state.frameworks.get(framework_id)
    if framework is None:
        state.frameworks[framework_id] = Framework(info=record.framework)
    else:
        framework.info = record.framework


def _framework_ending(state: AgentState, record: FrameworkEnding) -> None:
    framework = state.frameworks.get(record.framework_id)
    if framework is None:
        return
    framework.ending = True
    framework.streams.clear()
    for task_id in [task_id for task_id, run in framework.tasks.items() if run.task.latest_state.is_terminal]:
        del framework.tasks[task_id]
    _forget_if_idle(state, record.framework_id)


def _executor_planned(state: AgentState, record: ExecutorPlanned) -> None:
    framework = _framework(state, record.framework_id)
    framework.executors[record.executor_id] = Executor(
        framework_id=record.framework_id,
        executor_id=record.executor_id,
        container_id=record.container_id,
        role=record.role,
        info=record.info,
    )
    state.containers[record.container_id] = (record.framework_id, record.executor_id)


def _task_planned(state: AgentState, record: TaskPlanned) -> None:
    task = record.task
    framework = _framework(state, task.framework_id)
    framework.tasks[task.task_id] = TaskRun(task=task, executor_id=record.executor_id)
    executor = framework.executors.get(record.executor_id)
    if executor is not None:
        _remember_sandbox(state, task.task_id, executor)


def _executor_ending(state: AgentState, record: ExecutorEnding) -> None:
    executor = state.executor(record.framework_id, record.executor_id)
    if executor is not None:
        executor.ending = record


def _executor_gone(state: AgentState, record: ExecutorGone) -> None:
    framework = state.frameworks.get(record.framework_id)
    executor = framework.executors.pop(record.executor_id, None) if framework is not None else None
    if executor is not None:
        state.containers.pop(executor.container_id, None)
        _forget_if_idle(state, record.framework_id)


def _update_queued(state: AgentState, record: UpdateQueued) -> None:
    framework = _framework(state, record.framework_id)
    status = record.status
    run = framework.tasks.get(status.task_id)
    if run is not None:
        run.task = with_status(run.task, status)
    if framework.ending:
        if run is not None and status.state.is_terminal:
            del framework.tasks[status.task_id]
        _forget_if_idle(state, record.framework_id)
        return
    stream = framework.streams.setdefault(status.task_id, UpdateStream())
    stream.pending.append(status)
    stream.seen.append(status.uuid)
    del stream.seen[:-UPDATES_REMEMBERED]


def _update_acknowledged(state: AgentState, record: UpdateAcknowledged) -> None:
    framework = state.frameworks.get(record.framework_id)
    stream = framework.streams.get(record.task_id) if framework is not None else None
    if framework is None or stream is None or not stream.pending or stream.pending[0].uuid != record.uuid:
        return
    if stream.pending.pop(0).state.is_terminal:
        del framework.streams[record.task_id]
        framework.tasks.pop(record.task_id, None)
        _forget_if_idle(state, record.framework_id)


def _stream_kept(state: AgentState, record: StreamKept) -> None:
    framework = _framework(state, record.framework_id)
    framework.streams[record.task_id] = UpdateStream(pending=list(record.pending), seen=list(record.seen))


def _sandbox_kept(state: AgentState, record: SandboxKept) -> None:
    state.sandboxes[sandbox_key(record.framework_id, record.task_id)] = Sandbox(
        framework_id=record.framework_id, executor_id=record.executor_id, container_id=record.container_id
    )


_APPLY: Final[dict[type[Any], Callable[[AgentState, Any], None]]] = {
    AgentAdmitted: _admitted,
    AgentLeft: _left,
    FrameworkSeen: _framework_seen,
    FrameworkEnding: _framework_ending,
    ExecutorPlanned: _executor_planned,
    TaskPlanned: _task_planned,
    ExecutorEnding: _executor_ending,
    ExecutorGone: _executor_gone,
    UpdateQueued: _update_queued,
    UpdateAcknowledged: _update_acknowledged,
    StreamKept: _stream_kept,
    SandboxKept: _sandbox_kept,
}


# Parts ----------------------------------------------------------------------------------------------------------------


def sandbox_key(framework_id: str, task_id: str) -> str:
    """Key of `AgentState.sandboxes`: ids have no slash."""
    return f"{framework_id}/{task_id}"


def with_status(task: Task, status: TaskStatus) -> Task:
    """The task after `status`: its history keeps one entry per change of state, and no data."""
    kept = [past for past in task.statuses if past.state is not status.state]
    kept.append(msgspec.structs.replace(status, data=b"") if status.data else status)
    return msgspec.structs.replace(task, latest_state=status.state, statuses=tuple(kept[-STATUSES_KEPT:]))


def _framework(state: AgentState, framework_id: str) -> Framework:
    """The framework; a nameless one for updates about tasks that never came here."""
    framework = state.frameworks.get(framework_id)
    if framework is None:
        info = FrameworkInfo(name="", framework_id=framework_id)
        framework = state.frameworks[framework_id] = Framework(info=info)
    return framework


def _remember_sandbox(state: AgentState, task_id: str, executor: Executor) -> None:
    key = sandbox_key(executor.framework_id, task_id)
    state.sandboxes.pop(key, None)
    state.sandboxes[key] = Sandbox(
        framework_id=executor.framework_id, executor_id=executor.executor_id, container_id=executor.container_id
    )
    while len(state.sandboxes) > SANDBOXES_REMEMBERED:
        del state.sandboxes[next(iter(state.sandboxes))]


def _forget_if_idle(state: AgentState, framework_id: str) -> None:
    framework = state.frameworks[framework_id]
    if not (framework.executors or framework.tasks or framework.streams):
        del state.frameworks[framework_id]

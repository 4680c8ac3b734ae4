"""The agent's plain functions: bounds of its memory, verdicts, specs, and what a machine has."""

from __future__ import annotations

import pytest

from actors.agent.checkpoint import apply, sandbox_key, with_status
from actors.agent.command_executor import how_it_ended, verdict, wait_status
from actors.agent.constants import SANDBOXES_REMEMBERED, STATUSES_KEPT, UPDATES_REMEMBERED
from actors.agent.detect import detect_resources
from actors.agent.records import ExecutorEnding, ExecutorPlanned, FrameworkSeen, TaskPlanned, UpdateQueued
from actors.agent.sandbox import executor_spec, limits_of
from actors.agent.state import AgentSettings, AgentState, Executor
from actors.messages.records import Reason, Source, Task, TaskState, TaskStatus
from allocator.resources import InvalidResources, Resources
from containerizer.messages import ContainerExited, Limit, Limitation
from containerizer.spec import MIN_MEMORY_BYTES, validate
from runtime.codec import redact
from runtime.pid import PID
from tests.actors.agent.cluster import AGENT_ID, EXECUTOR, FRAMEWORK, command_task, executor_task

SETTINGS = AgentSettings(
    hostname="a1",
    resources=Resources.parse("cpus:1"),
    work_directory="/srv/kaon/",
    containerizer=PID("containerizer", "simulated://c1"),
    executor_address="ipc:///run/kaon/x",
    public_key="ab" * 32,
)


def status(state: TaskState, uuid: str, data: bytes = b"") -> TaskStatus:
    return TaskStatus(task_id="task-1", state=state, source=Source.EXECUTOR, uuid=uuid, data=data)


def state_with_a_task() -> AgentState:
    state = AgentState(settings=SETTINGS)
    apply(state, FrameworkSeen(framework=FRAMEWORK))
    plan_task(state, "task-1")
    return state


def plan_task(state: AgentState, task_id: str) -> None:
    framework_id = FRAMEWORK.framework_id
    planned = ExecutorPlanned(
        framework_id=framework_id, executor_id=task_id, container_id=f"c-{task_id}", role="*", info=None
    )
    apply(state, planned)
    task = Task(info=command_task(task_id), framework_id=framework_id, role="*")
    apply(state, TaskPlanned(executor_id=task_id, task=task))


# Bounds ---------------------------------------------------------------------------------------------------------------


def test_ids_of_updates_are_kept_within_a_bound() -> None:
    state = state_with_a_task()
    for number in range(UPDATES_REMEMBERED + 10):
        update = status(TaskState.RUNNING, f"u{number}")
        apply(state, UpdateQueued(framework_id=FRAMEWORK.framework_id, status=update))
    stream = state.frameworks[FRAMEWORK.framework_id].streams["task-1"]
    assert len(stream.pending) == UPDATES_REMEMBERED + 10, "what is not acknowledged is never forgotten"
    assert stream.seen == [f"u{number}" for number in range(10, UPDATES_REMEMBERED + 10)]


def test_sandboxes_are_remembered_within_a_bound_the_newest_ones() -> None:
    state = AgentState(settings=SETTINGS)
    for number in range(SANDBOXES_REMEMBERED + 5):
        plan_task(state, f"t{number}")
    assert len(state.sandboxes) == SANDBOXES_REMEMBERED
    assert sandbox_key(FRAMEWORK.framework_id, "t4") not in state.sandboxes
    assert sandbox_key(FRAMEWORK.framework_id, "t5") in state.sandboxes


def test_history_of_a_task_has_one_entry_per_state_and_no_data() -> None:
    task = Task(info=command_task(), framework_id="f", role="*")
    for number, state in enumerate([TaskState.STARTING, *[TaskState.RUNNING] * 20, TaskState.FINISHED]):
        task = with_status(task, status(state, f"u{number}", b"x" * 1000))
    assert [one.uuid for one in task.statuses] == ["u0", "u20", "u21"]
    assert all(one.data == b"" for one in task.statuses)
    assert len(task.statuses) <= STATUSES_KEPT
    assert task.latest_state is TaskState.FINISHED


# Verdicts -------------------------------------------------------------------------------------------------------------


def limitation(limit: Limit) -> Limitation:
    return Limitation(container_id="c", limit=limit, message="too much", fatal=True)


ENDING = ExecutorEnding(framework_id="f", executor_id="e", state=TaskState.KILLED, message="killed")


@pytest.mark.parametrize(
    ("exited", "ending", "expected"),
    [
        (ContainerExited(container_id="c", exit_code=0), None, (TaskState.FINISHED, None, "")),
        (ContainerExited(container_id="c", exit_code=0), ENDING, (TaskState.KILLED, None, "killed")),
        (ContainerExited(container_id="c", exit_code=0, destroyed=True), None, (TaskState.KILLED, None, "killed")),
        (
            ContainerExited(container_id="c", signal=9, limitation=limitation(Limit.MEMORY)),
            ENDING,
            (TaskState.FAILED, Reason.CONTAINER_LIMITATION_MEMORY, "too much"),
        ),
        (
            ContainerExited(container_id="c", signal=9, limitation=limitation(Limit.DISK)),
            None,
            (TaskState.FAILED, Reason.CONTAINER_LIMITATION_DISK, "too much"),
        ),
        (
            ContainerExited(container_id="c", signal=9, limitation=limitation(Limit.PIDS)),
            None,
            (TaskState.FAILED, Reason.CONTAINER_LIMITATION, "too much"),
        ),
        (
            ContainerExited(container_id="c", message="lost"),
            None,
            (TaskState.FAILED, Reason.COMMAND_EXECUTOR_FAILED, "ended, its status is not known: lost"),
        ),
    ],
)
def test_verdict(
    exited: ContainerExited, ending: ExecutorEnding | None, expected: tuple[TaskState, Reason | None, str]
) -> None:
    assert verdict(exited, ending) == expected


def test_ways_to_end_in_words_and_as_wait_statuses() -> None:
    by_signal = ContainerExited(container_id="c", signal=15)
    assert how_it_ended(by_signal) == "ended by signal 15 (SIGTERM)"
    assert how_it_ended(ContainerExited(container_id="c", signal=40)) == "ended by signal 40 (real-time signal 40)"
    assert wait_status(by_signal) == 15
    assert wait_status(ContainerExited(container_id="c", exit_code=2)) == 512
    assert wait_status(ContainerExited(container_id="c")) is None


# Specs ----------------------------------------------------------------------------------------------------------------


def test_limits_are_sums_with_a_least_memory() -> None:
    limits = limits_of(EXECUTOR, [executor_task("t1"), executor_task("t2")])
    assert (limits.cpus, limits.memory_bytes) == (2.5, 192 * 2**20)
    assert limits_of(None, [command_task(resources="mem:1")]).memory_bytes == MIN_MEMORY_BYTES
    assert limits_of(None, [command_task(resources="cpus:1")]).memory_bytes is None


def test_disk_is_for_the_sandbox() -> None:
    def disk_of(*resources: str) -> int | None:
        return limits_of(None, [command_task(resources=text) for text in resources]).disk_bytes

    assert disk_of("cpus:1") is None
    assert disk_of("disk:1.5", "disk:10") == (11 << 20) + (1 << 19)
    volume = '[{"name": "disk", "type": "SCALAR", "scalar": {"value": 5}, "disk": {"source": {"type": "MOUNT"}}}]'
    assert disk_of(volume) is None


def test_ports_are_those_of_the_resource_and_none_without_it() -> None:
    def ports_of(*resources: str) -> tuple[tuple[int, int], ...] | None:
        return limits_of(None, [command_task(resources=text) for text in resources]).port_ranges

    assert ports_of("cpus:1") == ()
    assert ports_of("ports:[31005-31005,31000-31001]") == ((31000, 31001), (31005, 31005))
    assert ports_of("ports:[31000-31001]", "ports(role):[31002-31003]") == ((31000, 31003),)
    assert ports_of("ports:[0-10,65000-70000]") == ((1, 10), (65000, 65535)), "what a socket can have"
    assert ports_of("ports:[70000-80000]") == ()


def test_executor_learns_its_key_and_nobody_else_does() -> None:
    executor = Executor(
        framework_id="f", executor_id="executor-1", container_id="c-1", role="*", info=EXECUTOR, secret="ab:cd"
    )
    spec = executor_spec(SETTINGS, AGENT_ID, FRAMEWORK, executor, EXECUTOR, [executor_task()])
    validate(spec)
    environment = dict(spec.environment)
    assert environment["KAON_AGENT_ENDPOINT"] == "ipc:///run/kaon/x?key=" + "ab" * 32
    assert spec.secrets == (("KAON_EXECUTOR_SECRET", "ab:cd"),)
    assert "ab:cd" not in str(redact(spec))
    assert "ab:cd" not in str(redact(executor))
    assert spec.sandbox == "/srv/kaon/agents/agent-1/frameworks/f/executors/executor-1/runs/c-1"


# Detection ------------------------------------------------------------------------------------------------------------


def test_machine_offers_what_it_has(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = detect_resources("", str(tmp_path_factory.getbasetemp() / "not" / "yet" / "there"))
    assert found.names() == ("cpus", "disk", "mem", "ports")
    assert all(found.scalar(name) > 0 for name in ("cpus", "mem", "disk"))
    ports = list(found.ports())
    assert (ports[0], ports[-1]) == (31000, 32000)


def test_what_is_given_is_not_found_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = detect_resources("cpus:0.5;ports:[1-2]", str(tmp_path_factory.getbasetemp()))
    assert found.scalar("cpus") == 500
    assert list(found.ports()) == [1, 2]
    assert found.scalar("mem") > 0


def test_nonsense_is_refused() -> None:
    with pytest.raises(InvalidResources):
        detect_resources("cpus:many", "/")

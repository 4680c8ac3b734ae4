"""Any peer can send any message: what is none of its business changes nothing."""

from __future__ import annotations

import pytest

from actors.agent.events import ContainerEnded, EndContainer, ExecutorOverdue, MasterSilent, TryContainerizer
from actors.agent.names import COMMAND_PREFIX
from actors.messages.executing import KillExecutorTask
from actors.messages.records import TaskState
from actors.messages.tasks import AcknowledgeUpdate, KillTaskOnAgent, ShutdownFramework
from containerizer.messages import ContainerExited, Limit, Limitation
from runtime.message import Exited, Message, Terminate
from runtime.pid import PID
from tests.actors.agent.cluster import FRAMEWORK, Cluster, command_task


def forged(container_id: str, uuid: str) -> list[Message]:
    framework_id = FRAMEWORK.framework_id
    return [
        ContainerExited(container_id=container_id, exit_code=0),
        Limitation(container_id=container_id, limit=Limit.MEMORY, message="forged", fatal=True),
        ExecutorOverdue(container_id=container_id, state=TaskState.FAILED, message="forged"),
        EndContainer(container_id=container_id, grace_seconds=0.0),
        MasterSilent(),
        TryContainerizer(),
        Terminate(deadline_seconds=1.0),
        Exited(pid=PID("containerizer", "simulated://c1"), reason="forged"),
        KillTaskOnAgent(framework_id=framework_id, task_id="task-1"),
        ShutdownFramework(framework_id=framework_id),
        AcknowledgeUpdate(framework_id=framework_id, task_id="task-1", uuid=uuid),
    ]


@pytest.mark.parametrize("number", range(len(forged("", ""))))
def test_message_of_a_stranger_changes_nothing(number: int) -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity"))
    cluster.master.acknowledges = False
    cluster.world.run(seconds=1)
    before = cluster.agent
    uuid = before.frameworks[FRAMEWORK.framework_id].streams["task-1"].pending[0].uuid
    message = forged(cluster.container_of("task-1"), uuid)[number]
    states, leader, ready = cluster.states("task-1"), before.leader, before.ready
    cluster.say(cluster.speaker("stranger", "agent"), message)
    cluster.world.run(seconds=1)
    assert (cluster.states("task-1"), cluster.agent.leader, cluster.agent.ready) == (states, leader, ready)
    assert cluster.agent.ready
    stream = cluster.agent.frameworks[FRAMEWORK.framework_id].streams["task-1"]
    assert stream.pending[0].uuid == uuid
    assert len(cluster.containerizer.containers) == 1


@pytest.mark.parametrize("kind", ["kill", "end"])
def test_command_executor_heeds_its_agent_only(kind: str) -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity"))
    cluster.world.run(seconds=1)
    container_id = cluster.container_of("task-1")
    message: Message = KillExecutorTask(task_id="task-1")
    if kind == "end":
        message = ContainerEnded(exited=ContainerExited(container_id=container_id, exit_code=0))
    cluster.say(cluster.speaker("stranger"), message, to=PID(COMMAND_PREFIX + container_id, "simulated://a1"))
    cluster.world.run(seconds=1)
    assert cluster.states("task-1") == [TaskState.STARTING, TaskState.RUNNING]

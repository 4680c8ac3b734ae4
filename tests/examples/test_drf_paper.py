"""The paper's two frameworks: single turns, and the result that emerges on a whole cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actors.messages.records import FrameworkInfo, MasterInfo, Offer, Source, TaskState, TaskStatus
from actors.messages.scheduling import Accept, Decline, Offers, Revive, Subscribe, Subscribed, Update
from actors.scheduler.state import Interrupt
from actors.simulation import Cluster
from allocator.resources import Resources
from examples.drf_paper.__main__ import DEMANDS, EXPECTED, dominant_share, wrong_cluster
from examples.drf_paper.scheduler import WANTED, Begin, PaperFramework, PaperState, initial_state
from runtime.message import Message
from runtime.pid import PID
from runtime.testing import make, sent, start, turn

MASTER = PID("master", "simulated://m1")
LEADER = PID("master", "m1", 1)


def paper_offer(resources: str, number: int = 1) -> Offers:
    offer = Offer(
        offer_id=f"o{number}",
        framework_id="f",
        role="*",
        agent_id="a",
        hostname="h",
        resources=Resources.parse(resources),
    )
    return Offers(offers=(offer,))


def begun() -> Any:
    framework = make(PaperFramework, initial_state("drf-A", DEMANDS["A"]))
    framework.state.masters = (MASTER,)
    start(framework)
    turn(framework, Subscribed(framework_id="f", master=MasterInfo(master_id="m")), sender=LEADER)
    turn(framework, Begin(), sender=framework.pid)
    return framework


def test_it_asks_for_offers_only_once_it_may_begin() -> None:
    framework = make(PaperFramework, initial_state("drf-A", DEMANDS["A"]))
    framework.state.masters = (MASTER,)
    (subscribe,) = sent(start(framework), Subscribe)
    assert subscribe.suppressed_roles == FrameworkInfo(name="x").roles
    turn(framework, Subscribed(framework_id="f", master=MasterInfo(master_id="m")), sender=LEADER)
    assert turn(framework, Begin(), sender=LEADER) == []
    assert sent(turn(framework, Begin(), sender=framework.pid), Revive) == [Revive(framework_id="f")]


def test_one_task_an_offer_and_the_rest_is_free_at_once() -> None:
    (accept,) = sent(turn(begun(), paper_offer("cpus:9;mem:18432"), sender=LEADER), Accept)
    (operation,) = accept.operations
    assert [task.resources for task in operation.tasks] == [DEMANDS["A"]]
    assert accept.refuse_seconds == 0.0


def test_what_is_too_small_is_declined_for_no_time() -> None:
    framework = begun()
    (decline,) = sent(turn(framework, paper_offer("cpus:9;mem:4095"), sender=LEADER), Decline)
    assert (decline.refuse_seconds, framework.state.declined) == (0.0, 1)


def test_it_wants_no_more_than_ten_tasks() -> None:
    framework = begun()
    for number in range(WANTED + 1):
        effects = turn(framework, paper_offer("cpus:9;mem:18432", number), sender=LEADER)
    assert len(sent(effects, Decline)) == 1
    assert framework.state.tasks == WANTED


def test_a_task_that_ends_is_a_failure() -> None:
    framework = begun()
    turn(framework, paper_offer("cpus:9;mem:18432"), sender=LEADER)
    status = TaskStatus(task_id="drf-A-1", state=TaskState.FAILED, source=Source.AGENT, message="no sleep", uuid="u")
    turn(framework, Update(status=status), sender=LEADER)
    assert framework.state.failures == ["drf-A-1 FAILED: no sleep"]


def test_shares_are_the_papers() -> None:
    assert {name: dominant_share(name, tasks) for name, tasks in EXPECTED.items()} == {"A": 2 / 3, "B": 2 / 3}


def test_another_cluster_is_named_with_the_command_that_starts_the_papers() -> None:
    text = wrong_cluster({"cpus": 4000, "mem": 8192 * 1000})
    assert "where a task fits, this one has 4 CPUs and 8 GB" in text
    assert "--resources 'cpus:9;mem:18432'" in text


@pytest.mark.parametrize("agents", [("cpus:9;mem:18432",), ("cpus:4;mem:7168", "cpus:5;mem:11264")])
@pytest.mark.parametrize("first", ["A", "B"])
def test_three_and_two_emerge(cluster: Callable[..., Cluster], agents: tuple[str, ...], first: str) -> None:
    simulated = cluster(agents=0)
    for resources in agents:
        simulated.add_agent(resources)
    simulated.run(5.0)
    names = sorted(DEMANDS, key=lambda name: name != first)
    for name in names:
        simulated.add_scheduler(PaperFramework, initial_state(f"drf-{name}", DEMANDS[name]), name)
    simulated.run(1.0)
    for name in names:
        tell(simulated, name, Begin())

    def states() -> dict[str, PaperState]:
        return {name: simulated.framework(name) for name in names}

    simulated.run_until(lambda: sum(state.declined for state in states().values()) >= 10, 60.0)
    assert {name: state.tasks for name, state in states().items()} == EXPECTED
    assert all(state.all_run for state in states().values())
    for name in names:
        tell(simulated, name, Interrupt())
    simulated.run_until(
        lambda: not any(simulated.containerizer(each).containers for each in simulated.agent_names), 30.0
    )
    simulated.settle()


def tell(simulated: Cluster, name: str, message: Message) -> None:
    node = simulated.world.nodes[name]
    node.post(node.pid("scheduler"), message)

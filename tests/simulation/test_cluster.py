"""The simulated cluster itself: what can be done to it, and that it does what it says."""

from __future__ import annotations

import pytest

from actors.messages.records import TaskState
from actors.messages.tasks import StatusUpdate
from actors.simulation.cluster import Cluster
from actors.simulation.shape import ClusterShape
from actors.simulation.violation import Violation
from actors.simulation.watching import Checker, heard
from actors.simulation.workloads import Batch, Service
from runtime.effects import Turn

SERVICE = Service(instances=4)


def running(cluster: Cluster, name: str = "f1") -> int:
    tasks = cluster.framework(name).connection.tasks.values()
    return sum(task.state is TaskState.RUNNING for task in tasks)


def a_cluster(agents: int, masters: int = 1) -> Cluster:
    cluster = Cluster(7, masters, agents)
    cluster.add_framework(SERVICE)
    cluster.run_until(lambda: running(cluster) == 4, 30.0)
    return cluster


def test_services_run_and_are_left_alone() -> None:
    cluster = a_cluster(agents=2)
    cluster.run(60.0)
    assert cluster.framework("f1").launched == 4
    cluster.settle()


def test_tasks_survive_the_restart_of_their_agents_and_of_the_master() -> None:
    cluster = a_cluster(agents=2)
    for name in ("a1", "a2", "m1", "c1", "c2", "f1"):
        cluster.restart(name, 1.0)
    cluster.run(60.0)
    assert running(cluster) == 4
    assert sum(len(cluster.agent(name).containers) for name in cluster.agent_names) == 4
    cluster.settle()
    assert cluster.framework("f1").came == 4


def test_a_host_that_reboots_loses_its_tasks_and_gets_others() -> None:
    cluster = a_cluster(agents=1)
    before = set(cluster.agent("a1").containers)
    cluster.reboot("a1", 5.0)
    cluster.run_until(lambda: cluster.is_up("a1") and running(cluster) == 4, 60.0)
    cluster.settle()
    assert before.isdisjoint(cluster.agent("a1").containers)


def test_an_agent_without_its_disk_comes_back_as_another() -> None:
    cluster = a_cluster(agents=1)
    before = cluster.agent("a1").agent_id
    cluster.restart("a1", 1.0, wiped=True)
    cluster.settle()
    assert cluster.agent("a1").agent_id not in {"", before}


def test_another_master_leads_when_the_leader_dies() -> None:
    cluster = a_cluster(agents=2, masters=3)
    first, epoch = cluster.leader, cluster.master.master.epoch
    cluster.crash(first)
    assert cluster.leader == ""
    cluster.run(15.0)
    assert cluster.leader not in {"", first}
    assert cluster.master.master.epoch == epoch + 1
    cluster.settle()
    assert running(cluster) == 4


def test_a_deposed_master_that_writes_finds_itself_fenced() -> None:
    cluster = Cluster(7, masters=2, agents=1)
    cluster.run(5.0)
    assert cluster.election is not None
    first = cluster.leader
    cluster.election.depose(notices_seconds=1_000.0)
    cluster.world.network.partition([first], ["a1"])
    cluster.run(100.0)
    assert cluster.failures == {first: 1}


def test_a_store_that_fails_ends_the_master_until_it_works() -> None:
    cluster = Cluster(7, agents=1)
    cluster.store.fails = "no store today"
    cluster.run(20.0)
    assert cluster.failures["m1"] > 1
    cluster.settle()
    assert cluster.agent("a1").leader is not None


def test_a_failed_disk_ends_the_process_and_nothing_is_said_that_is_not_on_it() -> None:
    cluster = a_cluster(agents=1)
    cluster.world.disk("a1").fail("full")
    cluster.framework("f1")
    cluster.restart("c1", 0.5)
    cluster.reboot("a1")
    cluster.settle()
    assert running(cluster) == 4


def test_a_paused_node_runs_no_turn_until_it_goes_on() -> None:
    cluster = a_cluster(agents=1)
    turns: list[Turn] = []
    cluster.world.nodes["a1"].add_observer(turns.append)
    cluster.world.pause("a1")
    cluster.run(2.0)
    assert turns == []
    cluster.world.resume("a1")
    cluster.run(60.0)
    assert turns != []
    cluster.settle()
    assert running(cluster) == 4


def test_a_skewed_clock_shows_in_what_a_node_says() -> None:
    cluster = Cluster(7, agents=1)
    cluster.world.skews["a1"] = (-1_000.0, 1.0)
    cluster.restart("a1")
    seen: list[float] = []

    class Times(Checker):
        @heard(StatusUpdate)
        def update(self, turn: Turn, message: StatusUpdate) -> None:
            seen.append(message.status.timestamp - cluster.world.clock.now())

    cluster.watch.add(Times(cluster))
    cluster.add_framework(SERVICE)
    cluster.run(20.0)
    assert seen
    assert all(-1_001.0 < seconds < -999.0 for seconds in seen)


def test_a_condition_that_never_holds_is_a_violation_that_names_the_seed() -> None:
    cluster = Cluster(7, agents=1, command="replay me")
    with pytest.raises(Violation, match="seed 7") as raised:
        cluster.run_until(lambda: False, 5.0)
    assert "replay: replay me" in str(raised.value)


def test_a_recorded_workload_is_run_as_it_was_recorded() -> None:
    cluster = Cluster(7, agents=1)
    cluster.add_framework(Batch(recorded=((1.0, 2.0, 1.0, 128), (3.0, 50.0, 2.0, 256))))
    cluster.run(20.0)
    state = cluster.framework("f1")
    assert (state.came, state.done, len(state.running)) == (2, 1, 1)
    assert [job.command for job in state.jobs.values()] == ["sleep 50.000; exit 0"]


def test_the_package_gives_what_it_names_and_nothing_else() -> None:
    import actors.simulation as package

    assert {getattr(package, name).__name__ for name in ("Cluster", "Batch", "Violation")} == {
        "Cluster",
        "Batch",
        "Violation",
    }
    assert all(hasattr(package, name) for name in package.__all__)
    assert not hasattr(package, "Nothing")


@pytest.mark.parametrize("policy", ["drf", "priority"])
def test_agents_and_containerizers_can_share_nodes(policy: str) -> None:
    cluster = Cluster(3, agents=3, shape=ClusterShape(together=True, policy=policy))
    cluster.add_framework(SERVICE)
    cluster.run_until(lambda: running(cluster) == 4, 30.0)
    assert "c1" not in cluster.world.nodes
    cluster.restart("a1", 1.0)
    cluster.reboot("a2", 1.0)
    cluster.settle()
    assert running(cluster) == 4

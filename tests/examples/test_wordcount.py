"""Wordcount: where its tasks go, what it does about lost ones, and the right count whatever is killed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.messages.records import MasterInfo, Offer, Reason, Source, TaskInfo, TaskState, TaskStatus
from actors.messages.scheduling import Accept, Decline, KillTask, Offers, Revive, Subscribed, Teardown, Update
from actors.simulation import Cluster
from actors.simulation.watching import Checker, wrote
from allocator.resources import Resources
from examples.wordcount.counting import count_files, merge, pack, unpack
from examples.wordcount.executor import Counting
from examples.wordcount.plan import Plan, Split, final_parts, list_files, make_plan
from examples.wordcount.scheduler import (
    EXECUTOR,
    MAX_ERRORS,
    REFUSE_BUSY_SECONDS,
    REFUSE_SECONDS,
    TASK,
    Counted,
    Planned,
    WordCount,
    WordCountState,
    initial_state,
    key_of,
)
from runtime.effects import Effect, Persist, Stop, Turn
from runtime.pid import PID
from runtime.testing import make, sent, start, turn

MASTER = PID("master", "simulated://m1")
LEADER = PID("master", "m1", 1)
STEP_SECONDS = 0.05
MAPPED = msgspec.msgpack.encode([pack({"a": 1})])


def plan_of(*places: str) -> Plan:
    splits = tuple(Split(paths=(f"/{number}",), place=place) for number, place in enumerate(places))
    return Plan(splits=splits, partitions=1)


def subscribed(plan: Plan, records: tuple[msgspec.Struct, ...] = ()) -> Any:
    scheduler = make(WordCount, initial_state(plan))
    scheduler.state.masters = (MASTER,)
    scheduler.recover(records)
    start(scheduler)
    turn(scheduler, Subscribed(framework_id="f", master=MasterInfo(master_id="m")), sender=LEADER)
    return scheduler


def offered(scheduler: Any, place: str = "", resources: str = "cpus:4;mem:4096", executors: Any = ()) -> list[Effect]:
    offer = Offer(
        offer_id=f"o{place}",
        framework_id="f",
        role="*",
        agent_id=f"agent-{place}",
        hostname="h",
        resources=Resources.parse(resources),
        attributes=(("data", place),) if place else (),
        executor_ids=executors,
    )
    return turn(scheduler, Offers(offers=(offer,)), sender=LEADER)


def tasks_of(effects: list[Effect]) -> list[TaskInfo]:
    return [task for accept in sent(effects, Accept) for launch in accept.operations for task in launch.tasks]


def updated(scheduler: Any, task_id: str, state: TaskState, **fields: Any) -> list[Effect]:
    status = TaskStatus(
        task_id=task_id, state=state, source=Source.EXECUTOR, agent_id="agent-", uuid=f"{task_id}{state}", **fields
    )
    return turn(scheduler, Update(status=status), sender=LEADER)


# Where tasks go -------------------------------------------------------------------------------------------------------


def test_tasks_go_where_their_data_is_and_other_offers_are_declined() -> None:
    scheduler = subscribed(plan_of("a", "b", "a"))
    assert [key_of(task.task_id) for task in tasks_of(offered(scheduler, "a"))] == ["map-0", "map-2"]
    (decline,) = sent(offered(scheduler, "c"), Decline)
    assert decline.refuse_seconds == REFUSE_SECONDS
    assert [key_of(task.task_id) for task in tasks_of(offered(scheduler, "b"))] == ["map-1"]


def test_without_places_tasks_go_anywhere() -> None:
    assert len(tasks_of(offered(subscribed(plan_of("", "")), "b"))) == 2


def test_an_offer_is_filled_and_its_executor_charged_once() -> None:
    scheduler = subscribed(plan_of(*[""] * 5))
    two = EXECUTOR + TASK + TASK
    (accept,) = sent(offered(scheduler, resources=str(two)), Accept)
    assert len(accept.operations[0].tasks) == 2
    assert accept.refuse_seconds == REFUSE_BUSY_SECONDS, "there is more to do"
    assert len(tasks_of(offered(scheduler, "x", str(TASK + TASK), executors=("wordcount",)))) == 2
    assert tasks_of(offered(scheduler, "y", str(TASK))) == [], "no room for the executor"


# What becomes of them -------------------------------------------------------------------------------------------------


def test_what_is_lost_with_its_worker_is_run_again_as_another_task() -> None:
    scheduler = subscribed(plan_of(""))
    (first,) = tasks_of(offered(scheduler))
    effects = updated(scheduler, first.task_id, TaskState.FAILED, reason=Reason.EXECUTOR_TERMINATED, message="gone")
    assert sent(effects, Revive)
    (second,) = tasks_of(offered(scheduler))
    assert key_of(second.task_id) == key_of(first.task_id)
    assert second.task_id != first.task_id
    assert scheduler.state.lost == ["map-0 is FAILED: gone"]


def test_the_first_result_of_a_work_counts_and_other_attempts_are_killed() -> None:
    scheduler = subscribed(plan_of("", ""))
    (first, _) = tasks_of(offered(scheduler))
    updated(scheduler, first.task_id, TaskState.UNREACHABLE)
    (second,) = tasks_of(offered(scheduler))
    effects = updated(scheduler, first.task_id, TaskState.FINISHED, data=MAPPED)
    assert [kill.task_id for kill in sent(effects, KillTask)] == [second.task_id]
    assert Persist(Counted(key="map-0", data=MAPPED)) in effects
    effects = updated(scheduler, second.task_id, TaskState.FINISHED, data=b"another")
    assert not [effect for effect in effects if isinstance(effect, Persist) and isinstance(effect.record, Counted)]
    assert scheduler.state.results == {"map-0": MAPPED}


def test_work_that_fails_by_itself_again_and_again_ends_the_job() -> None:
    scheduler = subscribed(plan_of(""))
    for _ in range(MAX_ERRORS):
        assert scheduler.state.problem == ""
        (task,) = tasks_of(offered(scheduler))
        effects = updated(scheduler, task.task_id, TaskState.FAILED, message="FileNotFoundError: /0")
    assert scheduler.state.problem == "map-0 failed 3 times: FileNotFoundError: /0"
    assert sent(effects, Teardown)
    assert Stop() in effects


def test_a_next_life_takes_up_plan_and_results() -> None:
    plan = plan_of("", "")
    scheduler = subscribed(plan_of("other"), (Planned(plan=plan), Counted(key="map-0", data=MAPPED)))
    assert [key_of(task.task_id) for task in tasks_of(offered(scheduler))] == ["map-1"]
    again = subscribed(plan_of("other"), tuple(scheduler.snapshot()))
    assert (again.state.plan, again.state.results) == (plan, {"map-0": MAPPED})
    assert tasks_of(offered(again)) == [], "map-1 is in hand"


def test_a_next_life_with_nothing_left_to_do_finishes() -> None:
    scheduler = make(WordCount, initial_state(plan_of("")))
    scheduler.state.masters = (MASTER,)
    scheduler.recover([Planned(plan=plan_of("")), Counted(key="map-0", data=MAPPED)])
    start(scheduler)
    effects = turn(scheduler, Subscribed(framework_id="f", master=MasterInfo(master_id="m")), sender=LEADER)
    assert sent(effects, Teardown)


# A whole cluster ------------------------------------------------------------------------------------------------------


class Seen(Checker):
    """The results that the scheduler counted, in order."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.counted: list[str] = []

    @wrote(Counted)
    def saw(self, turn: Turn, record: Counted) -> None:
        self.counted.append(record.key)


class Job:
    """One run of wordcount on two agents with the data of one place each, and what came of it."""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self.cluster = cluster
        self.seen = Seen(cluster)
        self.last: WordCountState
        for place in ("a", "b"):
            cluster.add_agent("cpus:2;mem:2048", (("data", place),))
        state = initial_state(plan)
        cluster.executors.add(state.executor, Counting)
        self.name = cluster.add_scheduler(WordCount, state)
        cluster.watch.add(self.seen)

    def ended(self) -> bool:
        if not self.cluster.is_up(self.name) or self.cluster.is_finished(self.name):
            return self.cluster.is_up(self.name)
        self.last = self.cluster.framework(self.name)
        return False

    def has_come_to(self, results: int) -> bool:
        return not self.ended() and bool(self.busy_executors()) and len(self.last.results) >= results

    def kill(self, who: str) -> None:
        if who == "executor":
            self.cluster.executors.kill(self.busy_executors()[0])
        elif who != "nobody":
            self.cluster.restart(HOLDERS[who])

    def busy_executors(self) -> list[str]:
        executors = self.cluster.executors
        return [name for name in executors.running() if executors.state_of(name).connection.tasks]


HOLDERS = {"master": "m1", "agent": "a1", "containerizer": "c1", "scheduler": "f1"}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text("a b " * number + f"word{'x' * number} the the\n")
    return make_plan(list_files(tmp_path), ("a", "b"), 1, 2)


@pytest.mark.parametrize("killed", ["nobody", *HOLDERS, "executor"])
@pytest.mark.parametrize("at_results", [0, 5, 12])
def test_the_count_is_right_whoever_is_killed(
    cluster: Callable[..., Cluster], plan: Plan, killed: str, at_results: int
) -> None:
    job = Job(cluster(agents=0), plan)
    job.cluster.run_until(lambda: job.has_come_to(at_results), 120.0, STEP_SECONDS)
    job.kill(killed)
    job.cluster.run_until(job.ended, 300.0, STEP_SECONDS)
    job.cluster.settle()
    assert job.last.problem == ""
    counted = job.seen.counted
    assert len(counted) == len(set(counted)) == len(job.last.results), "each result counts once"
    counts = merge(map(unpack, final_parts(job.last.plan, job.last.results)))
    assert counts == count_files(plan.paths)
    assert (len(job.last.lost) > 0) == (killed == "executor")

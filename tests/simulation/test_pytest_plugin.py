"""The fixture as framework authors use it, in a pytest of their own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TEST = """
from actors.messages.records import CommandInfo, FrameworkInfo, TaskInfo
from actors.scheduler import Resources, Scheduler, SchedulerRecords, SchedulerState


class OneTask(Scheduler[SchedulerState]):
    records = SchedulerRecords

    def offers(self, offers):
        for offer in offers:
            if self.state.connection.tasks:
                self.decline(offer)
                continue
            task = TaskInfo(
                task_id="t",
                agent_id=offer.agent_id,
                resources=Resources.parse("cpus:1;mem:64"),
                command=CommandInfo(shell="sleep 20"),
            )
            self.launch(offer, task)

    def update(self, status):
        if status.state.is_terminal:
            self.finish()


def test_it_finishes_although_everything_is_started_again(cluster):
    world = cluster(agents=2)
    name = world.add_scheduler(OneTask, SchedulerState(framework=FrameworkInfo(name="one")))
    world.run(5.0)
    for node in ("m1", "a1", "c2", name):
        world.restart(node, 1.0)
    world.run_until(lambda: world.is_finished(name), limit_seconds=120.0)


def test_seeds_are_told(cluster):
    print("seed", cluster().seed)


def test_what_does_not_happen_names_the_seed(cluster):
    cluster(seed=3).run_until(lambda: False, limit_seconds=1.0)
"""


def test_authors_get_a_cluster(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    result = pytester.runpytest("-p", "no:cacheprovider", "-rA")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*seed 3*", "*--simulation-seed 3*"])


def test_a_seed_can_be_given_to_a_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    result = pytester.runpytest("-k", "seeds", "--simulation-seed", "99", "-s")
    result.stdout.fnmatch_lines(["*seed 99*"])

"""`docs/frameworks.md` is true: its code runs, its test passes, its tables name every callback and action.

So does the test of a framework on a simulated cluster in `docs/testing.md`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
import pytest

from actors.cli.new import write_skeleton
from actors.executor.executor import Executor
from actors.messages.records import CommandInfo, FrameworkInfo, MasterInfo, Source, TaskState, TaskStatus
from actors.messages.scheduling import Acknowledge, Subscribed, Update
from actors.scheduler.scheduler import Scheduler
from actors.simulation import Cluster
from runtime.actor import Actor
from runtime.effects import Persist
from runtime.pid import PID
from runtime.testing import make, sent, start, turn

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
PAGE: Final = (DOCS / "frameworks.md").read_text("utf-8")
TITLED: Final = re.compile(r'^```python title="([\w.]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
BLOCKS: Final = dict(TITLED.findall(PAGE + (DOCS / "testing.md").read_text("utf-8")))
MASTER: Final = PID("master", "simulated://m1")


def module_of(name: str) -> ModuleType:
    """Run a block of the page as a module."""
    module = ModuleType(name.removesuffix(".py"))
    exec(compile(BLOCKS[name], f"docs:{name}", "exec"), module.__dict__)
    return module


@pytest.fixture
def hello(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = module_of("hello.py")
    monkeypatch.setitem(sys.modules, "hello", module)
    return module


def test_the_framework_has_sixty_lines() -> None:
    assert BLOCKS["hello.py"].count("\n") <= 60


def test_the_tests_of_the_page_pass(hello: Any) -> None:
    tests = [test for name, test in vars(module_of("test_hello.py")).items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()


def test_the_framework_runs_on_a_whole_cluster(hello: Any, cluster: Callable[..., Cluster]) -> None:
    simulated = cluster(agents=0)
    for _ in range(2):
        simulated.add_agent("cpus:0.3;mem:1024")
    state = run_to_the_end(simulated, hello.Hello, hello.HelloState(framework=FrameworkInfo(name="hello"), wanted=25))
    assert (state.done, state.begun) == (25, 25)


def test_what_is_lost_is_run_again_on_a_whole_cluster(hello: Any, cluster: Callable[..., Cluster]) -> None:
    class Failing(hello.Hello):  # type: ignore[misc]
        def greeting(self, offer: Any) -> Any:
            task = super().greeting(offer)
            failing = CommandInfo(shell="exit 1")
            return msgspec.structs.replace(task, command=failing) if self.state.begun == 1 else task

    state = run_to_the_end(
        cluster(agents=1), Failing, hello.HelloState(framework=FrameworkInfo(name="hello"), wanted=3)
    )
    assert (state.done, state.begun) == (3, 4)


def run_to_the_end(simulated: Cluster, scheduler_class: type[Any], state: Any) -> Any:
    """Run a scheduler until it has finished; returns its last state."""
    name = simulated.add_scheduler(scheduler_class, state)
    actor = simulated.world.nodes[name].cells["scheduler"].actor
    simulated.run_until(lambda: simulated.is_finished(name), 300.0)
    return actor.state


def test_the_test_on_a_cluster_that_the_page_on_testing_shows_passes(
    hello: Any, cluster: Callable[..., Cluster]
) -> None:
    module_of("test_hello_cluster.py").test_it_finishes_although_agents_and_the_master_die(cluster)


def test_the_skeleton_is_what_the_page_shows(tmp_path: Path) -> None:
    files = write_skeleton("hello", tmp_path)
    for file in files[:2]:
        assert file.read_text("utf-8") == BLOCKS[file.name]


def test_the_durable_scheduler_counts_each_task_once_across_lives() -> None:
    counting = module_of("durable.py")
    finished = Update(
        status=TaskStatus(task_id="t", state=TaskState.FINISHED, source=Source.EXECUTOR, agent_id="a", uuid="u")
    )
    leader = PID("master", "m", 1)
    journal: list[Any] = []
    for _ in range(2):
        scheduler = make(
            counting.Counting, counting.CountingState(framework=FrameworkInfo(name="c"), masters=(MASTER,))
        )
        scheduler.recover(journal)
        start(scheduler)
        effects = turn(scheduler, Subscribed(framework_id="f", master=MasterInfo(master_id="m")), sender=leader)
        effects += turn(scheduler, finished, sender=leader)
        assert sent(effects, Acknowledge)
        journal += [effect.record for effect in effects if isinstance(effect, Persist)]
    assert scheduler.state.counted == ["t"]


def test_the_executor_of_the_page_squares() -> None:
    squaring = module_of("square.py")
    assert squaring.square(b"12") == b"144"
    assert squaring.Squaring.launch is not Executor.launch


def own_methods(actor_class: type[Any]) -> set[str]:
    """Public methods that an author of a subclass sees, but for those of every actor."""
    names = {name for name in dir(actor_class) if callable(getattr(actor_class, name))}
    return {name for name in names if not name.startswith("_")} - set(dir(Actor)) - {"work"}


@pytest.mark.parametrize("actor_class", [Scheduler, Executor])
def test_each_callback_and_action_is_on_the_page(actor_class: type[Any]) -> None:
    missing = {name for name in own_methods(actor_class) if not re.search(rf"`{name}[(`]", PAGE)}
    assert missing == set()

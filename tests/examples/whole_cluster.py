"""A whole cluster on a virtual clock: real master, allocator and agents, simulated containers, executors in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from actors.agent.compose import spawn_simulated_agent
from actors.agent.state import AgentSettings
from actors.executor.executor import Executor
from actors.executor.state import ExecutorState
from actors.master.compose import spawn_master
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import SchedulerState
from allocator.resources import Resources
from containerizer.simulated import SimulatedContainerizer, SimulatedState
from runtime.node import Node
from runtime.pid import PID
from runtime.program import WHOLE_BUSINESS
from runtime.store import MemoryStore
from runtime.testing import World

MASTER = PID("master", "simulated://m")


class WholeCluster:
    """Nodes ``m``, ``a1`` with ``c1``, ``a2`` with ``c2``, ..., and one for each scheduler and executor.

    agents  resources and attributes of each, ``("cpus:4;mem:4096", (("data", "a"),))``
    """

    def __init__(self, *agents: tuple[str, tuple[tuple[str, str], ...]], seed: int = 1) -> None:
        self.world = World(seed=seed)
        self.store = MemoryStore()
        self.machines: dict[str, SimulatedState] = {}
        self.settings: dict[str, AgentSettings] = {}
        self.started: set[str] = set()
        self.start_master()
        for number, (resources, attributes) in enumerate(agents, 1):
            self.machines[f"c{number}"] = SimulatedState()
            self.settings[f"a{number}"] = AgentSettings(
                hostname=f"host{number}",
                resources=Resources.parse(resources),
                attributes=attributes,
                work_directory=f"/work{number}",
                containerizer=PID("containerizer", f"simulated://c{number}"),
                master=MASTER,
                executor_address=f"simulated://a{number}",
            )
            self.start_containerizer(f"c{number}")
            self.start_agent(f"a{number}")

    # Processes --------------------------------------------------------------------------------------------------------

    def start_master(self) -> None:
        store = self.store
        spawn_master(self.world.node("m", "simulated://m"), lambda: store, blocking_store=False)

    def start_containerizer(self, name: str) -> None:
        node = self.world.node(name, f"simulated://{name}")
        node.spawn(SimulatedContainerizer, "containerizer", self.machines[name])

    def start_agent(self, name: str) -> None:
        spawn_simulated_agent(self.world.node(name), self.settings[name])

    def start_scheduler(self, name: str, scheduler_class: type[Scheduler[Any]], state: SchedulerState) -> Node:
        node = self.world.node(name)
        given = msgspec.structs.replace(state, masters=(MASTER,))
        node.spawn(scheduler_class, "scheduler", given, WHOLE_BUSINESS)
        return node

    def restart(self, name: str) -> None:
        """kill -9, and again from what is on the disk; a containerizer finds the containers that ran on."""
        if name.startswith("c"):
            state = self.world.nodes[name].state_of("containerizer")
            assert isinstance(state, SimulatedState)
            self.machines[name] = state
        self.world.crash(name)
        if name == "m":
            self.start_master()
        elif name.startswith("c"):
            self.start_containerizer(name)
        else:
            self.start_agent(name)

    # Executors --------------------------------------------------------------------------------------------------------

    def run_executors(self, executor_class: type[Executor[ExecutorState]]) -> list[str]:
        """Start what the containers of custom executors run, each once; returns the nodes of those that live."""
        for name in self.settings:
            for executor in self.world.nodes[name].state_of("agent").executors():
                container = executor.container_id
                if executor.info is not None and container not in self.started and container in self.containers(name):
                    self.started.add(container)
                    state = ExecutorState(
                        agent=PID("agent", f"simulated://{name}"),
                        framework_id=executor.framework_id,
                        executor_id=executor.executor_id,
                        container_id=container,
                    )
                    self.world.node(container).spawn(executor_class, "executor", state)
        return [name for name, node in self.world.nodes.items() if "executor" in node.cells]

    def containers(self, agent: str) -> list[str]:
        """Ids of the containers that run beside an agent."""
        return list(self.world.nodes[f"c{agent[1:]}"].state_of("containerizer").containers)

    # Time -------------------------------------------------------------------------------------------------------------

    def run_until(
        self, condition: Callable[[], bool], limit_seconds: float, each: Callable[[], object] | None = None
    ) -> None:
        """Let time pass, 50 ms at a step, until the condition holds; fails when it does not in time."""
        passed = 0.0
        while not condition():
            assert passed < limit_seconds, f"it did not happen within {limit_seconds} s"
            self.world.run(0.05)
            passed += 0.05
            if each is not None:
                each()

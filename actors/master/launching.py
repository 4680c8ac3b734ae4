"""Accepts: tasks are launched on what was offered, and the rest of it goes back."""

from __future__ import annotations

from collections.abc import Sequence

from actors.master.base import from_scheduler
from actors.master.offers import OffersPart, refusal
from actors.master.state import Agent, Framework, OutstandingOffer
from actors.master.validation import executor_charge, task_problem
from actors.messages.records import ExecutorState, Offer, Reason, Task, TaskInfo, TaskState
from actors.messages.scheduling import Accept
from actors.messages.tasks import RunTask
from allocator.messages import Rescind, Settle
from allocator.resources import EMPTY, Resources, total
from runtime.actor import receive


class LaunchingPart(OffersPart):
    """Carries out what frameworks want done with their offers."""

    @receive(Accept)
    @from_scheduler
    def accept(self, framework: Framework, message: Accept) -> None:
        """Apply the operations in order; what they leave is refused for as long as the accept says."""
        offer_ids = list(dict.fromkeys(message.offer_ids))
        held = [offer_id for offer_id in offer_ids if offer_id in framework.offers]
        problem = _offers_problem(message.offer_ids, [self.state.offers[offer_id].offer for offer_id in held])
        accepted = [self.state.remove_offer(offer_id) for offer_id in held]
        wanted = [task for operation in message.operations for task in operation.tasks]
        if problem:
            for outstanding in accepted:
                self.send(self.allocator, Rescind(allocation_id=outstanding.allocation_id))
            for task in wanted:
                self.state.count(f"master/tasks_{framework.visible(TaskState.DROPPED).value.lower()}")
                self.say_status(
                    framework,
                    task.task_id,
                    TaskState.DROPPED,
                    Reason.INVALID_OFFERS,
                    f"task {task.task_id!r} was not launched: {problem}",
                    agent_id=task.agent_id,
                )
            return
        offer = accepted[0].offer
        agent = self.state.agents[offer.agent_id]
        runs, used = self._admit(
            framework, agent, offer.role, wanted, total([each.offer.resources for each in accepted])
        )
        self._settle(accepted, used, refusal(message.refuse_seconds))
        for run in runs:
            self.send(agent.pid, run)

    def _admit(
        self, framework: Framework, agent: Agent, role: str, wanted: Sequence[TaskInfo], available: Resources
    ) -> tuple[list[RunTask], Resources]:
        """Take up the tasks that can run on what is available; says ERROR of the others."""
        runs = []
        used = EMPTY
        for task in wanted:
            executors = agent.executors.get(framework.framework_id, {})
            problem = task_problem(
                task,
                agent_id=agent.agent_id,
                available=available,
                is_taken=_is_taken(framework, task.task_id),
                executors=executors,
            )
            if problem:
                self.state.count("master/tasks_error")
                self.say_status(
                    framework,
                    task.task_id,
                    TaskState.ERROR,
                    Reason.TASK_INVALID,
                    problem,
                    agent_id=task.agent_id,
                )
                continue
            charge = task.resources + executor_charge(task, executors)
            available -= charge
            used += charge
            runs.append(self._take_up(framework, agent, role, task))
        return runs, used

    def _take_up(self, framework: Framework, agent: Agent, role: str, task: TaskInfo) -> RunTask:
        """Know a task, and its executor if it is the first of it here."""
        executor = task.executor
        known = agent.executors.get(framework.framework_id, {})
        launch_executor = executor is None or executor.executor_id not in known
        if executor is not None and launch_executor:
            agent.launchers[framework.framework_id, executor.executor_id] = task.task_id
            self.state.put_executor(agent, ExecutorState(info=executor, framework_id=framework.framework_id, role=role))
        self.state.put_task(Task(info=task, framework_id=framework.framework_id, role=role))
        return RunTask(framework=framework.info, task=task, role=role, launch_executor=launch_executor)

    def _settle(self, accepted: Sequence[OutstandingOffer], used: Resources, refuse_seconds: float) -> None:
        """Close each allocation with its part of what is used, and what is left of it."""
        for outstanding in accepted:
            resources = outstanding.offer.resources
            part = used - (used - resources)
            used -= part
            settle = Settle(
                allocation_id=outstanding.allocation_id,
                used=part,
                returned=resources - part,
                refuse_seconds=refuse_seconds,
            )
            self.send(self.allocator, settle)
        assert not used, f"{used} is used beyond what was offered"


def _is_taken(framework: Framework, task_id: str) -> bool:
    """Whether a live task has that id: one on an unreachable agent may come back, unless it was called lost."""
    return task_id in framework.tasks or (framework.partition_aware and task_id in framework.unreachable)


def _offers_problem(named: Sequence[str], offers: Sequence[Offer]) -> str:
    """Why these offers cannot be used together; `offers` are those of the named ones that the framework holds."""
    if not named:
        return "the accept names no offer"
    if len(set(named)) != len(named):
        return "the accept names an offer twice"
    held = {offer.offer_id for offer in offers}
    for offer_id in named:
        if offer_id not in held:
            return f"offer {offer_id} is no longer valid"
    if len({offer.agent_id for offer in offers}) > 1:
        return "the accept names offers of different agents"
    if len({offer.role for offer in offers}) > 1:
        return "the accept names offers of different roles"
    return ""

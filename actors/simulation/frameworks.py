"""The frameworks that work through workloads.

They are schedulers as any author writes them, with a journal, so that they go on after a crash. What a simulation wants
to know of one stands in its state: what waits, what runs, what is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec

from actors.messages.records import CommandInfo, FrameworkInfo, Offer, TaskInfo, TaskState, TaskStatus
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import OUT_OF_REACH, JournalRecord, SchedulerRecords, SchedulerState, ToSelf
from actors.simulation.workloads import Batch, Service, Workload
from allocator.resources import Resources, from_quantities, shrink
from runtime.actor import receive
from runtime.pid import PID

PATIENCE_SECONDS: Final = 120.0
"""How long a task may be out of reach before it is given up and started anew."""


class Job(msgspec.Struct):
    """Something that one task at a time is to do. cpus in thousandths, mem in thousandths of a MiB."""

    job_id: str
    command: str
    cpus: int
    mem: int
    came_at: float
    attempts: int = 0


class JobCame(JournalRecord, frozen=True, kw_only=True):
    """A job has come."""

    job: Job


class JobTried(JournalRecord, frozen=True, kw_only=True):
    """A task is launched for it, the `attempts`th."""

    job_id: str
    attempts: int


class JobDone(JournalRecord, frozen=True, kw_only=True):
    """It is done; nothing more is to be launched for it."""

    job_id: str


class NextJob(ToSelf, frozen=True, kw_only=True, tag="simulation.{}".format):
    """The next job comes now."""


class GiveUp(ToSelf, frozen=True, kw_only=True, tag="simulation.{}".format):
    """That task has been out of reach for too long, if it still is."""

    task_id: str


class Replace(ToSelf, frozen=True, kw_only=True, tag="simulation.{}".format):
    """Replace the oldest instance."""


class JobsState(SchedulerState, kw_only=True):
    """What every framework of a simulation knows. workload: what it does.

    jobs          that are not done, by id
    waiting       ids of those that no task runs for
    queues        the same by size, in thousandths of CPUs and MiB, each in order
    running       job id by task id
    told, last    how many updates the author's code was told, and the last of them
    waited_seconds  that jobs waited for their launches, altogether; `launched` of them
    """

    workload: Batch | Service
    jobs: dict[str, Job] = msgspec.field(default_factory=dict)
    waiting: dict[str, None] = msgspec.field(default_factory=dict)
    queues: dict[tuple[int, int], dict[str, None]] = msgspec.field(default_factory=dict)
    running: dict[str, str] = msgspec.field(default_factory=dict)
    told: int = 0
    last: TaskStatus | None = None
    came: int = 0
    done: int = 0
    launched: int = 0
    waited_seconds: float = 0.0
    begun_at: float | None = None
    used: dict[str, int] = msgspec.field(default_factory=lambda: {"cpus": 0, "mem": 0})


class BatchState(JobsState, kw_only=True):
    """See there. begun_at: when the first job was due."""

    workload: Batch


class ServiceState(JobsState, kw_only=True):
    """See there."""

    workload: Service


class JobScheduler(Scheduler[Any]):
    """Launches a task for each job as soon as an offer has room for it, and again until it is done."""

    state: Any
    records: ClassVar[Any] = SchedulerRecords | JobCame | JobTried | JobDone

    def started(self) -> None:
        """What ran in an earlier life is told by reconciliation."""
        super().started()
        connection = self.state.connection
        for task_id in connection.tasks:
            job_id = task_id.rpartition(".")[0]
            if job_id in self.state.jobs:
                self._note_running(task_id, self.state.jobs[job_id])
        running = set(self.state.running.values())
        for job_id, job in self.state.jobs.items():
            if job_id not in running:
                self._enqueue(job)
        if not self.state.waiting and self.state.workload.suppresses:
            connection.suppressed = self.state.framework.roles

    def add_job(self, job: Job) -> None:
        """One more."""
        self.state.came += 1
        self.persist(JobCame(job=job))
        self.state.jobs[job.job_id] = job
        self._await_launch(job)

    def _await_launch(self, job: Job) -> None:
        if not self.state.waiting and self.state.workload.suppresses:
            self.revive()
        self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        self.state.waiting[job.job_id] = None
        self.state.queues.setdefault((job.cpus, job.mem), {})[job.job_id] = None

    def _next_fitting(self, cpus: int, mem: int) -> Job | None:
        """The job that has waited longest of those that fit, taken from its queue."""
        state = self.state
        oldest: Job | None = None
        for (needs_cpus, needs_mem), queue in state.queues.items():
            if queue and needs_cpus <= cpus and needs_mem <= mem:
                job = state.jobs[next(iter(queue))]
                if oldest is None or job.came_at < oldest.came_at:
                    oldest = job
        if oldest is not None:
            del state.waiting[oldest.job_id]
            del state.queues[oldest.cpus, oldest.mem][oldest.job_id]
        return oldest

    def offers(self, offers: tuple[Offer, ...]) -> None:
        """Put as many of the waiting jobs on each as fit."""
        useless = []
        for offer in offers:
            tasks = self._tasks_for(offer) if self.state.waiting else ()
            if tasks:
                self.launch(offer, *tasks, refuse_seconds=0.0)
            else:
                useless.append(offer)
        workload = self.state.workload
        if useless:
            self.decline(useless, workload.refuse_seconds)
        if not self.state.waiting and workload.suppresses and not self.state.connection.suppressed:
            self.suppress()

    def _tasks_for(self, offer: Offer) -> list[TaskInfo]:
        scalars = offer.resources.scalars()
        cpus, mem = scalars.get("cpus", 0), scalars.get("mem", 0)
        tasks = []
        left = offer.resources
        while (job := self._next_fitting(cpus, mem)) is not None:
            cpus, mem = cpus - job.cpus, mem - job.mem
            resources = part_of(left, job.cpus, job.mem)
            left -= resources
            tasks.append(self._task(job, offer.agent_id, resources))
        return tasks

    def _task(self, job: Job, agent_id: str, resources: Resources) -> TaskInfo:
        state = self.state
        job.attempts += 1
        self.persist(JobTried(job_id=job.job_id, attempts=job.attempts))
        state.launched += 1
        state.waited_seconds += self.now - job.came_at
        task_id = f"{job.job_id}.{job.attempts}"
        self._note_running(task_id, job)
        return TaskInfo(
            task_id=task_id,
            agent_id=agent_id,
            resources=resources,
            command=CommandInfo(shell=job.command),
        )

    def _note_running(self, task_id: str, job: Job) -> None:
        if task_id not in self.state.running:
            self.state.running[task_id] = job.job_id
            self.state.used["cpus"] += job.cpus
            self.state.used["mem"] += job.mem

    def _note_ended(self, task_id: str) -> Job | None:
        """The job that the task was run for, if it still is."""
        job_id = self.state.running.pop(task_id, "")
        job: Job | None = self.state.jobs.get(job_id)
        if job is not None:
            self.state.used["cpus"] -= job.cpus
            self.state.used["mem"] -= job.mem
        return job

    def update(self, status: TaskStatus) -> None:
        """A task that has ended well is a job done; one that has ended otherwise is tried again."""
        self.state.told += 1
        self.state.last = status
        if status.state in OUT_OF_REACH:
            self.after(PATIENCE_SECONDS, GiveUp(task_id=status.task_id))
        if not status.state.is_terminal:
            return
        job = self._note_ended(status.task_id)
        if job is not None:
            self.task_ended(job, status)

    def task_ended(self, job: Job, status: TaskStatus) -> None:
        """A job's task has ended."""
        if status.state is TaskState.FINISHED:
            self.job_done(job)
        else:
            job.came_at = self.now
            self._await_launch(job)

    def job_done(self, job: Job) -> None:
        """Nothing more is to be done for it."""
        self.state.done += 1
        self.persist(JobDone(job_id=job.job_id))
        del self.state.jobs[job.job_id]

    @receive(GiveUp)
    def give_up(self, sender: PID, message: GiveUp) -> None:
        """Start it anew elsewhere, unless it is back."""
        known = self.state.connection.tasks.get(message.task_id)
        if known is None or known.state not in OUT_OF_REACH:
            return
        self.forget(message.task_id)
        job = self._note_ended(message.task_id)
        if job is not None:
            self._await_launch(job)

    def restore(self, record: msgspec.Struct) -> None:
        """What the journal says of the jobs."""
        jobs = self.state.jobs
        if isinstance(record, JobCame):
            self.state.came += 1
            jobs[record.job.job_id] = record.job
        elif isinstance(record, JobTried) and record.job_id in jobs:
            jobs[record.job_id].attempts = record.attempts
        elif isinstance(record, JobDone) and jobs.pop(record.job_id, None) is not None:
            self.state.done += 1

    def checkpoint(self) -> Sequence[msgspec.Struct] | None:
        """The jobs that are not done."""
        return [JobCame(job=job) for job in self.state.jobs.values()]

    def pending(self) -> list[str]:
        """What has not happened yet."""
        return [f"job {job_id} is not done" for job_id in self.state.jobs]


class BatchScheduler(JobScheduler):
    """Jobs that come by chance, or as they were recorded."""

    state: BatchState

    def started(self) -> None:
        """The first job comes after a while."""
        super().started()
        if self.state.begun_at is None:
            self.state.begun_at = self.now
        self._next_later()

    def _next_later(self) -> None:
        workload, begun = self.state.workload, self.state.begun_at
        assert begun is not None
        if workload.recorded:
            if self.state.came < len(workload.recorded):
                self.after(begun + workload.recorded[self.state.came][0] - self.now, NextJob())
        elif workload.jobs_per_hour > 0.0:
            delay = self.random.expovariate(workload.jobs_per_hour / 3600.0)
            if workload.until_seconds is None or self.now + delay < begun + workload.until_seconds:
                self.after(delay, NextJob())

    @receive(NextJob)
    def next_job(self, sender: PID, message: NextJob) -> None:
        """It has come."""
        workload, number = self.state.workload, self.state.came
        if workload.recorded:
            _, seconds, cpus, mem = workload.recorded[number]
        else:
            seconds = max(1.0, self.random.expovariate(1.0 / workload.task_seconds))
            cpus, mem = self.random.choice(workload.cpus), self.random.choice(workload.mem)
        status = "exit 1" if self.random.random() < workload.fail_chance else "exit 0"
        job_id = f"{workload.name}-{number}"
        self.add_job(Job(job_id, f"sleep {seconds:.3f}; {status}", round(cpus * 1000), mem * 1000, self.now))
        self._next_later()

    def restore(self, record: msgspec.Struct) -> None:
        """A life that began before counts on."""
        super().restore(record)
        if isinstance(record, JobCame) and self.state.begun_at is None:
            self.state.begun_at = record.job.came_at

    def task_ended(self, job: Job, status: TaskStatus) -> None:
        """One that fails by its own fault is done as well: trying it again would end the same way."""
        if status.state is TaskState.FAILED and status.exit_code == 1:
            self.job_done(job)
        else:
            super().task_ended(job, status)


class ServiceScheduler(JobScheduler):
    """A fixed number of instances."""

    state: ServiceState

    def started(self) -> None:
        """As many jobs as instances, which never are done."""
        super().started()
        workload = self.state.workload
        for number in range(len(self.state.jobs), workload.instances):
            job_id = f"{workload.name}-{number}"
            self.add_job(Job(job_id, "sleep infinity", round(workload.cpus * 1000), workload.mem * 1000, self.now))
        self._replace_later()

    def _replace_later(self) -> None:
        if self.state.workload.replace_seconds is not None:
            self.after(self.state.workload.replace_seconds, Replace())

    @receive(Replace)
    def replace(self, sender: PID, message: Replace) -> None:
        """Kill the instance that runs for longest; its end brings the next."""
        running = [task_id for task_id in self.state.running if self._runs(task_id)]
        if running:
            self.kill(running[0])
        self._replace_later()

    def _runs(self, task_id: str) -> bool:
        known = self.state.connection.tasks.get(task_id)
        return known is not None and known.state is TaskState.RUNNING and not known.killed

    def pending(self) -> list[str]:
        """Instances that do not run."""
        running = {job_id for task_id, job_id in self.state.running.items() if self._lives(task_id)}
        return [f"instance {job_id} does not run" for job_id in self.state.jobs if job_id not in running]

    def _lives(self, task_id: str) -> bool:
        known = self.state.connection.tasks.get(task_id)
        return known is not None and known.state in {TaskState.RUNNING, TaskState.KILLING}


def scheduler_of(workload: Workload) -> tuple[type[Scheduler[Any]], SchedulerState]:
    """The scheduler that does that work, and the state that it starts with."""
    info = FrameworkInfo(name=workload.name, roles=(workload.role,))
    if isinstance(workload, Batch):
        return BatchScheduler, BatchState(framework=info, workload=workload)
    return ServiceScheduler, ServiceState(framework=info, workload=workload)


_SIZES: Final[dict[tuple[int, int], Resources]] = {}


def part_of(offered: Resources, cpus: int, mem: int) -> Resources:
    """So many thousandths out of an offer, which has them; reserved ones stay reserved."""
    if any(resource.reservations for resource in offered):
        wanted = offered.filter(lambda resource: resource.name in {"cpus", "mem"})
        return shrink(wanted, {"cpus": cpus, "mem": mem})
    return size(cpus, mem)


def size(cpus: int, mem: int) -> Resources:
    """Resources of that many thousandths; one object for each size."""
    resources = _SIZES.get((cpus, mem))
    if resources is None:
        resources = _SIZES[cpus, mem] = from_quantities({"cpus": cpus, "mem": mem})
    return resources

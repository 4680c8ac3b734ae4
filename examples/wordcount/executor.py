"""The executor of wordcount: ``python -m examples.wordcount.executor``, started by agents."""

from __future__ import annotations

from actors.executor import Executor, ExecutorState, TaskInfo, run_executor
from examples.wordcount.counting import do_work


class Counting(Executor[ExecutorState]):
    """Does each task's work in a thread; the result is the data of its FINISHED update."""

    def launch(self, task: TaskInfo) -> None:
        """Begin a task."""
        self.run(task, do_work, task.data)


if __name__ == "__main__":
    run_executor(Counting, ExecutorState())

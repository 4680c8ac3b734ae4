"""Executors: the public API for authors of frameworks whose tasks are more than a command. See `docs/frameworks.md`.

An executor that is killed takes its tasks with it: the agent says so, and the framework runs them again. One whose
agent is killed works on, and tells the next life of the agent what has happened meanwhile.
"""

from actors.executor.executor import Executor
from actors.executor.run import run_executor
from actors.executor.state import ExecutorState
from actors.messages.records import TaskInfo, TaskState

__all__ = ["Executor", "ExecutorState", "TaskInfo", "TaskState", "run_executor"]

"""What a master measures, under Mesos's names (`src/master/metrics.cpp`)."""

from __future__ import annotations

from actors.master.state import MasterState
from actors.messages.records import TaskState


def measure(state: MasterState, now: float) -> dict[str, float]:
    """Counters and gauges; costs a look at each agent and framework, not at tasks."""
    agents_connected = sum(agent.connected for agent in state.agents.values())
    frameworks_connected = sum(framework.connected for framework in state.frameworks.values())
    values = {
        "master/elected": float(state.recovered),
        "master/uptime_secs": max(0.0, now - state.started_at),
        "master/slaves_connected": float(agents_connected),
        "master/slaves_disconnected": float(len(state.agents) - agents_connected),
        "master/slaves_active": float(agents_connected),
        "master/slaves_inactive": float(len(state.agents) - agents_connected),
        "master/slaves_unreachable": float(len(state.unreachable)),
        "master/frameworks_connected": float(frameworks_connected),
        "master/frameworks_disconnected": float(len(state.frameworks) - frameworks_connected),
        "master/frameworks_active": float(frameworks_connected),
        "master/frameworks_inactive": float(len(state.frameworks) - frameworks_connected),
        "master/outstanding_offers": float(len(state.offers)),
        "master/dropped_messages": 0.0,
    }
    for task_state in TaskState:
        name = f"master/tasks_{task_state.value.lower()}"
        values[name] = 0.0 if task_state.is_terminal else float(state.live_tasks.get(task_state, 0))
    values["master/tasks_unreachable"] = float(sum(len(each.unreachable) for each in state.frameworks.values()))
    # Terminal tasks are counted as they end, since they are not kept for ever.
    values |= {name: float(count) for name, count in state.counters.items()}
    return values

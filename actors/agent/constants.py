"""Numbers of the agent, with unit and source."""

from __future__ import annotations

from typing import Final

REGISTRATION_BACKOFF_SECONDS: Final = 1.0
REGISTRATION_BACKOFF_MAX_SECONDS: Final = 60.0
"""The first attempt comes after a random time up to the first, the next up to twice that, and so on up to the second
(Mesos: `registration_backoff_factor` and `REGISTER_RETRY_INTERVAL_MAX`, `src/slave/constants.hpp`)."""

UPDATE_RETRY_SECONDS: Final = 10.0
UPDATE_RETRY_MAX_SECONDS: Final = 600.0
"""Between two sendings of an unacknowledged update: the first, doubling up to the second (Mesos:
`STATUS_UPDATE_RETRY_INTERVAL_MIN` and `_MAX`, `src/slave/constants.hpp`)."""

UPDATES_REMEMBERED: Final = 128
"""Ids of updates kept per task to recognise repetitions. An executor repeats only what was not accepted, in order, so
what it may repeat is among the newest."""

STATUSES_KEPT: Final = 8
"""Changes of state that a task's description carries: more than a task has in its life, unless it flaps."""

EXECUTOR_REGISTRATION_SECONDS: Final = 60.0
"""From a custom executor's start to its subscription (Mesos: `EXECUTOR_REGISTRATION_TIMEOUT`)."""

EXECUTOR_REREGISTRATION_SECONDS: Final = 15.0
"""From the loss of a custom executor's connection, or the agent's recovery, to its new subscription. Mesos waits 2 s
and allows 15 s at most (`EXECUTOR_REREGISTRATION_TIMEOUT`, `MAX_EXECUTOR_REREGISTRATION_TIMEOUT`); a node that dials
pauses for up to 5 s between two attempts, so the larger is ours."""

CONTAINERIZER_RETRY_SECONDS: Final = 0.1
CONTAINERIZER_RETRY_MAX_SECONDS: Final = 5.0
"""Between two attempts to attach to the containerizer: doubling from the first up to the second."""

ATTACH_TIMEOUT_SECONDS: Final = 10.0
"""For the containerizer's answer to an attachment."""

RECOVER_TIMEOUT_SECONDS: Final = 120.0
"""For its answer to a recovery, which comes once orphans are gone."""

LAUNCH_TIMEOUT_SECONDS: Final = 600.0
"""For its answer to a launch, which may have an image to unpack."""

LAUNCH_ATTEMPTS: Final = 3
"""Launches of one container at most, when the containerizer ends while it launches."""

DESTROY_TIMEOUT_SECONDS: Final = 60.0
"""For its answer to a destruction, beyond the grace; then it is asked again."""

UPDATE_LIMITS_TIMEOUT_SECONDS: Final = 10.0
"""For its answer to a change of limits."""

PREPARE_TIMEOUT_SECONDS: Final = 30.0
"""For a sandbox's directories, and for an executor's key."""

READ_BYTES: Final = 1024 * 1024
"""Bytes of a sandbox file in one answer at most."""

READ_TIMEOUT_SECONDS: Final = 20.0
"""For the word where a sandbox is."""

SANDBOXES_REMEMBERED: Final = 5_000
"""Tasks whose sandbox is found by task id; older ones are still on the disk."""

FAREWELL_SECONDS: Final = 10.0
"""How long an agent that leaves waits for its last updates to be acknowledged, once nothing runs any more."""

ID_BYTES: Final = 255
"""Longest id of a framework, executor or task, which names a directory (NAME_MAX; `src/common/validation.cpp`)."""

DEFAULT_PORTS: Final = "[31000-32000]"
"""Ports that are offered unless told otherwise (Mesos: `DEFAULT_PORTS`, `src/slave/constants.hpp`)."""

CAPABILITIES: Final = ("MULTI_ROLE", "HIERARCHICAL_ROLE")
"""What the agent tells the master that it can (Mesos: `SlaveInfo.Capability`)."""

NO_COMMAND_STATUS: Final = 127
"""Exit status of a command that cannot be executed, as shells have it."""

assert EXECUTOR_REREGISTRATION_SECONDS < EXECUTOR_REGISTRATION_SECONDS

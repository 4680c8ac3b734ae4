"""What a master tells itself, later."""

from __future__ import annotations

from typing import ClassVar

from runtime.message import Message, Overflow


class Timer(Message, frozen=True, kw_only=True, tag="master.{}".format):
    """From the master to itself."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class PingDue(Timer, frozen=True, kw_only=True):
    """It is time to ping an agent again, if it is still in that life."""

    agent_id: str
    life: int


class ReregistrationDue(Timer, frozen=True, kw_only=True):
    """An agent's connection broke so long ago that it should be back."""

    agent_id: str
    life: int
    disconnects: int


class AbsenceOver(Timer, frozen=True, kw_only=True):
    """Agents that only the registry knows should have registered again by now."""


class FailoverDue(Timer, frozen=True, kw_only=True):
    """A framework has been without a scheduler for as long as it may."""

    framework_id: str
    life: int


class OffersTimedOut(Timer, frozen=True, kw_only=True):
    """These offers, as far as they are still outstanding, were not answered in time."""

    offer_ids: tuple[str, ...]


class CollectGarbage(Timer, frozen=True, kw_only=True):
    """Forget agents that have been away for too long."""

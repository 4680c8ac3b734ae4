"""Puts a master together: registrar, allocator and master on one node, which share one fate."""

from __future__ import annotations

from collections.abc import Callable

from actors.master.base import ALLOCATOR_NAME, MASTER_NAME, REGISTRAR_NAME
from actors.master.master import MasterActor
from actors.master.registrar import RegistrarActor, RegistrarState
from actors.master.settings import MasterSettings
from actors.master.state import MasterState
from allocator.actor import Allocator
from allocator.constants import ALLOCATION_INTERVAL_SECONDS
from allocator.state import AllocatorState
from runtime.node import Node
from runtime.pid import PID
from runtime.store import Store
from runtime.supervision import FATAL


def spawn_master(
    node: Node,
    open_store: Callable[[], Store],
    settings: MasterSettings | None = None,
    *,
    policy: str = "drf",
    allocation_interval_seconds: float = ALLOCATION_INTERVAL_SECONDS,
    blocking_store: bool = True,
) -> PID:
    """Start a master on `node`; the end of any of its three actors ends the node.

    open_store      opens the store of the registry, such as ``lambda: SqliteStore(path)``; called in the registrar
    policy          as ``--allocator`` names it
    blocking_store  whether the store's calls may block, and run in threads of the node's asyncio loop; False for a
                    store in memory on a node without a loop, as in simulations

    Raises what `open_store` raises (`runtime.store.StoreError`).
    """

    def opened() -> Store:  # a plain function: a node copies the states it is given, and a bound method with its object
        return open_store()

    node.spawn(
        RegistrarActor,
        REGISTRAR_NAME,
        RegistrarState(open_store=opened, threaded=blocking_store, writer=node.identity.node),
        FATAL,
    )
    allocator = AllocatorState(
        master=node.pid(MASTER_NAME), policy=policy, interval_seconds=allocation_interval_seconds
    )
    node.spawn(Allocator, ALLOCATOR_NAME, allocator, FATAL)
    return node.spawn(MasterActor, MASTER_NAME, MasterState(settings=settings or MasterSettings()), FATAL)

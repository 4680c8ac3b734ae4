"""A network of a container's own behind a bridge (what Mesos does by `network/cni` and its port mapper).

The container has an address of its own, reaches what this host reaches, and is reached at the ports of the host that
its spec leads in. Bridge and rules are there as long as a container needs them: made for the first, taken away with the
last. Who has what is written down first and struck out last (:mod:`containerizer.networks.grants`), so whatever a crash
leaves is found again by its container's record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

import msgspec

from containerizer.errors import ContainerizerError, NetworkError, Unsupported
from containerizer.host import Host
from containerizer.isolator import Container, Isolator
from containerizer.isolators.namespaces import NetNamespace
from containerizer.messages import Missing
from containerizer.networks import Grant, flows, host_end, links, nat
from containerizer.networks.grants import Grants
from containerizer.networks.resolvers import CONFIGURATION, HOSTS, find_resolvers, hosts_file
from containerizer.plan import LaunchPlan
from containerizer.spec import BRIDGE, ContainerSpec, Namespace, PortMapping
from runtime.errors import ConfigurationError

_log = logging.getLogger(__name__)

ADDRESS_VARIABLE = "MESOS_CONTAINER_IP"
"""Environment variable with the container's address."""


class BridgeNetwork(Isolator):
    """Connects containers that ask for it; costs nothing for the others."""

    name = "network/bridge"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._network = host.network
        self._grants: Grants | None = None
        # Whatever changes the bridge or the table, or chooses what is free, does it alone.
        self._turn = asyncio.Lock()
        self._stands = False
        self.looking_after: asyncio.Task[None] | None = None
        self._said = False

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """It needs namespaces, `nft` and pyroute2."""
        lack = NetNamespace.probe(host)
        if lack is not None:
            return Missing(what=cls.name, reason=lack.reason, mend=lack.mend)
        if not nat.find_program():
            return Missing(what=cls.name, reason="nft is not installed", mend="install Debian's package nftables")
        if not links.has_library():
            return Missing(what=cls.name, reason="pyroute2 is not installed", mend="pip install pyroute2")
        return None

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """Whether it is asked for."""
        return spec.network == BRIDGE

    @classmethod
    def demanded(cls, spec: ContainerSpec) -> str:
        """A network, if one is asked for."""
        return f"network is {spec.network!r}, and this agent has none" if cls.wants(spec) else ""

    # One container --------------------------------------------------------------------------------------------------

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """Address and ports; what programs find themselves and others by."""
        spec = container.spec
        if not self.wants(spec):
            return
        if Namespace.NET not in plan.namespaces:
            raise Unsupported("network/bridge needs namespaces/net: name it in --isolation, too")
        grants = self._read_grants(container.directory.parent)
        async with self._turn:
            if not self._stands:
                # Before there is anything that only `nft` could take away again.
                await nat.change(nat.whole_table(self._network, ()), grants.parent, nat.CHECK)
            grant = grants.add(container.id, self._network, spec.ports)
            own = grants.of_bridge(grant.bridge)
            if not await self._stand(grants):
                await self._change(nat.added_ports(grant), grant.bridge, own, grants.parent)
            await self._forget(spec.ports)
        plan.environment[ADDRESS_VARIABLE] = grant.address
        self._show_names(container, plan, grant.address)

    def _show_names(self, container: Container, plan: LaunchPlan, address: str) -> None:
        container.directory.mkdir(mode=0o711, exist_ok=True)
        hosts = container.directory / "hosts"
        hosts.write_text(hosts_file(address, container.spec.hostname or os.uname().nodename))
        plan.shown.append((str(hosts), HOSTS))
        resolvers = find_resolvers()
        if resolvers:
            plan.shown.append((str(Path(resolvers).resolve()), CONFIGURATION))
        elif not self._said:
            self._said = True
            _log.warning(
                "%s names only resolvers on this host's loopback, which containers on %s cannot reach: they find no "
                "names; add a nameserver that they reach, or have systemd-resolved keep its list",
                CONFIGURATION,
                self._network.bridge,
            )

    async def isolate(self, container: Container) -> None:
        """The cable, while the init waits."""
        grants = self._grants
        grant = grants.get(container.id) if grants is not None else None
        if grants is not None and grant is not None:
            end = self._end(grant, grants)
            await asyncio.to_thread(
                links.connect, self._network, grant, end, container.id, container.process_id, container.start_time
            )

    async def cleanup(self, container: Container) -> None:
        """Ports, cable, and what stands of them in writing; the bridge with the last."""
        if not self.wants(container.spec):
            return
        with contextlib.suppress(FileNotFoundError):
            (container.directory / "hosts").unlink()
        with contextlib.suppress(OSError):  # of other isolators, or not there
            container.directory.rmdir()
        async with self._turn:
            await self._release(container.id, self._read_grants(container.directory.parent))

    async def _release(self, container_id: str, grants: Grants) -> None:
        grant = grants.get(container_id)
        bridge = grant.bridge if grant is not None else self._network.bridge
        others = [one for one in grants.of_bridge(bridge) if one is not grant]
        stands = self._stands and bridge == self._network.bridge
        if stands or await asyncio.to_thread(links.is_ours, bridge, self._owner(grants)):
            if grant is not None:
                await asyncio.to_thread(links.disconnect, [self._end(grant, grants)])
            if not others and (grant is not None or links.exists(bridge)):
                await self._fall(bridge, grants)
            elif grant is not None:
                await self._change(nat.removed_ports(grant), bridge, others, grants.parent)
            if grant is not None:
                await self._forget(grant.ports)
        grants.remove(container_id)

    def recover(self, container: Container) -> None:
        """It is connected as it was; the flags must not say otherwise."""
        if not self.wants(container.spec):
            return
        grant = self._read_grants(container.directory.parent).get(container.id)
        if grant is not None and not self._network.holds(grant):
            raise ConfigurationError(
                f"container {container.id} is connected to {grant.bridge} by {grant.address}, and the flags say "
                f"--network-bridge {self._network.bridge} --network-subnet {self._network.subnet}: end it first, or "
                f"leave the flags as they were"
            )

    # All of them ----------------------------------------------------------------------------------------------------

    def destroy_strangers(self, directory: Path, known: set[str]) -> None:
        """At the start: what is granted to nobody goes, and what an administrator has removed comes back."""
        grants = self._read_grants(directory)
        if len(grants) or links.exists(self._network.bridge):
            self.looking_after = asyncio.get_running_loop().create_task(self._look_after(grants, known))

    async def _look_after(self, grants: Grants, known: set[str]) -> None:
        try:
            async with self._turn:
                for container_id in set(grants) - known:
                    _log.warning("nobody has a record of container %s: its network is removed", container_id)
                    await self._release(container_id, grants)
                bridge = self._network.bridge
                if grants.of_bridge(bridge):
                    await self._stand(grants)
                elif links.exists(bridge) and await asyncio.to_thread(links.is_ours, bridge, self._owner(grants)):
                    await self._fall(bridge, grants)
        except (ContainerizerError, OSError) as error:
            _log.warning("networks of containers could not be looked after: %s", error)

    def close(self) -> None:
        """Containers keep their networks."""
        if self.looking_after is not None:
            self.looking_after.cancel()
            self.looking_after = None

    async def _stand(self, grants: Grants) -> bool:
        """Make bridge and table with all that is granted, unless they are there; True when they were made."""
        if self._stands and links.exists(self._network.bridge):
            return False
        await asyncio.to_thread(links.raise_bridge, self._network, self._owner(grants))
        own = grants.of_bridge(self._network.bridge)
        ends = {self._end(grant, grants) for grant in own}
        for name in await asyncio.to_thread(links.reconnect, self._network.bridge, ends):
            _log.warning("%s was connected to %s, and is no container's: removed", name, self._network.bridge)
        await nat.change(nat.whole_table(self._network, own), grants.parent)
        self._stands = True
        return True

    async def _fall(self, bridge: str, grants: Grants) -> None:
        """Take both away, the bridge last: where it is not, nothing else is."""
        self._stands = self._stands and bridge != self._network.bridge
        await nat.change(nat.no_table(bridge), grants.parent)
        await asyncio.to_thread(links.remove_bridge, bridge)

    async def _change(self, text: str, bridge: str, wanted: list[Grant], directory: Path) -> None:
        """Change the maps; where somebody has removed them, make them anew, with what they should have then."""
        try:
            await nat.change(text, directory)
        except NetworkError as error:
            _log.warning("the table of %s is made anew: %s", bridge, error)
            network = msgspec.structs.replace(self._network, bridge=bridge)
            await nat.change(nat.whole_table(network, wanted), directory)

    async def _forget(self, ports: tuple[PortMapping, ...]) -> None:
        """What the kernel remembers is none of the container's: without it everything works for who calls anew."""
        try:
            await asyncio.to_thread(flows.forget, ports)
        except NetworkError as error:
            _log.warning("datagrams of those who have sent some already may go astray: %s", error)

    def _read_grants(self, directory: Path) -> Grants:
        if self._grants is None:
            self._grants = Grants(directory)
        return self._grants

    def _end(self, grant: Grant, grants: Grants) -> str:
        return host_end(self._owner(grants), grant.address)

    def _owner(self, grants: Grants) -> str:
        """By which a bridge says whose it is."""
        return str(grants.parent)

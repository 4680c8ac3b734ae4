"""Conversations by UDP that the kernel goes on translating as they began.

The filter is asked about the first datagram of a conversation; for the others the kernel remembers the answer, for as
long as there is another one within half a minute (`Documentation/networking/nf_conntrack-sysctl.rst`). A client that
sends all the time would be led to a container that has gone, and to whoever has its address next, for ever; and one
that sent before there was a container would never be led to it. TCP needs none of this: its connections end.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import Any

from containerizer.networks.links import library, netlink
from containerizer.spec import PortMapping


async def forget(ports: Iterable[PortMapping]) -> None:
    """Have the kernel ask anew about conversations with these ports of the host. Raises :class:`NetworkError`."""
    numbers = {mapping.host_port for mapping in ports if mapping.protocol == "udp"}
    if not numbers:
        return
    module = await library("netlink.nfnetlink.nfctsocket")
    async with netlink("forget conversations by UDP", module.AsyncNFCTSocket) as tracking:
        for number in sorted(numbers):
            wanted = module.NFCTAttrTuple(proto=socket.IPPROTO_UDP, dport=number)
            # Before Linux 5.8 the kernel lists everything, whatever is wanted.
            found = [message async for message in await tracking.dump(tuple_orig=wanted)]
            for message in found:
                first = module.NFCTAttrTuple.from_netlink(socket.AF_INET, message.get_attr("CTA_TUPLE_ORIG"))
                if (first.proto, first.dport) == (socket.IPPROTO_UDP, number):
                    await _delete(tracking, first)


async def _delete(tracking: Any, first: Any) -> None:
    exceptions = await library("netlink.exceptions")
    try:
        await tracking.entry("del", tuple_orig=first)
    except exceptions.NetlinkError as error:
        if error.code != errno.ENOENT:
            raise

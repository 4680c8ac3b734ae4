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


def forget(ports: Iterable[PortMapping]) -> None:
    """Have the kernel ask anew about conversations with these ports of the host. It blocks.

    Raises :class:`NetworkError`.
    """
    numbers = {mapping.host_port for mapping in ports if mapping.protocol == "udp"}
    if not numbers:
        return
    module = library("netlink.nfnetlink.nfctsocket")
    with netlink("forget conversations by UDP", module.NFCTSocket) as tracking:
        for number in sorted(numbers):
            wanted = module.NFCTAttrTuple(proto=socket.IPPROTO_UDP, dport=number)
            # Before Linux 5.8 the kernel lists everything, whatever is wanted.
            for message in list(tracking.dump(tuple_orig=wanted)):
                first = module.NFCTAttrTuple.from_netlink(socket.AF_INET, message.get_attr("CTA_TUPLE_ORIG"))
                if (first.proto, first.dport) == (socket.IPPROTO_UDP, number):
                    _delete(tracking, first)


def _delete(tracking: Any, first: Any) -> None:
    exceptions = library("netlink.exceptions")
    try:
        tracking.entry("del", tuple_orig=first)
    except exceptions.NetlinkError as error:
        if error.code != errno.ENOENT:
            raise

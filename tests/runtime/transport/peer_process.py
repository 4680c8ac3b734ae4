"""A node in a process of its own: dials the address in its arguments, or listens, and obeys its standard input.

``send N`` sends N messages; ``count`` prints how many have come; whatever opens or ends a session is printed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from runtime.message import Message
from runtime.transport.protocol import Arrived, Envelope, Identity, Session
from runtime.transport.zeromq.transport import ZeroMQTransport


class Number(Message, frozen=True, kw_only=True, tag="transport_tests.Number"):
    number: int
    padding: bytes = b""


class Door:
    def __init__(self, node: str) -> None:
        self.identity = Identity(node, 1)
        self.session: Session
        self.count = 0

    def opened(self, session: Session) -> None:
        self.session = session
        print("opened", flush=True)

    def received(self, frames: Sequence[Arrived]) -> None:
        self.count += sum(len(envelopes) for _, envelopes, _ in frames)

    def drained(self) -> None:
        """Everything is noted as it comes."""

    def closed(self, session: Session, reason: str) -> None:
        print("closed", reason, flush=True)

    def undeliverable(self, session: Session, envelope: Envelope, reason: str) -> None:
        print("undeliverable", reason, flush=True)

    def unconfirmed(self, session: Session, count: int) -> None:
        print("unconfirmed", count, flush=True)

    def unreachable(self, address: str, reason: str) -> None:
        print("unreachable", reason, flush=True)

    def refused(self, reason: str, peer: str, detail: str) -> None:
        print("refused", reason, flush=True)


async def main(node: str, address: str) -> None:
    door = Door(node)
    transport = ZeroMQTransport(insecure=True)
    transport.start(door)
    if address == "listen":
        print("listening", transport.listen("tcp://127.0.0.1:0"), flush=True)
    else:
        transport.dial(address)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().split():
        if line[0] == "send":
            for number in range(int(line[1])):
                door.session.send(Envelope("receiver", "sender", 1, number, 3, Number(number=number)))
        elif line[0] == "count":
            print("count", door.count, flush=True)
    await transport.close(5.0)


asyncio.run(main(sys.argv[1], sys.argv[2]))

"""Addresses as people write them: ``tcp://host:port``, ``ipc:///path``, with ``?key=<64 hex digits>`` if need be."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from runtime.constants import IPC_PATH_BYTES
from runtime.errors import TransportError

_KEY: Final = re.compile(r"[0-9A-Fa-f]{64}")
_TCP: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._*-]+):(\d{1,5})")


class Address(msgspec.Struct, frozen=True):
    """An address, read.

    endpoint    as ZeroMQ takes it
    server_key  CURVE public key that the listener must prove, 32 bytes; empty when the address names none
    """

    endpoint: str
    server_key: bytes = b""

    @property
    def path(self) -> str:
        """The socket's path of an ``ipc://`` address, empty for ``tcp://``."""
        return self.endpoint.removeprefix("ipc://") if self.endpoint.startswith("ipc://") else ""

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address in brackets."""
        return self.endpoint.startswith("tcp://[")


def parse_address(text: str) -> Address:
    """Read an address. Raises :class:`TransportError` that says what is wrong with it."""
    endpoint, question_mark, query = text.partition("?")
    server_key = b""
    if question_mark:
        name, _, value = query.partition("=")
        if name != "key" or not _KEY.fullmatch(value):
            raise TransportError(f"{text!r}: what follows the '?' must be key= and 64 hexadecimal digits")
        server_key = bytes.fromhex(value)
    scheme, separator, rest = endpoint.partition("://")
    if separator and scheme == "tcp":
        match = _TCP.fullmatch(rest)
        if match is None or int(match[2]) > 65535:
            raise TransportError(f"{text!r}: a TCP address is written tcp://host:port, the port from 0 to 65535")
    elif separator and scheme == "ipc":
        _check_path(text, rest)
    else:
        raise TransportError(f"{text!r} is no address: write tcp://host:port or ipc:///path")
    return Address(endpoint, server_key)


def _check_path(text: str, path: str) -> None:
    if not path.startswith("/") or "\0" in path:
        raise TransportError(f"{text!r}: the path of a Unix socket is absolute: ipc:///run/kaon/agent.sock")
    size = len(path.encode())
    if size > IPC_PATH_BYTES:
        raise TransportError(
            f"{text!r}: the path of a Unix socket has at most {IPC_PATH_BYTES} bytes, this one has {size}; "
            "choose a shorter directory"
        )

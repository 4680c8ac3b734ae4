"""CURVE keys: a file for each node, and the directory of those who may connect.

A cluster's key directory::

    master.key          key pair of the masters, one for all of them; their principal is the file's name
    agent-7.key         made by `add_node`, handed to that node, and deleted here
    authorised/agent-7  public key of a node that may connect, 64 hexadecimal digits; the file's name is its principal

Files are replaced, never edited in place, and the directory is read again while the node runs: removing a file of
`authorised` cuts its owner off.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import tomllib
from pathlib import Path
from typing import Final

import msgspec
import zmq
from zmq.utils import z85

from runtime.errors import ConfigurationError

MASTER_PRINCIPAL: Final = "master"
"""Of the key that all masters of a cluster share."""

OPERATOR: Final = "operator"
"""Of the key of whoever runs a cluster: its tools, and frameworks that are started by hand."""

AUTHORISED: Final = "authorised"
"""Folder of the public keys, within the key directory."""

_SUFFIX: Final = ".key"
_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HEX_KEY: Final = re.compile(r"[0-9a-f]{64}")


class NodeKey(msgspec.Struct, frozen=True):
    """What a node needs to prove who it is.

    principal  the name that its peers know it by
    public     its CURVE public key, 32 bytes
    secret     the other half, 32 bytes; never shown
    server     public key that listeners must prove unless their address says otherwise; empty if none is known
    """

    principal: str
    public: bytes
    secret: bytes
    server: bytes = b""

    def __repr__(self) -> str:
        return f"NodeKey({self.principal!r}, public={self.public.hex()})"


def make_key(principal: str, server: bytes = b"") -> NodeKey:
    """A fresh key pair. Raises :class:`ConfigurationError` for a name that no principal can have."""
    _check_principal(principal)
    public, secret = (z85.decode(half) for half in zmq.curve_keypair())
    return NodeKey(principal, public, secret, server)


def write_key(path: Path, key: NodeKey) -> None:
    """Write a key file that only its owner can read; replaces an older one in one step."""
    server = f'server = "{key.server.hex()}"\n' if key.server else ""
    _write(
        path,
        f"# Key of {key.principal}. Whoever has this file is {key.principal}: keep it to one machine, mode 0600.\n"
        f'principal = "{key.principal}"\npublic = "{key.public.hex()}"\nsecret = "{key.secret.hex()}"\n{server}',
    )


def read_key(path: Path) -> NodeKey:
    """Read a key file. Raises :class:`ConfigurationError` if it is missing, readable by others, or no key file."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            fields = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read as a key file: {error}") from None
    if mode & 0o077:
        raise ConfigurationError(f"{path} may be read by others than its owner: chmod 600 {path}")
    principal = fields.get("principal")
    if not isinstance(principal, str):
        raise ConfigurationError(f"{path} names no principal: make it anew with `kaon keys add NAME`")
    _check_principal(principal)
    server = _hex(path, fields, "server") if "server" in fields else b""
    return NodeKey(principal, _hex(path, fields, "public"), _hex(path, fields, "secret"), server)


def own_key(directory: Path, principal: str = MASTER_PRINCIPAL) -> NodeKey:
    """The key of a listening node, made on first use together with the directory.

    The `server` of it is its own public half: the masters of a cluster share one key and so prove one another. When
    two processes make it at once, one of them wins and both get the same key.
    """
    _check_principal(principal)
    path = directory / (principal + _SUFFIX)
    if not path.exists():
        _make_directory(directory)
        _make_directory(directory / AUTHORISED)
        fresh = make_key(principal)
        draft = directory / f".{principal}.{os.getpid()}"
        write_key(draft, NodeKey(principal, fresh.public, fresh.secret, fresh.public))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return read_key(path)


def add_node(directory: Path, principal: str, server_principal: str = MASTER_PRINCIPAL) -> Path:
    """Authorise a new node; returns the file to hand to it: its secret and the masters' public key.

    Raises :class:`ConfigurationError` if there is a node of that name: revoke it first.
    """
    _check_principal(principal)
    server = own_key(directory, server_principal)
    if principal == server_principal or (directory / AUTHORISED / principal).exists():
        raise ConfigurationError(f"there is a key of {principal} already: revoke it first, or choose another name")
    key = make_key(principal, server.public)
    path = directory / (principal + _SUFFIX)
    write_key(path, key)
    _write(directory / AUTHORISED / principal, key.public.hex() + "\n")
    return path


def authorise(directory: Path, key: NodeKey) -> None:
    """Let the holder of a key connect to the node that reads this directory; made if it is missing."""
    folder = directory / AUTHORISED
    _make_directory(directory)
    _make_directory(folder)
    _write(folder / key.principal, key.public.hex() + "\n")


def revoke_node(directory: Path, principal: str) -> None:
    """Take a node's key out of the authorised ones: its connections end within a second.

    Raises :class:`ConfigurationError` if no such key is there.
    """
    _check_principal(principal)
    try:
        (directory / AUTHORISED / principal).unlink()
    except FileNotFoundError:
        raise ConfigurationError(f"no key of {principal} in {directory / AUTHORISED}") from None
    (directory / (principal + _SUFFIX)).unlink(missing_ok=True)


class AuthorisedKeys:
    """Who may connect, as the key directory says now.

    own        key of the node itself, which may always connect: the masters of a cluster share it
    directory  a key directory; None to authorise nobody else
    """

    def __init__(self, own: NodeKey, directory: Path | None = None) -> None:
        self._folder = directory / AUTHORISED if directory is not None else None
        self._own = own
        self._seen: tuple[tuple[str, int, int], ...] = ()
        self._principals: dict[bytes, str] = {own.public: own.principal}
        self.refresh()

    def principal(self, public: bytes) -> str | None:
        """Whose key that is; None if it is not authorised."""
        return self._principals.get(public)

    def refresh(self) -> set[str]:
        """Read the directory again if it has changed; returns the principals whose key is no longer good.

        A file that cannot be read, or holds no key, authorises nobody.
        """
        seen = self._look()
        if seen == self._seen:
            return set()
        principals = {self._own.public: self._own.principal}
        for name, _, _ in seen:
            public = _read_public(self._folder / name) if self._folder is not None else None
            if public is not None and name != self._own.principal:
                principals.setdefault(public, name)
        lost = {name for public, name in self._principals.items() if principals.get(public) != name}
        self._seen, self._principals = seen, principals
        return lost

    def _look(self) -> tuple[tuple[str, int, int], ...]:
        if self._folder is None:
            return ()
        try:
            with os.scandir(self._folder) as entries:
                found = [
                    (entry.name, (status := entry.stat()).st_mtime_ns, status.st_ino)
                    for entry in entries
                    if _PRINCIPAL.fullmatch(entry.name)
                ]
        except OSError:
            return ()
        return tuple(sorted(found))


def _read_public(path: Path) -> bytes | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return bytes.fromhex(text) if _HEX_KEY.fullmatch(text) else None


def _check_principal(name: str) -> None:
    if not _PRINCIPAL.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no name for a node: letters, digits, '_', '.' and '-', 128 at most")


def _hex(path: Path, fields: dict[str, object], name: str) -> bytes:
    value = fields.get(name)
    if not isinstance(value, str) or not _HEX_KEY.fullmatch(value):
        raise ConfigurationError(
            f"{path}: {name} must be 64 hexadecimal digits; make it anew with `kaon keys add NAME`"
        )
    return bytes.fromhex(value)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        text = f"the key directory {path} cannot be made: {error.strerror}; choose another, or another --work-dir"
        raise ConfigurationError(text) from None


def _write(path: Path, text: str) -> None:
    descriptor, draft = tempfile.mkstemp(prefix=".", dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(draft).replace(path)

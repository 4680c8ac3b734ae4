"""Executors' keys: a file each, for as long as their container lives."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from actors.agent.events import AuthoriseKey, EdgeRefused, KeyAuthorised, RevokeKey
from actors.agent.keys import Keys, KeysState, authorise
from actors.agent.names import KEYS_NAME
from runtime.clock import RealClock
from runtime.codec import redact
from runtime.message import Message
from runtime.node import Node
from runtime.pid import PID
from runtime.ref import NoAnswer, Outside
from runtime.transport.memory import MemoryTransport, Network
from runtime.transport.zeromq.keys import AuthorisedKeys, make_key


def halves(answer: Message | EdgeRefused) -> tuple[bytes, bytes]:
    assert isinstance(answer, KeyAuthorised)
    public, _, secret = answer.key.partition(":")
    return bytes.fromhex(public), bytes.fromhex(secret)


def test_key_lets_its_container_in_and_nobody_else(tmp_path: Path) -> None:
    public, secret = halves(authorise(tmp_path, "container-1"))
    assert (len(public), len(secret)) == (32, 32)
    authorised = AuthorisedKeys(make_key("agent-1"), tmp_path)
    assert authorised.principal(public) == "container-1"
    file = tmp_path / "authorised" / "container-1"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret.hex() not in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["container-1"]


def test_key_for_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    answer = authorise(tmp_path, "../escape")
    assert isinstance(answer, EdgeRefused)
    assert "'../escape'" in answer.message


def test_directory_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "authorised").write_text("")
    assert isinstance(authorise(tmp_path, "container-1"), EdgeRefused)


def test_secret_is_shown_nowhere(tmp_path: Path) -> None:
    answer = authorise(tmp_path, "container-1")
    _, secret = halves(answer)
    assert secret.hex() not in str(redact(answer))


def test_actor_makes_and_revokes(tmp_path: Path) -> None:
    async def main() -> None:
        clock = RealClock(asyncio.get_running_loop())
        node = Node("a1", MemoryTransport(Network(clock)), clock)
        keys = node.spawn(Keys, KEYS_NAME, KeysState(directory=str(tmp_path)))
        try:
            answer = await Outside.on(node).fetch_answer(keys, AuthoriseKey(principal="container-1"), 10.0)
            assert isinstance(answer, KeyAuthorised)
            file = tmp_path / "authorised" / "container-1"
            assert file.exists()
            node.post(keys, RevokeKey(principal="container-1"))
            for _ in range(500):
                if not file.exists():
                    break
                await asyncio.sleep(0.01)
            assert not file.exists()
        finally:
            await node.stop(1.0)

    asyncio.run(main())


def test_other_nodes_get_no_keys(tmp_path: Path) -> None:
    async def main() -> None:
        clock = RealClock(asyncio.get_running_loop())
        network = Network(clock)
        node = Node("a1", MemoryTransport(network), clock)
        node.listen("memory://a1")
        node.spawn(Keys, KEYS_NAME, KeysState(directory=str(tmp_path)))
        stranger = Node("stranger", MemoryTransport(network), clock)
        try:
            outside = Outside.on(stranger)
            try:
                await outside.fetch_answer(PID(KEYS_NAME, "memory://a1"), AuthoriseKey(principal="stranger"), 0.2)
            except NoAnswer:
                pass
            else:
                raise AssertionError("a stranger was answered")
            assert not (tmp_path / "authorised").exists()
        finally:
            await stranger.stop(1.0)
            await node.stop(1.0)

    asyncio.run(main())

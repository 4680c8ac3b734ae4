"""Changes of the packet filter: one after the other, whole or not at all, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from containerizer.errors import NetworkError
from containerizer.networks import Grant, Network, nat
from containerizer.spec import PortMapping
from tests.containerizer.host_network import ports_of, tables

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[2]

SLOW = """#!/bin/sh
touch {directory}/begun
while [ ! -e {directory}/go ]; do sleep 0.002; done
exec /usr/sbin/nft "$@"
"""

KILLED = """
import asyncio, sys
from pathlib import Path
from containerizer.networks import nat
nat.PROGRAM_PATH = sys.argv[1]
asyncio.run(nat.change("add table ip begun", Path(sys.argv[2])))
"""


def test_what_a_killed_one_has_begun_comes_first(network: Any, tmp_path: Path) -> None:
    """Its `nft` goes on without it, and the next one waits for that."""
    slow = tmp_path / "nft"
    slow.write_text(SLOW.format(directory=tmp_path))
    slow.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), str(work)], cwd=ROOT)

    async def follow() -> None:
        while not (tmp_path / "begun").exists():
            await asyncio.sleep(0.002)
        killed.kill()
        killed.wait()
        lock = os.open(work, os.O_DIRECTORY | os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(lock)
        # There is nothing to be deleted yet.
        following = asyncio.create_task(nat.change("delete table ip begun", work))
        (tmp_path / "go").touch()
        await following

    asyncio.run(follow())
    assert "begun" not in tables()


def test_a_change_is_done_whole_or_not_at_all(network: Any, tmp_path: Path) -> None:
    web = Grant(
        address="172.31.240.2", bridge="kaon0", ports=(PortMapping(host_port=8080, container_port=80, protocol="tcp"),)
    )
    asyncio.run(nat.change(nat.whole_table(Network(), [web]), tmp_path))
    more = Grant(address="172.31.240.3", bridge="kaon0", ports=(PortMapping(host_port=8081, container_port=80),))
    text = f"{nat.added_ports(more)}delete element ip kaon-kaon0 udp_ports {{ 1 }}\n"
    with pytest.raises(NetworkError, match="No such file or directory"):
        asyncio.run(nat.change(text, tmp_path))
    assert "172.31.240.3" not in ports_of("tcp")
    asyncio.run(nat.change(nat.whole_table(Network(), [web, more]), tmp_path, nat.CHECK))
    assert "172.31.240.3" not in ports_of("tcp"), "what is checked is not done"


def test_ports_are_taken_away_whether_they_were_there_or_not(network: Any, tmp_path: Path) -> None:
    ports = tuple(
        PortMapping(host_port=port, container_port=80, protocol=protocol)
        for port in (8080, 8081)
        for protocol in ("tcp", "udp")
    )
    web = Grant(address="172.31.240.2", bridge="kaon0", ports=ports)
    asyncio.run(nat.change(nat.whole_table(Network(), [web]), tmp_path))
    for _ in range(2):
        asyncio.run(nat.change(nat.removed_ports(web), tmp_path))
        assert "172" not in ports_of("tcp") + ports_of("udp")
    for _ in range(2):
        asyncio.run(nat.change(nat.no_table("kaon0"), tmp_path))
        assert "kaon0" not in tables()


def test_a_thousand_containers_have_as_many_rules_as_one(network: Any, tmp_path: Path) -> None:
    grants = [
        Grant(
            address=f"172.31.24{number // 250}.{number % 250 + 2}",
            bridge="kaon0",
            ports=(PortMapping(host_port=20_000 + number, container_port=80),),
        )
        for number in range(1000)
    ]
    texts = [nat.whole_table(Network(), grants[:count]) for count in (1, 1000)]
    assert len({text[: text.rindex("}\n}\n")] for text in texts}) == 1
    asyncio.run(nat.change(texts[1], tmp_path))
    assert ports_of("tcp").count(" . 80") == 1000

"""One-way messages between two nodes of Erlang/OTP: a peer to measure messaging beside."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket as sockets
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

TIMEOUT_SECONDS = 15.0


@contextlib.contextmanager
def erlang(count: int) -> Iterator[Callable[[], float] | None]:
    """What measures two Erlang nodes, with a port mapper of their own, in messages a second; None without Erlang."""
    if not all(map(shutil.which, ("erl", "erlc", "epmd"))):
        yield None
        return
    with tempfile.TemporaryDirectory() as directory, sockets.socket() as free:
        source = Path(__file__).with_name("erlang_oneway.erl")
        subprocess.run(["erlc", "-o", directory, str(source)], check=True, timeout=60)
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        variables = os.environ | {"ERL_EPMD_PORT": port, "ERL_EPMD_ADDRESS": "127.0.0.1", "HOME": directory}
        mapper = subprocess.Popen(["epmd", "-port", port, "-address", "127.0.0.1"], env=variables)
        try:
            yield lambda: _measure(directory, variables, count)
        finally:
            mapper.terminate()
            mapper.wait(10)


def _measure(directory: str, variables: dict[str, str], count: int) -> float:
    def node(name: str, *call: str) -> subprocess.Popen[str]:
        command = ["erl", "-noshell", "-start_epmd", "false", "-sname", f"{name}@localhost", "-setcookie", "bench"]
        command += ["-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-pa", directory]
        return subprocess.Popen(
            [*command, "-run" if len(call) == 1 else "-s", "erlang_oneway", *call],
            env=variables, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    receiver = node("bench_receiver", "receiver")
    assert receiver.stdout is not None
    sender: subprocess.Popen[str] | None = None
    try:
        receiver.stdout.readline()
        sender = node("bench_sender", "sender", "bench_receiver@localhost", str(count))
        said, _ = receiver.communicate(timeout=TIMEOUT_SECONDS)
        return count / (int(said) / 1e6)
    finally:
        for process in (receiver, sender):
            if process is not None:
                process.kill()
                process.communicate()
